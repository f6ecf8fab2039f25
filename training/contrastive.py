"""InfoNCE: each query must find its own document among those of the whole batch.

One-way asks it of the queries; symmetric also asks each document to find its query. Hard negatives
are more documents to be told apart from, for all queries. Pairs that are negatives only by accident
are masked. What it trades away: the loss only sees the batch, so its negatives are as hard as the
batch is large.

The cosines of a large batch are never held all at once: two million at a time are computed, summed
up, and computed again for their gradient.
"""

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

AT_ONCE = 1 << 21  # cosines that are held, and a few copies of them
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
    hidden = masked or 2 * (torch.zeros(0, dtype=torch.int64, device=queries.device),)
    size = max(1, AT_ONCE // len(columns))
    if size >= pairs:
        logits = _logits(queries, columns, temperature, *hidden)  # (pairs, pairs + negatives)
        labels = torch.arange(pairs, device=logits.device)
        forward = F.cross_entropy(logits, labels)
        if not symmetric:
            return forward
        return (forward + F.cross_entropy(logits[:, :pairs].T, labels)) / 2
    own = (queries * documents).sum(dim=1) / temperature  # (pairs,)
    over_rows, over_columns = [], []
    for start in range(0, pairs, size):
        here = (hidden[0] >= start) & (hidden[0] < start + size)
        block = queries[start : start + size], columns, temperature
        reduced = checkpoint(
            _reduced,
            *block,
            hidden[0][here] - start,
            hidden[1][here],
            pairs if symmetric else 0,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        over_rows.append(reduced[0])
        over_columns.append(reduced[1])
    forward = (torch.cat(over_rows) - own).mean()
    if not symmetric:
        return forward
    return (forward + (torch.stack(over_columns).logsumexp(dim=0) - own).mean()) / 2


def _logits(
    queries: Tensor, columns: Tensor, temperature: Tensor | float, row: Tensor, column: Tensor
) -> Tensor:
    """Divide the cosines of some queries by the temperature; hidden ones become -inf."""
    logits = queries @ columns.T / temperature
    if not len(row):
        return logits
    hidden = torch.tensor(-torch.inf, dtype=logits.dtype, device=logits.device)
    return logits.index_put((row, column), hidden)


def _reduced(
    queries: Tensor,
    columns: Tensor,
    temperature: Tensor | float,
    row: Tensor,
    column: Tensor,
    documents: int,
) -> tuple[Tensor, Tensor]:
    """Return log sum exp over each row, and over each of the first ``documents`` columns."""
    logits = _logits(queries, columns, temperature, row, column)
    return logits.logsumexp(dim=1), logits[:, :documents].logsumexp(dim=0)


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
