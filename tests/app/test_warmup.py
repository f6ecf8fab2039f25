import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from app.encoder import warmup
from app.encoder.warmup import LEAST_RUN_TOKENS, MOST_RUN_TOKENS, measure_cost, run_all, warm_up

ROW = [5, 6, 7]


class Machine:
    """A session whose runs take a fixed time and a time for each token, and now and then longer."""

    def __init__(
        self, fixed_s: float, token_s: float, noise: Iterator[float] | None = None
    ) -> None:
        self.fixed_s, self.token_s, self.noise = fixed_s, token_s, noise
        self.now = 0.0
        self.shapes: list[tuple[int, int]] = []

    def run(self, rows: Sequence[Sequence[int]]) -> np.ndarray:
        self.shapes.append((len(rows), max(map(len, rows))))
        self.now += self.fixed_s + self.token_s * len(rows) * max(map(len, rows))
        self.now += next(self.noise) if self.noise else 0.0
        return np.ones((len(rows), 2), dtype=np.float32)


def cost_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> warmup.Cost:
    monkeypatch.setattr(time, "perf_counter", lambda: machine.now)
    return measure_cost(machine.run, ROW, 256)


def test_measure_cost_finds_fixed_cost_and_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    cost = cost_on(Machine(0.003, 1e-5), monkeypatch)

    assert cost.overhead_tokens == pytest.approx(0.75 * (0.003 + warmup.QUEUE_S) / 1e-5)
    assert cost.max_tokens == pytest.approx(2000, abs=1)


def test_measure_cost_run_now_and_then_disturbed_is_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = iter([0.05, 0.0, 0.0, 0.2, 0.3, 0.0, 0.01, 0.4, 0.0, 0.1])

    quiet = cost_on(Machine(0.001, 1e-4), monkeypatch)
    noisy = cost_on(Machine(0.001, 1e-4, noise), monkeypatch)

    assert noisy.overhead_tokens == pytest.approx(quiet.overhead_tokens)
    assert noisy.max_tokens == quiet.max_tokens


@pytest.mark.parametrize("fixed_s", [0.0, 0.1])
@pytest.mark.parametrize("token_s", [0.0, 1e-9, 1e-2])
def test_measure_cost_of_any_machine_has_bounds(
    fixed_s: float, token_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    cost = cost_on(Machine(fixed_s, token_s or 1e-12), monkeypatch)

    assert LEAST_RUN_TOKENS <= cost.max_tokens <= MOST_RUN_TOKENS
    assert 0 <= cost.overhead_tokens <= cost.max_tokens / 4


def test_measure_cost_always_disturbed_small_runs_have_bounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = iter([1.0, 0.0] * 5)  # every small run, and no full one

    cost = cost_on(Machine(0.001, 1e-4, noise), monkeypatch)

    assert cost.max_tokens <= MOST_RUN_TOKENS
    assert 0 <= cost.overhead_tokens <= cost.max_tokens / 4


def test_measure_cost_of_a_slow_machine_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0.0, 1e-3)

    cost_on(machine, monkeypatch)

    assert len(machine.shapes) == 4


def test_measure_cost_keeps_to_the_budget_asked_for() -> None:
    assert measure_cost(Machine(0, 1e-4).run, ROW, 256, 640).max_tokens == 640


def test_warm_up_runs_each_length_that_doubles_and_the_longest() -> None:
    machine = Machine(0, 0)

    warm_up(machine.run, ROW, 100)

    assert machine.shapes == [(1, 8), (1, 16), (1, 32), (1, 64), (1, 100)]


def test_warm_up_of_a_slow_machine_ends_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(0, 0.01)
    monkeypatch.setattr(time, "perf_counter", lambda: machine.now)

    warm_up(machine.run, ROW, 32768)

    assert machine.now < 2 * warmup.WARM_UP_S


def test_run_all_keeps_to_the_order_and_a_small_budget() -> None:
    rows = [[n] * (1 + n * 37 % 200) for n in range(100)]
    most = 0

    def run(batch: Sequence[Sequence[int]]) -> np.ndarray:
        nonlocal most
        most = max(most, len(batch) * max(map(len, batch)))
        return np.array([[row[0], len(row)] for row in batch], dtype=np.float32)

    assert run_all(run, rows).tolist() == [[row[0], len(row)] for row in rows]
    assert most <= 1024
