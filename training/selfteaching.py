"""Self-teaching: a query with typos is to rank the batch's documents as the clean query does.

The clean query's scores are the target, without gradient, so that the noisy one is drawn to the
clean one and not the other way round. What it trades away: the noisy queries are encoded too.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from training.contrastive import AT_ONCE


def self_teaching_loss(
    queries: Tensor, noisy: Tensor, documents: Tensor, temperature: Tensor | float
) -> Tensor:
    """Mean over the queries of KL( softmax(q_i D / t) || softmax(n_i D / t) ).

    Args:
        queries: Unit rows of the clean queries, shape (pairs, dim); no gradient flows into them.
        noisy: Unit rows of the same queries with typos, shape (pairs, dim).
        documents: Unit rows of all documents, hard negatives included, shape (documents, dim).
        temperature: Cosines are divided by it.

    Returns:
        A scalar; 0 if each noisy query is as its clean one.

    References:
        Zhuang and Zuccon 2022, https://arxiv.org/abs/2204.00716.
    """
    pairs, size = len(queries), max(1, AT_ONCE // len(documents))
    if size >= pairs:
        return _divergence(queries, noisy, documents, temperature) / pairs
    parts = [
        checkpoint(
            _divergence,
            queries[start : start + size],
            noisy[start : start + size],
            documents,
            temperature,
            use_reentrant=False,
            preserve_rng_state=False,
        )
        for start in range(0, pairs, size)
    ]
    return torch.stack(parts).sum() / pairs


def _divergence(
    queries: Tensor, noisy: Tensor, documents: Tensor, temperature: Tensor | float
) -> Tensor:
    """Sum the divergences of some queries."""
    target = F.log_softmax(queries @ documents.T / temperature, dim=1).detach()
    found = F.log_softmax(noisy @ documents.T / temperature, dim=1)
    return F.kl_div(found, target, reduction="sum", log_target=True)
