"""Language bias of a ranking over documents of several languages.

Two views: how far apart the translations of one answer stand (rank distance), and whether the
first hits hold each language as often as the pool does.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.ranks import Rows
from training.xtyntegra.task import Cell

ENGLISH = "eng_Latn"
FIRST = 10
"""How many hits of each query are counted by language."""


class HitCounts:
    """Counts the first hits of queries by the language of the document."""

    def __init__(self, langs: Sequence[str]) -> None:
        self.names, self._codes = np.unique(np.asarray(langs, dtype=np.str_), return_inverse=True)
        self.hits = np.zeros(len(self.names), dtype=np.int64)
        self.competing = np.zeros(len(self.names), dtype=np.int64)

    def add(self, scores: NDArray[np.float32], excluded: Rows | None) -> None:
        """Count a block of queries.

        Args:
            scores: Shape (block, documents); -inf where a document does not compete.
            excluded: Rows of the block's queries that do not compete.
        """
        n = len(self.names)
        first = min(FIRST, scores.shape[1])
        hits = np.argpartition(scores, -first, axis=1)[:, -first:]  # (block, first)
        found = np.take_along_axis(scores, hits, axis=1)
        self.hits += np.bincount(self._codes[hits[found > -np.inf]], minlength=n)
        self.competing += len(scores) * np.bincount(self._codes, minlength=n)
        if excluded is not None:
            self.competing -= np.bincount(self._codes[excluded.flat], minlength=n)

    def shares(self, query_lang: str) -> dict[str, float]:
        """Compare the shares of hits with the shares of the pool.

        Returns:
            ``hits:LANG`` and ``pool:LANG``, shares of the first ten hits and of the documents that
            compete; ``own_share``, ``own_pool_share`` of the query's language, ``english_share``,
            ``english_pool_share``; ``language_bias``, the total variation distance between both,
            0 where hits mirror the pool, towards 1 where all hits are of one language.
        """
        hits = self.hits / max(1, self.hits.sum())
        pool = self.competing / max(1, self.competing.sum())
        names = [str(name) for name in self.names]
        figures = {f"hits:{name}": float(share) for name, share in zip(names, hits, strict=True)}
        figures |= {f"pool:{name}": float(share) for name, share in zip(names, pool, strict=True)}
        for prefix, lang in (("own", query_lang), ("english", ENGLISH)):
            figures[f"{prefix}_share"] = figures.get(f"hits:{lang}", 0.0)
            figures[f"{prefix}_pool_share"] = figures.get(f"pool:{lang}", 0.0)
        figures["language_bias"] = float(np.abs(hits - pool).sum() / 2)
        return figures


def rank_distance(ranks: NDArray[np.int32], relevant: Rows) -> float:
    """Average, over queries, the worst minus the best rank of a relevant document.

    Args:
        ranks: Ascending within a query, shape (relevant rows,).
        relevant: The rows that they belong to.

    References:
        Elmahdy, Lin and Ahmad 2024, https://arxiv.org/abs/2408.10536.
    """
    return float(np.mean(ranks[relevant.starts[1:] - 1] - ranks[relevant.starts[:-1]]))


def bias_of(
    cell: Cell, ranks: NDArray[np.int32], relevant: Rows, hits: HitCounts
) -> dict[str, float]:
    """Gather the figures of language bias of one cell."""
    return {"rank_distance": rank_distance(ranks, relevant), **hits.shares(cell.query_lang)}
