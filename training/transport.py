"""Optimal transport between the teacher's token states of an English text and a student's.

Two tokenizers cut a text and its translation into different numbers of tokens in different orders,
so no token has a fixed partner. A transport plan spreads each of the teacher's tokens over those of
the student that lie near it, and the loss is the mean cosine distance along the plan: the student
is drawn token by token, and the plan is found anew at each step.

This is a reconstruction. Of the method that it follows (OPTICAL, Huang, Yu and Allan 2023,
https://arxiv.org/abs/2301.12566) the abstract alone was at hand, and no code of its authors was
found: cost, marginals, solver and settings below are derived here, and no figure of theirs is
claimed. What it trades away: the teacher runs at each step, and a plan takes tens of passes over a
(teacher's tokens, student's tokens) matrix for each pair.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize

SolverName = Literal["ipot", "sinkhorn"]
PlanOf = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From costs (pairs, m, n) and the masks of both sides, (pairs, m) and (pairs, n), to plans."""

REGULARIZATION: dict[SolverName, float] = {"ipot": 0.5, "sinkhorn": 0.05}
"""What a solver takes unless told otherwise; see training/README.md for the gap to the optimum."""
TOLERANCE = 1e-3  # L1 error of the marginals at which Sinkhorn's iteration stops


def plan_solver(name: SolverName, regularization: float = 0.0, iterations: int = 50) -> PlanOf:
    """Choose a solver.

    Args:
        name: ``ipot`` or ``sinkhorn``.
        regularization: Weight of the entropy (of each proximal step, for IPOT), in units of the
            cost; 0: that of ``REGULARIZATION``.
        iterations: At most.
    """
    solve = ipot if name == "ipot" else sinkhorn
    weight = regularization or REGULARIZATION[name]

    def plan_of(cost: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        return solve(cost, sources, targets, regularization=weight, iterations=iterations)

    return plan_of


def cosine_cost(sources: Tensor, targets: Tensor) -> Tensor:
    """Compute 1 - cos of each source to each target, in float32 also under autocast.

    Args:
        sources: Shape (pairs, m, dim).
        targets: Shape (pairs, n, dim).

    Returns:
        Shape (pairs, m, n).
    """
    with torch.autocast(sources.device.type, enabled=False):
        unit = normalize(sources.float(), dim=-1), normalize(targets.float(), dim=-1)
        return 1.0 - unit[0] @ unit[1].transpose(1, 2)  # (pairs, m, n)


def transport_costs(
    teacher: Tensor, teacher_mask: Tensor, student: Tensor, student_mask: Tensor, plan_of: PlanOf
) -> Tensor:
    """Compute sum_ij T_ij C_ij of each pair, with C the cosine distance and T its plan.

    The plan is held fixed: by the envelope theorem that gives the gradient of the optimum.

    Args:
        teacher: Token states, shape (pairs, m, dim).
        teacher_mask: 1 at real tokens (no padding, no special tokens), shape (pairs, m).
        student: Token states, shape (pairs, n, dim).
        student_mask: 1 at real tokens, shape (pairs, n).
        plan_of: Such as ``plan_solver`` returns.

    Returns:
        From 0 to 2, shape (pairs,); 0 where a side has no real token.
    """
    cost = cosine_cost(teacher, student)  # (pairs, m, n)
    return (plan_of(cost.detach(), teacher_mask, student_mask) * cost).sum(dim=(1, 2))


@torch.no_grad()
def sinkhorn(
    cost: Tensor,
    sources: Tensor,
    targets: Tensor,
    *,
    regularization: float = REGULARIZATION["sinkhorn"],
    iterations: int = 50,
) -> Tensor:
    """Find the plans of least cost minus ``regularization`` times entropy, in the log domain.

    A pair is done when its row sums are within ``TOLERANCE`` (L1) of uniform; its column sums are
    uniform after every iteration.

    Args:
        cost: Shape (pairs, m, n).
        sources: 1 at real tokens, shape (pairs, m).
        targets: 1 at real tokens, shape (pairs, n).
        regularization: In units of the cost.
        iterations: At most.

    Returns:
        Plans without graph, float32, zero at other than real tokens, shape (pairs, m, n).

    References:
        Cuturi 2013, https://arxiv.org/abs/1306.0895.
    """
    kernel = _log_kernel(cost, sources, targets, regularization)
    log_mu, log_nu = _log_uniform(sources), _log_uniform(targets)  # (pairs, m), (pairs, n)
    over_rows, over_columns = torch.zeros_like(log_mu), torch.zeros_like(log_nu)
    open_pairs = torch.ones(len(cost), 1, dtype=torch.bool, device=cost.device)
    for step in range(iterations):
        row_sums = torch.logsumexp(kernel + over_columns[:, None, :], dim=2)  # (pairs, m)
        if step:
            error = ((over_rows + row_sums).exp() - log_mu.exp()).abs().sum(dim=1, keepdim=True)
            # A pair that is done stays as it is, so that it does not depend on its neighbors.
            open_pairs &= error >= TOLERANCE
            if not bool(open_pairs.any()):
                break
        moved = _difference(log_mu, row_sums)
        over_rows = torch.where(open_pairs, moved, over_rows)
        column_sums = torch.logsumexp(kernel + over_rows[:, :, None], dim=1)  # (pairs, n)
        over_columns = torch.where(open_pairs, _difference(log_nu, column_sums), over_columns)
    return (kernel + over_rows[:, :, None] + over_columns[:, None, :]).exp()


@torch.no_grad()
def ipot(
    cost: Tensor,
    sources: Tensor,
    targets: Tensor,
    *,
    regularization: float = REGULARIZATION["ipot"],
    iterations: int = 50,
) -> Tensor:
    """Find the plans of least cost by proximal steps, one Sinkhorn iteration for each.

    Each step is regularized towards the plan before it and not towards the uniform one, so the
    iteration goes to the optimum of the cost itself: A = e^{-C/beta}; Q = A * T;
    delta = mu / (Q sigma); sigma = nu / (Q' delta); T = diag(delta) Q diag(sigma). Kept as
    logarithms, for the entries of T that fade leave the range of float32.

    Args:
        cost: Shape (pairs, m, n).
        sources: 1 at real tokens, shape (pairs, m).
        targets: 1 at real tokens, shape (pairs, n).
        regularization: Of a proximal step, beta, in units of the cost.
        iterations: Proximal steps.

    Returns:
        Plans without graph, float32, zero at other than real tokens, shape (pairs, m, n).

    References:
        Xie, Wang, Wang and Zha 2018, algorithm 1, https://arxiv.org/abs/1802.04307.
    """
    kernel = _log_kernel(cost, sources, targets, regularization)
    log_mu, log_nu = _log_uniform(sources), _log_uniform(targets)
    plan = torch.zeros_like(kernel)
    sigma = torch.where(targets.bool(), log_nu, 0.0)  # (pairs, n)
    for _ in range(iterations):
        plan = kernel + plan
        delta = _difference(log_mu, torch.logsumexp(plan + sigma[:, None, :], dim=2))
        sigma = _difference(log_nu, torch.logsumexp(plan + delta[:, :, None], dim=1))
        plan = plan + delta[:, :, None] + sigma[:, None, :]
    return plan.exp()


def _log_kernel(cost: Tensor, sources: Tensor, targets: Tensor, weight: float) -> Tensor:
    """Return -cost / weight, and minus infinity where a side has no real token."""
    real = sources.bool()[:, :, None] & targets.bool()[:, None, :]  # (pairs, m, n)
    return torch.where(real, -cost.float() / weight, -torch.inf)


def _log_uniform(mask: Tensor) -> Tensor:
    """Return the logarithm of the uniform distribution over what the mask marks, (pairs, n)."""
    real = mask.bool()
    count = real.sum(dim=1, keepdim=True).clamp(min=1)
    return torch.where(real, -count.float().log(), -torch.inf)


def _difference(log_marginal: Tensor, log_sums: Tensor) -> Tensor:
    """Return the first minus the second, and 0 where there is nothing to scale."""
    scaled = torch.isfinite(log_marginal) & torch.isfinite(log_sums)
    return torch.where(scaled, log_marginal - log_sums, 0.0)
