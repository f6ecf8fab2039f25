"""Pooled distillation by hand, which pairs have English, and which settings are refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from training.batches import Batch
from training.config import TrainConfig
from training.distillation import TeacherVectors, english_sides, pooled_distillation, spread

HALF = math.sqrt(0.5)


def test_pooled_distillation_hand_computed() -> None:
    left = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    right = torch.tensor([[0.0, 1.0], [9.0, 9.0], [HALF, HALF]])
    targets = torch.tensor([[1.0, 0.0], [0.0, 1.0]])  # of pairs 0 and 2
    loss = pooled_distillation([left, right], torch.tensor([0, 2]), targets)
    assert loss.item() == pytest.approx((0.0 + 1.0) / 2 + (1.0 + (1 - HALF)) / 2)


def test_pooled_distillation_is_half_the_squared_distance() -> None:
    torch.manual_seed(0)
    side, targets = (torch.nn.functional.normalize(torch.randn(5, 8)) for _ in range(2))
    loss = pooled_distillation([side], torch.arange(5), targets)
    assert loss.item() == pytest.approx(((side - targets) ** 2).sum(1).mean().item() / 2, rel=1e-5)


def test_pooled_distillation_without_targets_is_zero() -> None:
    nothing = torch.zeros(0, dtype=torch.int64)
    loss = pooled_distillation([torch.ones(2, 3)] * 2, nothing, torch.zeros(0, 3))
    assert loss.item() == 0.0


def test_pooled_distillation_leaves_pairs_without_teacher_alone() -> None:
    side = torch.randn(3, 4, requires_grad=True)
    pooled_distillation([side], torch.tensor([1]), torch.ones(1, 4)).backward()
    assert side.grad is not None
    assert side.grad[1].abs().sum() > 0
    assert side.grad[[0, 2]].abs().sum() == 0


def test_teacher_vectors_find_those_encoded() -> None:
    teacher = TeacherVectors(torch.tensor([[1.0], [2.0]]), np.array([-1, 1, -1, 0]))
    positions, vectors = teacher.find(np.array([3, 0, 1, 3]))
    assert positions.tolist() == [0, 2, 3]
    assert vectors.tolist() == [[1.0], [2.0], [1.0]]


def test_english_sides_are_pivots_and_else_sides() -> None:
    english = np.array([True, False, True, False, False])
    nothing = np.zeros(0, np.int64)
    batch = Batch(
        "cross",
        query=None,  # type: ignore[arg-type]
        document=None,  # type: ignore[arg-type]
        pivots=np.array([0, 1, 3, 3]),
        masked=(nothing, nothing),
        sources=(np.array([1, 2, 4, 4]), np.array([2, 1, 2, -1])),
    )
    assert english_sides(batch, english).tolist() == [0, 2, 2, -1]
    assert english_sides(replace(batch, sources=(nothing, nothing)), english).tolist() == [
        *(0, -1, -1, -1)
    ]


def test_spread_takes_all_or_some_from_every_part() -> None:
    positions = np.arange(0, 30, 3)
    assert spread(positions, 10).tolist() == positions.tolist()
    assert spread(positions, 4).tolist() == [0, 6, 15, 21]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batches.cross_probability": 0.0}, "batches.cross_probability above 0"),
        ({"distillation.transport": 0.0, "distillation.teacher": "x"}, "needs distillation.pooled"),
        ({"encoder.teacher_table": True, "distillation.teacher": "x"}, "packaged teacher"),
        ({"encoder.dim": 32}, "the teacher's vectors need encoder.dim = 384"),
        ({"adversarial.method": "fgm", "adversarial.weight": 1.0}, "distillation.transport is a"),
    ],
)
def test_config_refuses_distillation_without_effect(
    config: TrainConfig, changes: dict[str, object], message: str
) -> None:
    tree = config.model_dump(exclude_unset=True)
    tree["encoder"]["dim"] = 384
    tree["distillation"] = {"transport": 10.0}
    for key, value in changes.items():
        table, _, name = key.partition(".")
        tree.setdefault(table, {})[name] = value
    with pytest.raises(ValueError, match=message):
        TrainConfig.model_validate(tree)
