"""InfoNCE: each query must find its own document among those of the whole batch.

One-way asks it of the queries; symmetric also asks each document to find its query. Pairs that are
negatives only by accident are masked. What it trades away: the loss only sees the batch, so its
negatives are as hard as the batch is large.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from torch import Tensor


def info_nce(
    queries: Tensor,
    documents: Tensor,
    temperature: float,
    *,
    symmetric: bool = True,
    masked: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Mean of -log( e^{q_i d_i / t} / sum_j e^{q_i d_j / t} ) over the batch.

    Args:
        queries: Unit rows, shape (pairs, dim).
        documents: Unit rows, row i belongs to query i, shape (pairs, dim).
        temperature: Cosines are divided by it; smaller is sharper.
        symmetric: Average with the same loss from documents to queries.
        masked: Rows and columns, both of shape (n,), of pairs that are no negatives.

    Returns:
        A scalar.

    References:
        van den Oord, Li and Vinyals 2018, equation 4, https://arxiv.org/abs/1807.03748.
    """
    logits = queries @ documents.T / temperature  # (pairs, pairs)
    if masked is not None:
        hidden = torch.tensor(-torch.inf, dtype=logits.dtype, device=logits.device)
        logits = logits.index_put(masked, hidden)
    labels = torch.arange(len(logits), device=logits.device)
    forward = F.cross_entropy(logits, labels)
    if not symmetric:
        return forward
    return (forward + F.cross_entropy(logits.T, labels)) / 2
