"""What white-box noise pulls at in a cell: every right document of a query out of the first rank.

The cells of the benchmark name right documents by rows, and some exclude documents for single
queries, which ``app.robustness.aim`` does not know.
"""

import numpy as np
from numpy.typing import NDArray

from app.robustness.aim import Floats
from training.xtyntegra.task import Cell

_BLOCK_BYTES = 64 << 20


class Dethrone:
    """Put some wrong document above all right ones.

    The loss is the score of the best right document less that of the best wrong one; its gradient
    at the vector is the difference of the two.
    """

    def __init__(self, cell: Cell, documents: NDArray[np.float32]) -> None:
        """Aim at the queries of a cell, whose pool has the vectors (documents, dim)."""
        self._cell, self._documents = cell, documents

    def look(
        self, vectors: Floats, which: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Measure vectors; see ``app.robustness.aim.Aim``."""
        rows = np.asarray(vectors, dtype=np.float32)
        losses = np.empty(len(rows))
        gradients = np.empty(rows.shape, dtype=np.float32)
        size = max(1, _BLOCK_BYTES // (8 * max(1, len(self._documents))))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            losses[part], gradients[part] = self._look(rows[part], which[part].tolist())
        return losses, gradients

    def _look(
        self, vectors: NDArray[np.float32], which: list[int]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        cell, documents = self._cell, self._documents
        scores = vectors @ documents.T  # (batch, documents)
        best = np.empty(len(which), dtype=np.intp)
        for row, query in enumerate(which):
            right = cell.relevant[query]
            best[row] = right[scores[row, right].argmax()]
        places = np.arange(len(which))
        own = scores[places, best].astype(np.float64)
        for row, query in enumerate(which):
            scores[row, cell.relevant[query]] = -np.inf
            if cell.excluded is not None:
                scores[row, cell.excluded[query]] = -np.inf
        rival = scores.argmax(axis=1)
        losses = own - scores[places, rival]
        # Without any rival nothing can be lost: the gradient leads nowhere.
        there = np.isfinite(losses)[:, None]
        return losses, np.where(there, documents[best] - documents[rival], np.float32(0.0))
