"""Where vectors stand in a live collection, found in small searches between which it can stop.

Once it is time to stop, what is left is read off the vectors in memory: the same ranking as the
collection's when it was read, so that nothing that was found has to be thrown away.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.retrieval.store import Hit, VectorStore
from app.robustness.goal import SEARCH_DEPTH, Demotion, Standing
from app.robustness.pool import Pool

_AT_ONCE = 4
_DEEPER = 4
_DIGITS = 6
Vector = NDArray[np.float32]


class Standings:
    """Ranks documents for vectors.

    Args:
        store: The live store.
        name: The collection.
        pool: Its vectors in memory.
    """

    def __init__(self, store: VectorStore, name: str, pool: Pool) -> None:
        self._store, self._name, self._pool = store, name, pool

    def of(
        self, vectors: Sequence[Vector], goals: Sequence[Demotion], stop: Callable[[], bool]
    ) -> list[Standing]:
        """Search for vectors exactly, deep enough to see where the documents stand.

        Args:
            vectors: Unit vectors, shape (dim,) each.
            goals: What to look for, one for each.
            stop: Asked between searches.
        """
        depth = min(SEARCH_DEPTH, max(1, self._store.describe(self._name).count))
        found: list[Standing] = []
        for start in range(0, len(vectors), _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            look = self.remembered if stop() else self._live
            found += look(vectors[some], goals[some], depth)
        return found

    def _live(
        self, vectors: Sequence[Vector], goals: Sequence[Demotion], most: int
    ) -> list[Standing]:
        found: dict[int, Standing] = {}
        depth = max((goal.top_k + len(goal.relevant) for goal in goals), default=1)
        while len(found) < len(goals):
            depth = min(most, depth)
            left = [place for place in range(len(goals)) if place not in found]
            rows = np.array([vectors[place] for place in left])
            searched = self._store.search(self._name, rows, depth, exact=True)
            for place, hits in zip(left, searched, strict=True):
                names = {hit.document.doc_id for hit in hits}
                if depth == most or not names.isdisjoint(goals[place].relevant):
                    found[place] = goals[place].stand(hits, depth)
            depth *= _DEEPER
        return [found[place] for place in range(len(goals))]

    def remembered(
        self, vectors: Sequence[Vector], goals: Sequence[Demotion], most: int
    ) -> list[Standing]:
        """Rank by the vectors in memory, as deep as a search would."""
        scores = self._pool.best(self._pool.scores(np.array(vectors)))
        return [
            goal.stand(self._hits(row, goal, most), most)
            for row, goal in zip(scores, goals, strict=True)
        ]

    def _hits(self, scores: NDArray[np.floating], goal: Demotion, most: int) -> list[Hit]:
        """The first hits, and those deeper down that the goal is about."""
        names = self._pool.doc_ids
        rounded = np.round(scores.astype(np.float64), _DIGITS)
        order = np.lexsort((np.array(names), -rounded))[:most]
        first = goal.top_k + len(goal.relevant)
        return [
            Hit(rank, float(scores[place]), Document(names[place], ""))
            for rank, place in enumerate(order.tolist(), 1)
            if rank <= first or names[place] in goal.relevant
        ]
