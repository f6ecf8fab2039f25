"""InfoNCE: each query must find its own document among those of the whole batch.

One-way asks it of the queries; symmetric also asks each document to find its query. Hard negatives
are more documents to be told apart from, for all queries. Pairs that are negatives only by accident
are masked. What it trades away: the loss only sees the batch, so its negatives are as hard as the
batch is large.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from torch import Tensor, nn

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 1.0


class Temperature(nn.Module):
    """The temperature, fixed or learned as log(1 / t) within 0.01 to 1.

    Args:
        start: Its value, or the first one.
        learned: Whether its logarithm is a parameter.

    References:
        Radford et al. 2021, section 2.5, https://arxiv.org/abs/2103.00020 (the bound of 0.01 too).
    """

    def __init__(self, start: float, *, learned: bool = False) -> None:
        super().__init__()
        logarithm = torch.tensor(-math.log(start))
        self.log_inverse = nn.Parameter(logarithm, requires_grad=learned)

    def forward(self) -> Tensor:
        """Return the temperature, a scalar."""
        return torch.exp(-self.log_inverse)

    @torch.no_grad()
    def bound(self) -> None:
        """Put it back within its bounds; call it after each step of the optimizer."""
        self.log_inverse.clamp_(-math.log(MOST_TEMPERATURE), -math.log(LEAST_TEMPERATURE))


def info_nce(
    queries: Tensor,
    documents: Tensor,
    temperature: Tensor | float,
    *,
    symmetric: bool = True,
    masked: tuple[Tensor, Tensor] | None = None,
    negatives: Tensor | None = None,
) -> Tensor:
    """Mean of -log( e^{q_i d_i / t} / sum_j e^{q_i d_j / t} ) over the batch.

    Args:
        queries: Unit rows, shape (pairs, dim).
        documents: Unit rows, row i belongs to query i, shape (pairs, dim).
        temperature: Cosines are divided by it; smaller is sharper.
        symmetric: Average with the same loss from documents to queries (without ``negatives``).
        masked: Rows and columns, both of shape (n,), of pairs that are no negatives; columns from
            ``pairs`` on are those of ``negatives``.
        negatives: Unit rows of hard negatives, for all queries alike, shape (any, dim).

    Returns:
        A scalar.

    References:
        van den Oord, Li and Vinyals 2018, equation 4, https://arxiv.org/abs/1807.03748.
    """
    pairs = len(queries)
    columns = documents if negatives is None else torch.cat([documents, negatives])
    logits = queries @ columns.T / temperature  # (pairs, pairs + negatives)
    if masked is not None:
        hidden = torch.tensor(-torch.inf, dtype=logits.dtype, device=logits.device)
        logits = logits.index_put(masked, hidden)
    labels = torch.arange(pairs, device=logits.device)
    forward = F.cross_entropy(logits, labels)
    if not symmetric:
        return forward
    return (forward + F.cross_entropy(logits[:, :pairs].T, labels)) / 2


def matryoshka(
    loss_of: Callable[[Sequence[Tensor]], Tensor], sides: Sequence[Tensor], dims: Sequence[int]
) -> Tensor:
    """Mean of a loss over vectors cut to each of ``dims`` and the whole ones.

    Cut vectors are scaled to length 1 again, as they will be when they are searched with. The mean
    in place of the source's sum keeps the loss in proportion to the other parts.

    Args:
        loss_of: From unit rows of each side to a scalar.
        sides: Unit rows, shape (any, dim) each.
        dims: Numbers of leading dimensions; none: the loss of the whole vectors alone.

    References:
        Kusupati et al. 2022, equation 1, https://arxiv.org/abs/2205.13147.
    """
    losses = [loss_of(sides)]
    losses += [loss_of([F.normalize(side[:, :dim], dim=1) for side in sides]) for dim in dims]
    return torch.stack(losses).mean()
