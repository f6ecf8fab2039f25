"""What a white-box attack pulls at: how far a vector still is from success, and which way lies it.

Every aim gives for each vector a loss that is below 0 once the attack has succeeded, and the loss's
gradient at the vector. Documents are those of a pool in memory; what succeeds there is searched for
in the store before it is reported.
"""

from collections.abc import Collection, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.pool import Pool

WON = -1e-6
"""A loss below it is a success: scores differ in their last bits between engines."""

Floats = NDArray[np.floating]


class Aim(Protocol):
    """A goal for each of some texts."""

    def look(
        self, vectors: Floats, which: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Measure vectors, shape (batch, dim), of the texts ``which``, shape (batch,).

        Returns:
            Losses, shape (batch,), and their gradients at the vectors, (batch, dim).
        """
        ...


class Demote:
    """Push every relevant document of a query out of the top k.

    The loss is the rank margin: the score of the best relevant document less that of the k-th
    rival. Its gradient pulls at all of the k nearest rivals that are still behind, for it takes k.
    """

    def __init__(self, pool: Pool, relevant: Sequence[Collection[str]], top_k: int) -> None:
        """Aim at some documents for each text; raises InvalidInputError if none can succeed."""
        self._pool = pool
        self._top_k = top_k
        most = max((len(names) for names in relevant), default=0)
        if top_k < 1 or min(map(len, relevant), default=1) < 1:
            raise InvalidInputError(
                "Got a text without relevant documents, or top_k below 1; expected one at least."
            )
        if len(pool.doc_ids) - most < top_k:
            raise InvalidInputError(
                f"There are {len(pool.doc_ids)} documents, of which up to {most} are relevant; "
                f"expected at least {top_k} rivals, or none can leave the top {top_k}: lower top_k."
            )
        self._own = np.full((len(relevant), most), -1, dtype=np.int64)
        for row, names in zip(self._own, relevant, strict=True):
            row[: len(names)] = np.flatnonzero(pool.mask(names))

    def look(
        self, vectors: Floats, which: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Measure vectors; see ``Aim``."""
        scores = self._pool.scores(vectors)
        rivals = self._pool.best(scores).astype(np.float64)  # (batch, documents)
        rows, own = np.arange(len(rivals)), self._own[which]
        ours = np.where(own < 0, -np.inf, np.take_along_axis(rivals, np.maximum(own, 0), axis=1))
        best, best_score = own[rows, ours.argmax(axis=1)], ours.max(axis=1)
        there = own >= 0
        rivals[np.repeat(rows, there.sum(axis=1)), own[there]] = -np.inf
        near, near_scores = _highest(rivals, self._top_k)
        losses = best_score - near_scores.min(axis=1)
        behind = near_scores <= best_score[:, None]
        # Once all are in front, the last of them is still the one that counts.
        behind |= ~behind.any(axis=1)[:, None] & (near_scores == near_scores.min(axis=1)[:, None])
        weights = np.zeros_like(rivals)
        np.put_along_axis(weights, near, behind / -behind.sum(axis=1)[:, None], axis=1)
        weights[rows, best] += 1.0
        return losses, _mixed(self._pool, scores, weights)


class Promote:
    """Bring one document into the top k of a query.

    The loss is the score of the k-th other document less that of the target.
    """

    def __init__(self, pool: Pool, targets: Sequence[str], top_k: int) -> None:
        """Aim at one document for each text; raises InvalidInputError if it is always a hit."""
        if not 1 <= top_k < len(pool.doc_ids):
            raise InvalidInputError(
                f"Got top_k {top_k} for {len(pool.doc_ids)} documents; expected 1 to "
                f"{len(pool.doc_ids) - 1}, or every document is a hit: lower top_k."
            )
        self._pool = pool
        self._top_k = top_k
        self._own = np.array([np.flatnonzero(pool.mask([name]))[0] for name in targets])

    def look(
        self, vectors: Floats, which: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Measure vectors; see ``Aim``."""
        scores = self._pool.scores(vectors)
        others = self._pool.best(scores).astype(np.float64)
        rows, own = np.arange(len(others)), self._own[which]
        own_scores = others[rows, own]
        others[rows, own] = -np.inf
        near, near_scores = _highest(others, self._top_k)
        last = near[rows, near_scores.argmin(axis=1)]
        weights = np.zeros_like(others)
        weights[rows, last] += 1.0
        weights[rows, own] -= 1.0
        return near_scores.min(axis=1) - own_scores, _mixed(self._pool, scores, weights)


class Attract:
    """Bring a vector as near as can be to a given one: there is no success, only less loss."""

    def __init__(self, targets: Floats) -> None:
        """Aim at one vector for each text, shape (texts, dim)."""
        self._targets = np.asarray(targets, dtype=np.float32)

    def look(
        self, vectors: Floats, which: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Measure vectors; see ``Aim``. The loss is 2 less the product: above 0 for unit rows."""
        targets = self._targets[which]
        return 2.0 - (np.asarray(vectors, np.float64) * targets).sum(axis=1), -targets


def _highest(scores: NDArray[np.float64], k: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Find the k highest of each row, in no order: places and values, shape (rows, k)."""
    near = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    return near, np.take_along_axis(scores, near, axis=1)


def _mixed(pool: Pool, scores: Floats, weights: NDArray[np.float64]) -> NDArray[np.float32]:
    """Add documents up by their weights, each by its best passage; (rows, dim)."""
    if len(pool.doc_ids) != len(pool.vectors):
        found = np.repeat(pool.best(scores), pool.sizes, axis=1) == scores
        weights = np.repeat(weights, pool.sizes, axis=1) * found
    return weights.astype(np.float32) @ pool.vectors
