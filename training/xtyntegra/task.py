"""What is measured: queries of one language, a pool of documents, and which of them are right.

Every task, official or ours, becomes a list of cells; whatever ranks, attacks or reports knows
nothing else. A pool is shared by the cells that search it, so its vectors are computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

POOLED = "*"
"""The document language of a cell whose pool holds several languages."""

IN_TRAINING_CORPORA = frozenset({"ntrex128"})
"""Tasks whose texts are among the training corpora: a model may have seen the answers."""


@dataclass(frozen=True)
class Pool:
    """Documents that are ranked together.

    Attributes:
        name: Unique in a run, such as ``flores200:eng_Latn`` or ``xquad-r:*``.
        texts: The documents.
        langs: FLORES code of each document.
        doc_ids: Stable name of each document, unique in the pool.

    Raises:
        ValueError: If the three differ in length.
    """

    name: str
    texts: Sequence[str]
    langs: Sequence[str]
    doc_ids: Sequence[str]

    def __post_init__(self) -> None:
        if not len(self.texts) == len(self.langs) == len(self.doc_ids):
            raise ValueError(
                f"pool {self.name}: {len(self.texts)} texts, {len(self.langs)} langs and "
                f"{len(self.doc_ids)} doc_ids; expected as many of each"
            )

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True)
class Cell:
    """One ranking problem: queries of one language over one pool.

    Attributes:
        task: Such as ``flores200``; see ``tasks.TASKS``.
        setting: ``to-english``, ``from-english``, ``between``, ``pooled``, ``mono`` or ``cross``.
        query_lang: FLORES code.
        document_lang: FLORES code, or ``*`` where the pool holds several languages.
        queries: The queries.
        query_ids: Stable; the same sentence has the same id in every language, so that a
            bootstrap can draw sentences and not translations of them.
        pool: What is searched.
        relevant: Rows of the pool that answer each query, never empty.
        excluded: Rows that do not compete for a query, such as the query itself; None: all do.

    Raises:
        ValueError: If lengths differ, or a query has no relevant document.
    """

    task: str
    setting: str
    query_lang: str
    document_lang: str
    queries: Sequence[str]
    query_ids: Sequence[str]
    pool: Pool
    relevant: Sequence[NDArray[np.intp]]
    excluded: Sequence[NDArray[np.intp]] | None = None

    def __post_init__(self) -> None:
        n = len(self.queries)
        lengths = {n, len(self.query_ids), len(self.relevant)}
        if self.excluded is not None:
            lengths.add(len(self.excluded))
        if len(lengths) > 1:
            raise ValueError(f"cell {self.key}: queries, ids and rows have lengths {lengths}")
        empty = next((i for i, rows in enumerate(self.relevant) if not len(rows)), None)
        if empty is not None:
            raise ValueError(
                f"cell {self.key}: query {self.query_ids[empty]} has no relevant document"
            )

    @property
    def key(self) -> str:
        """Name of the cell, unique in a run: ``flores200/to-english/swh_Latn>eng_Latn``."""
        return f"{self.task}/{self.setting}/{self.query_lang}>{self.document_lang}"


@lru_cache(maxsize=256)
def one_to_one(n: int) -> tuple[NDArray[np.intp], ...]:
    """Make ``relevant`` of a cell where row i of the pool answers query i."""
    return tuple(np.arange(n, dtype=np.intp).reshape(n, 1))
