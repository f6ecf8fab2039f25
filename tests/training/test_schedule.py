import itertools

import pytest

from training.config import OptimSection
from training.schedule import learning_rate


def rates(schedule: str) -> list[float]:
    optim = OptimSection.model_validate(
        {"steps": 100, "lr": 1.0, "warmup": 9, "schedule": schedule}
    )
    return [learning_rate(optim, step) for step in range(101)]


def test_learning_rate_warms_up_in_a_line() -> None:
    assert rates("constant")[:10] == pytest.approx([k / 10 for k in range(1, 11)])


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_learning_rate_rises_then_falls_to_its_floor(schedule: str) -> None:
    found = rates(schedule)
    assert found[9] == pytest.approx(max(found))
    assert all(left > right for left, right in itertools.pairwise(found[9:]))
    assert found[100] == pytest.approx(0.02)


def test_learning_rate_hand_computed() -> None:
    half = 0.02 + 0.98 * 0.5
    assert rates("cosine")[50] == pytest.approx(half)
    assert rates("linear")[50] == pytest.approx(half)
    assert rates("cosine")[25] == pytest.approx(0.02 + 0.98 * (1 + 2**-0.5) / 2)
    assert rates("linear")[25] == pytest.approx(0.02 + 0.98 * 0.75)
    assert rates("constant")[25] == rates("constant")[100] == 1.0
