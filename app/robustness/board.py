"""Standings of many texts at once, by one product with a collection's vectors held in memory.

Ranks are those of the store: falling score, equal scores by rising ``doc_id``. A row's scores do
not depend on what else is in the batch: the product is always of whole tiles, so that each score is
summed in the same order.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.robustness.goal import SEARCH_DEPTH, Demotion, Distance, Goal, Promotion, Standing
from app.robustness.pool import Pool

Scores = NDArray[np.float32]
Places = NDArray[np.int64]

_G = TypeVar("_G")
_ROWS = 32
# OpenBLAS runs products of at most so many multiplications in the calling thread. More threads,
# which wait by spinning, cost a busy service more than they gain it.
_ONE_THREAD = 1 << 18
_MOST_SCORES = 1 << 22


class Board:
    """A collection's documents, and the goals of the queries that are attacked.

    Attributes:
        pool: The documents by rising ``doc_id``, all of them.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = _by_name(pool)
        passages, dim = self.pool.vectors.shape
        width = 1
        while width < 64 and 2 * width * _ROWS * dim <= _ONE_THREAD:
            width *= 2
        whole = np.zeros((-(-passages // width) * width, dim), dtype=np.float32)
        whole[:passages] = self.pool.vectors
        self._tiles = np.ascontiguousarray(whole.reshape(-1, width, dim).transpose(0, 2, 1))
        self._rows: dict[int, int] = {}
        self._goals: list[Goal] = []
        self._cleans = np.zeros((0, dim), dtype=np.float32)
        self._own: Places = np.zeros((0, 1), dtype=np.int64)
        self._targets: Places = np.zeros(0, dtype=np.int64)

    def add(self, goals: Sequence[Goal], cleans: Sequence[NDArray[np.float32]]) -> None:
        """Take the goals of all queries, with the vector of each clean query, (dim,).

        Raises:
            InvalidInputError: If a goal names a document that is not there.
        """
        self._goals = list(goals)
        self._rows = {id(goal): row for row, goal in enumerate(goals)}
        self._cleans = np.array(cleans, dtype=np.float32)
        own = [np.flatnonzero(self.pool.mask(goal.relevant)) for goal in goals]
        self._own = np.full((len(own), max([1, *map(len, own)])), -1, dtype=np.int64)
        for row, places in zip(self._own, own, strict=True):
            row[: len(places)] = places
        self._targets = np.array(
            [self.pool.places[g.target] if isinstance(g, Promotion) else -1 for g in goals],
            dtype=np.int64,
        )

    def knows(self, goal: Goal) -> bool:
        """Tell whether a goal was taken."""
        return id(goal) in self._rows

    def stand(self, vectors: NDArray[np.float32], goals: Sequence[Goal]) -> list[Standing]:
        """Find where texts stand, by their vectors, shape (texts, dim), each for its goal."""
        which = np.array([self._rows[id(goal)] for goal in goals], dtype=np.int64)
        size = max(_ROWS, _MOST_SCORES // len(self.pool.vectors) // _ROWS * _ROWS)
        found: list[Standing] = []
        for start in range(0, len(vectors), size):
            part = slice(start, start + size)
            found += self._stand(vectors[part], which[part])
        return found

    def scores(self, vectors: NDArray[np.float32]) -> Scores:
        """Score every document for each vector, shape (texts, documents)."""
        count, dim = vectors.shape
        blocks = -(-count // _ROWS)
        rows = np.zeros((blocks, 1, _ROWS, dim), dtype=np.float32)
        rows.reshape(-1, dim)[:count] = vectors
        tiles, _, width = self._tiles.shape
        whole = np.empty((blocks, _ROWS, tiles, width), dtype=np.float32)
        np.matmul(rows, self._tiles, out=whole.transpose(0, 2, 1, 3))
        passages = whole.reshape(-1, tiles * width)[:count, : len(self.pool.vectors)]
        scores = self.pool.best(passages)
        return np.clip(scores, -1.0, 1.0, out=scores)

    def _stand(self, vectors: NDArray[np.float32], which: Places) -> list[Standing]:
        scores, own = self.scores(vectors), self._own[which]
        goals = [self._goals[row] for row in which.tolist()]
        top_k = np.array([goal.top_k for goal in goals])
        ranks = _ranks(scores, own)
        found = (ranks <= top_k[:, None]).sum(axis=1).tolist()
        best = [_known(rank) for rank in ranks.min(axis=1).tolist()]
        if isinstance(goals[0], Promotion):
            targets = self._targets[which][:, None]
            places = [_known(rank) for rank in _ranks(scores, targets)[:, 0].tolist()]
            margins = _gaps(scores, targets, np.zeros_like(top_k), top_k)
            return [
                goal.standing(rank, -margin, hit, SEARCH_DEPTH, place)
                for goal, rank, margin, hit, place in zip(
                    _all(goals, Promotion), best, margins, found, places, strict=True
                )
            ]
        if isinstance(goals[0], Distance):
            cosines = np.einsum("nd,nd->n", vectors, self._cleans[which]).tolist()
            shown = _first(scores, top_k) if goals[0].ranking is not None else [[]] * len(goals)
            return [
                goal.standing(rank, hit, SEARCH_DEPTH, [self.pool.doc_ids[n] for n in names], near)
                for goal, rank, hit, names, near in zip(
                    _all(goals, Distance), best, found, shown, cosines, strict=True
                )
            ]
        lost = _all(goals, Demotion)
        margins = _gaps(scores, own, np.array([max(0, goal.kept or 0) for goal in lost]), top_k)
        return [
            goal.standing(rank, margin, hit, SEARCH_DEPTH)
            for goal, rank, margin, hit in zip(lost, best, margins, found, strict=True)
        ]


def _known(rank: int) -> int | None:
    return rank if rank <= SEARCH_DEPTH else None


def _all(goals: Sequence[Goal], kind: type[_G]) -> list[_G]:
    """All goals of a probe are of one kind."""
    return [goal for goal in goals if isinstance(goal, kind)]


def _ranks(scores: Scores, own: Places) -> Places:
    """Rank documents, (texts, m), among all; of places -1 it is more than there are documents."""
    rows = np.arange(len(scores))
    ranks = np.full(own.shape, scores.shape[1] + SEARCH_DEPTH + 1, dtype=np.int64)
    for column in range(own.shape[1]):
        places = own[:, column]
        mine = scores[rows, places][:, None]
        ahead = np.count_nonzero(scores > mine, axis=1)
        equal = np.count_nonzero(scores == mine, axis=1)
        for row in np.flatnonzero(equal > 1).tolist():
            ahead[row] += np.count_nonzero(scores[row, : places[row]] == mine[row])
        there = places >= 0
        ranks[there, column] = ahead[there] + 1
    return ranks


def _gaps(scores: Scores, own: Places, stay: Places, top_k: Places) -> list[float]:
    """How far the documents are from leaving: the score of the next to go less its rival's.

    Args:
        scores: Shape (texts, documents).
        own: Places of the documents, (texts, m), -1 for none.
        stay: How many of them may stay, (texts,).
        top_k: How many hits are seen, (texts,).
    """
    rows, there = np.arange(len(scores)), own >= 0
    mine = np.where(there, np.take_along_axis(scores, np.maximum(own, 0), axis=1), -np.inf)
    mine = -np.sort(-mine, axis=1)[rows, np.minimum(stay, own.shape[1] - 1)]
    rivals = scores.copy()
    rivals[np.repeat(rows, there.sum(axis=1)), own[there]] = -np.inf
    left = scores.shape[1] - there.sum(axis=1)
    at = scores.shape[1] - np.minimum(top_k - stay, left)
    none = at == scores.shape[1]
    at = np.minimum(at, scores.shape[1] - 1)
    rivals.partition(np.unique(at), axis=1)
    passing = np.where(none, 0.0, rivals[rows, at])
    return (mine.astype(np.float64) - passing).tolist()


def _first(scores: Scores, top_k: Places) -> list[list[int]]:
    """List the first hits of each text, equal scores by place."""
    found: list[list[int]] = []
    for row, count in zip(scores, top_k.tolist(), strict=True):
        least = np.partition(row, -min(count, len(row)))[-min(count, len(row))]
        some = np.flatnonzero(row >= least)
        found.append(some[np.argsort(-row[some], kind="stable")][:count].tolist())
    return found


def _by_name(pool: Pool) -> Pool:
    """Sort documents by name, which is how a store orders equal scores."""
    order = sorted(range(len(pool.doc_ids)), key=pool.doc_ids.__getitem__)
    passages = [np.arange(pool.starts[n], pool.starts[n] + pool.sizes[n]) for n in order]
    return Pool(
        tuple(pool.doc_ids[n] for n in order),
        pool.vectors[np.concatenate(passages)],
        np.asarray(pool.sizes)[order],
        pool.complete,
    )
