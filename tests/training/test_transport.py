from functools import cache

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import linprog
from torch import Tensor
from torch.nn.functional import normalize, pad

from training.transport import (
    SolverName,
    cosine_cost,
    plan_solver,
    transport_costs,
)

SOLVERS: tuple[SolverName, ...] = ("ipot", "sinkhorn")


def states(rng: np.random.Generator, count: int, dim: int = 64) -> Tensor:
    return torch.from_numpy(rng.normal(size=(1, count, dim)).astype(np.float32))


def problems(count: int) -> list[Tensor]:
    """Costs of random problems of 4 to 23 tokens on each side."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(4, 24, (count, 2))
    return [cosine_cost(states(rng, m), states(rng, n)) for m, n in sizes.tolist()]


def exact(cost: NDArray[np.float64]) -> float:
    """Cost of the best plan, by linear programming."""
    m, n = cost.shape
    rows, columns = np.kron(np.eye(m), np.ones((1, n))), np.kron(np.ones((1, m)), np.eye(n))
    marginals = np.concatenate([np.full(m, 1 / m), np.full(n, 1 / n)])
    return float(linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals).fun)


@cache
def optima() -> list[float]:
    return [exact(cost[0].double().numpy()) for cost in problems(30)]


def stacked(costs: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad costs to one batch, with the masks of real tokens.

    Special tokens stand before and padding behind; their cost of -1 would draw all mass.
    """
    high, wide = (max(cost.shape[axis] for cost in costs) + 2 for axis in (1, 2))
    sources, targets, padded = torch.zeros(len(costs), high), torch.zeros(len(costs), wide), []
    for row, cost in enumerate(costs):
        _, m, n = cost.shape
        padded.append(pad(cost, (1, wide - n - 1, 1, high - m - 1), value=-1.0))
        sources[row, 1 : m + 1] = targets[row, 1 : n + 1] = 1
    return torch.cat(padded), sources, targets


def solved(name: SolverName, cost: Tensor, regularization: float = 0.0, times: int = 50) -> Tensor:
    ones = torch.ones(cost.shape[:2]), torch.ones(cost.shape[0], cost.shape[2])
    return plan_solver(name, regularization, times)(cost, *ones)


# Mean and largest gap to the optimum (in shares of it) and largest L1 error of the row sums.
@pytest.mark.parametrize(
    ("name", "regularization", "times", "mean_gap", "max_gap", "row_error"),
    [
        ("ipot", 0.5, 50, 0.0015, 0.0025, 3.1e-3),
        ("ipot", 0.5, 200, 0.0002, 0.0004, 3e-4),
        ("ipot", 0.1, 50, 0.0005, 0.0014, 2.2e-2),
        ("sinkhorn", 0.1, 50, 0.08, 0.13, 1e-3),
        ("sinkhorn", 0.05, 50, 0.03, 0.06, 1e-3),
    ],
)
def test_solver_comes_near_the_linear_program(
    name: SolverName,
    regularization: float,
    times: int,
    mean_gap: float,
    max_gap: float,
    row_error: float,
) -> None:
    costs = problems(30)
    padded, sources, targets = stacked(costs)
    plans = plan_solver(name, regularization, times)(padded, sources, targets).double().numpy()
    gaps, errors = [], []
    for cost, plan, optimum in zip(costs, plans, optima(), strict=True):
        _, m, n = cost.shape
        plan = plan[1 : m + 1, 1 : n + 1]
        assert plan.min() >= 0.0
        assert plan.sum(0) == pytest.approx(np.full(n, 1 / n), abs=1e-5)
        errors.append(np.abs(plan.sum(1) - 1 / m).sum())
        gaps.append(abs((plan * cost[0].double().numpy()).sum() - optimum) / optimum)
    assert np.mean(gaps) <= mean_gap
    assert max(gaps) <= max_gap
    assert max(errors) <= row_error


def test_solvers_agree_as_regularization_falls() -> None:
    for cost in problems(4):
        plan = solved("ipot", cost, 0.5, 300)
        apart = [
            (solved("sinkhorn", cost, weight, 1000) - plan).abs().sum().item()
            for weight in (0.3, 0.05, 0.01)
        ]
        assert apart == sorted(apart, reverse=True)
        assert apart[-1] < 0.3 < 0.8 < apart[0]  # of 2 at most


def test_plan_of_equal_tokens_in_another_order_finds_the_order() -> None:
    tokens = states(np.random.default_rng(3), 7)
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    plan = solved("ipot", cosine_cost(tokens, tokens[:, order]))[0]
    assert torch.equal(plan.argmax(dim=0), order)
    assert plan[order, torch.arange(7)].tolist() == pytest.approx([1 / 7] * 7, rel=0.01)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_in_a_padded_batch_equals_one_by_one(name: SolverName) -> None:
    costs = problems(5)
    plans = plan_solver(name)(*stacked(costs))
    for plan, cost in zip(plans, costs, strict=True):
        _, m, n = cost.shape
        alone = solved(name, cost)[0]
        assert torch.allclose(plan[1 : m + 1, 1 : n + 1], alone, rtol=1e-4, atol=1e-7)
        assert plan.sum().item() == pytest.approx(alone.sum().item(), abs=1e-5)


