"""Hashes of what is asked: two runs may be compared where these are equal, and nowhere else."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.task import Cell


class Hasher:
    """Hashes cells; texts and rows that cells share are read once."""

    def __init__(self) -> None:
        # The objects are kept too: an id is only theirs as long as they live.
        self._known: dict[int, tuple[Any, bytes]] = {}

    def cell(self, cell: Cell) -> str:
        """Hash all that decides a cell's figures: key, queries, ids, pool and right answers."""
        pool = cell.pool
        parts = [
            _of_texts([cell.key, pool.name]),
            *(self._of(texts, _of_texts) for texts in (cell.queries, cell.query_ids)),
            *(self._of(texts, _of_texts) for texts in (pool.texts, pool.langs, pool.doc_ids)),
            self._of(cell.relevant, _of_rows),
            b"" if cell.excluded is None else self._of(cell.excluded, _of_rows),
        ]
        return hashlib.sha256(b"\0".join(part.hex().encode() for part in parts)).hexdigest()

    def _of(self, value: Any, digest: Callable[[Any], bytes]) -> bytes:
        if id(value) not in self._known:
            self._known[id(value)] = (value, digest(value))
        return self._known[id(value)][1]


def task_hash(cells: Iterable[str]) -> str:
    """Hash a task by the hashes of its cells, in whatever order they came."""
    return hashlib.sha256("\n".join(sorted(cells)).encode()).hexdigest()


def _of_texts(texts: Sequence[str]) -> bytes:
    digest = hashlib.sha256()
    for text in texts:
        content = text.encode("utf-8", "surrogatepass")
        digest.update(len(content).to_bytes(8, "little") + content)
    return digest.digest()


def _of_rows(rows: Sequence[NDArray[np.intp]]) -> bytes:
    digest = hashlib.sha256()
    for part in rows:
        found = np.sort(np.asarray(part, dtype="<i8"))
        digest.update(len(found).to_bytes(8, "little") + found.tobytes())
    return digest.digest()
