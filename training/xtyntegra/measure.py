"""Cell and vectors in, what each query came to out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from training.xtyntegra.bias import HitCounts, bias_of
from training.xtyntegra.ranks import METRICS, Rows, metrics_of, ranks_in, score_blocks
from training.xtyntegra.task import IN_TRAINING_CORPORA, POOLED, Cell
from training.xtyntegra.vectors import Vectors

__all__ = ["METRICS", "Measured", "Vectors", "rank_cell"]


@dataclass(frozen=True)
class Measured:
    """What one condition of one cell came to, by query.

    Attributes:
        cell: Key of the cell.
        condition: ``clean``, or what was done to the queries.
        ranks: Rank from 1 of the best relevant document, ties counted against, shape (queries,).
        values: Metric -> values, shape (queries,).
        extras: Figures of the cell as a whole, such as ``rank_distance``; may be empty.
            ``in_training_corpora`` is 1 where the task's texts can be trained on.
    """

    cell: str
    condition: str
    ranks: NDArray[np.int32]
    values: dict[str, NDArray[np.float64]]
    extras: dict[str, float]


def rank_cell(
    queries: NDArray[np.float32],
    documents: NDArray[np.float32],
    cell: Cell,
    condition: str = "clean",
) -> Measured:
    """Rank the pool for each query and compute every metric.

    Args:
        queries: Vectors of the cell's queries, as they are or changed, shape (queries, dim).
        documents: Vectors of the cell's pool, shape (documents, dim).
        cell: What is right.
        condition: What was done to the queries.

    Raises:
        InvalidInputError: If the shapes do not fit the cell.
    """
    if len(queries) != len(cell.queries) or len(documents) != len(cell.pool):
        raise InvalidInputError(
            f"{cell.key}: got {len(queries)} query and {len(documents)} document vectors; expected "
            f"{len(cell.queries)} and {len(cell.pool)}."
        )
    relevant = Rows.of(cell.relevant)
    excluded = None if cell.excluded is None else Rows.of(cell.excluded)
    hits = HitCounts(cell.pool.langs) if cell.document_lang == POOLED else None
    ranks = np.empty(len(relevant.flat), dtype=np.int32)
    for first, last, scores in score_blocks(queries, documents, excluded):
        if hits is not None:
            hits.add(scores, None if excluded is None else excluded.part(first, last))
        rows = slice(relevant.starts[first], relevant.starts[last])
        ranks[rows] = ranks_in(scores, relevant.part(first, last))
    extras: dict[str, float] = {}
    if hits is not None and len(queries):
        extras |= bias_of(cell, ranks, relevant, hits)
    if cell.task in IN_TRAINING_CORPORA:
        extras["in_training_corpora"] = 1.0
    best = ranks[relevant.starts[:-1]]
    return Measured(cell.key, condition, best, metrics_of(ranks, relevant), extras)