@pytest.mark.parametrize("name", SOLVERS)
def test_solver_survives_pairs_without_tokens(name: SolverName) -> None:
    rng = np.random.default_rng(1)
    left, right = states(rng, 3).repeat(3, 1, 1), states(rng, 4).repeat(3, 1, 1)
    left.requires_grad_()
    masks = torch.tensor([[1.0] * 3, [0.0] * 3, [1.0] * 3]), torch.ones(3, 4)
    masks[1][2] = 0
    costs = transport_costs(left, masks[0], right, masks[1], plan_solver(name))
    assert costs[0].item() > 0
    assert costs[1:].tolist() == [0.0, 0.0]
    costs.sum().backward()
    assert left.grad is not None
    assert bool(left.grad.isfinite().all())


@pytest.mark.parametrize("name", SOLVERS)
@pytest.mark.parametrize("weight", [0.002, 50.0])
def test_solver_stays_finite_at_extreme_regularization(name: SolverName, weight: float) -> None:
    cost = torch.cat([problems(1)[0], torch.zeros_like(problems(1)[0])])
    plans = solved(name, cost, weight)
    assert bool(plans.isfinite().all())
    assert plans.sum(dim=(1, 2)).tolist() == pytest.approx([1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("name", SOLVERS)
def test_transport_costs_do_not_depend_on_the_order_of_tokens(name: SolverName) -> None:
    rng = np.random.default_rng(2)
    left, right = states(rng, 9), states(rng, 6)
    orders = rng.permutation(9), rng.permutation(6)
    ones = torch.ones(1, 9), torch.ones(1, 6)
    plain = transport_costs(left, ones[0], right, ones[1], plan_solver(name))
    mixed = transport_costs(
        left[:, orders[0]], ones[0], right[:, orders[1]], ones[1], plan_solver(name)
    )
    assert mixed.item() == pytest.approx(plain.item(), rel=1e-4)


def entropic_optimum(cost: NDArray[np.float64], weight: float) -> float:
    """Least sum T C + weight KL(T | uniform), found in float64 by another route (the dual)."""
    f, g = np.zeros(cost.shape[0]), np.zeros(cost.shape[1])
    for _ in range(200):
        f = -weight * np.log(np.exp((g - cost) / weight).mean(axis=1))
        g = -weight * np.log(np.exp((f[:, None] - cost) / weight).mean(axis=0))
    return float(f.mean() + g.mean())


def test_transport_gradient_is_that_of_the_envelope_theorem() -> None:
    rng = np.random.default_rng(4)
    left, right, weight = states(rng, 5), states(rng, 4).requires_grad_(), 0.2
    ones = torch.ones(1, 5), torch.ones(1, 4)
    plan_of = plan_solver("sinkhorn", weight, 200)
    transport_costs(left, ones[0], right, ones[1], plan_of).sum().backward()
    assert right.grad is not None

    def optimum(moved: NDArray[np.float64]) -> float:
        unit = normalize(left[0].double(), dim=-1), normalize(torch.from_numpy(moved), dim=-1)
        return entropic_optimum((1 - unit[0] @ unit[1].T).numpy(), weight)

    at = right.detach()[0].double().numpy()
    for _ in range(5):
        direction = rng.normal(size=at.shape)
        slope = (optimum(at + 1e-4 * direction) - optimum(at - 1e-4 * direction)) / 2e-4
        found = (right.grad[0].double().numpy() * direction).sum()
        assert found == pytest.approx(slope, rel=0.02, abs=1e-4)


def test_transport_costs_carry_no_gradient_through_the_plan() -> None:
    rng = np.random.default_rng(5)
    left, right = states(rng, 5), states(rng, 4).requires_grad_()
    ones = torch.ones(1, 5), torch.ones(1, 4)
    transport_costs(left, ones[0], right, ones[1], plan_solver("ipot")).sum().backward()
    fixed = solved("ipot", cosine_cost(left, right.detach()))
    other = right.detach().clone().requires_grad_()
    (fixed * cosine_cost(left, other)).sum().backward()
    assert right.grad is not None
    assert other.grad is not None
    assert torch.equal(right.grad, other.grad)


@pytest.mark.parametrize("name", SOLVERS)
def test_transport_costs_are_in_float32_under_autocast(name: SolverName) -> None:
    rng = np.random.default_rng(6)
    left, right = states(rng, 8), states(rng, 8)
    ones = torch.ones(1, 8), torch.ones(1, 8)
    plain = transport_costs(left, ones[0], right, ones[1], plan_solver(name))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = transport_costs(left, ones[0], right, ones[1], plan_solver(name))
    assert mixed.dtype == torch.float32
    assert torch.equal(plain, mixed)
    half = transport_costs(left.half(), ones[0], right.half(), ones[1], plan_solver(name))
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(plain.item(), rel=1e-3)
