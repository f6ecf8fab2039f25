"""White-box attack on the vectors of tokens: how far may noise lead a query before it is lost?

Projected gradient descent against the whole pool at once: the noise of each token stays in an L2
ball, and the loss that is climbed is the query's cross-entropy over all English documents. The
radius is a share of the model's own mean token norm, so models whose tables differ in scale are
compared alike. With a static encoder the noise is that of the mean, in the ball that noise on the
tokens can reach (``training.adversarial``).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from training.adversarial import Ball, mean_token_norm
from training.model import Encoder
from training.passes import Block
from training.tokens import TokenTable

TEMPERATURE = 0.05
"""Of the cross-entropy that is climbed; where it ends does not depend on it much."""
STEP = 2.5
"""Length of all steps together, in radii."""


def attack_tokens(
    encoder: Encoder,
    table: TokenTable,
    rows: NDArray[np.intp],
    goal: NDArray[np.intp],
    documents: NDArray[np.float32],
    *,
    epsilons: tuple[float, ...],
    steps: int,
    batch: int = 256,
) -> dict[float, NDArray[np.bool_]]:
    """Attack queries at each radius; the noise of the best step counts, the clean query too.

    Args:
        encoder: In evaluation mode.
        table: Of the queries.
        rows: Which of them.
        goal: Row of each query's document, shape (queries,).
        documents: Unit rows, shape (documents, dim).
        epsilons: Radii, in mean token norms.
        steps: Of ascent.
        batch: Queries attacked together.

    Returns:
        Radius -> whether each query still has its document strictly first, shape (queries,).

    References:
        Madry et al. 2018, section 2.1, https://arxiv.org/abs/1706.06083.
    """
    pool, norm = torch.from_numpy(documents), mean_norm(encoder, table, rows)
    holds = {epsilon: np.zeros(len(rows), bool) for epsilon in epsilons}
    lengths = np.minimum(table.lengths[rows], table.room(encoder.config.max_tokens))
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        ids, mask = table.gather(table.offsets[rows[part]], lengths[part])
        block = Block(torch.from_numpy(ids), torch.from_numpy(mask))
        wanted = torch.from_numpy(goal[part].astype(np.int64))
        for epsilon in epsilons:
            ball = _ball(encoder, block, epsilon * norm)
            holds[epsilon][part] = _climb(encoder, block, ball, wanted, pool, steps).numpy()
    return holds


def mean_norm(encoder: Encoder, table: TokenTable, rows: NDArray[np.intp]) -> float:
    """Return the mean L2 norm of the token embeddings of some texts."""
    lengths = np.minimum(table.lengths[rows], table.room(encoder.config.max_tokens))
    ids, mask = table.gather(table.offsets[rows], lengths)
    block = Block(torch.from_numpy(ids), torch.from_numpy(mask))
    with torch.no_grad():
        return float(mean_token_norm(encoder, [block], sample=ids.size))


def _ball(encoder: Encoder, block: Block, radius: float) -> Ball:
    moving, total = encoder.noise_counts(block.attention_mask, block.attention_mask)
    return Ball("token", torch.tensor(radius), (moving / total)[..., None])


def _climb(
    encoder: Encoder, block: Block, ball: Ball, goal: Tensor, pool: Tensor, steps: int
) -> Tensor:
    """Return whether each query holds at every step, (queries,) of bool."""
    with torch.no_grad():
        points, mask = encoder.noise_points(block.input_ids, block.attention_mask)
    noise = torch.zeros_like(points)
    holds = torch.ones(len(goal), dtype=torch.bool)
    for step in range(steps + 1):
        added = noise.clone().requires_grad_()
        vectors = encoder.pool(encoder.token_states(points + added, mask), mask)
        scores = vectors @ pool.T  # (queries, documents)
        holds &= _first(scores.detach(), goal)
        if step == steps:
            return holds
        # Each query's own gradient: the sum keeps them apart.
        loss = cross_entropy(scores / TEMPERATURE, goal, reduction="sum")
        gradient = torch.autograd.grad(loss, added)[0]
        noise = ball.project(noise + STEP / steps * ball.ascent(gradient))
    return holds


def _first(scores: Tensor, goal: Tensor) -> Tensor:
    own = scores.gather(1, goal[:, None])
    return (scores >= own).sum(dim=1) == 1
