"""Each distinct text encoded once over all cells of a run, in bounded memory."""

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.store import Encode
from training.xtyntegra.task import Pool

_BLOCK_TEXTS = 2048
_LIMIT_MB = 1536
_WHOLE = 4
"""Arrays kept whole, as cells one after another ask for the same pool or queries."""
_WHOLE_BYTES = 64 << 20
"""Larger arrays are put together anew each time."""


class _Kept:
    """Vectors of one encoder in blocks; the block not asked for longest is dropped first."""

    def __init__(self, encode: Encode) -> None:
        self.encode = encode
        self.encoded = 0
        self._place: dict[str, tuple[int, int]] = {}
        self._blocks: OrderedDict[int, tuple[list[str], NDArray[np.float32]]] = OrderedDict()
        self._whole: OrderedDict[int, tuple[Sequence[str], NDArray[np.float32]]] = OrderedDict()
        self._next = 0

    @property
    def bytes(self) -> int:
        return sum(vectors.nbytes for _, vectors in self._blocks.values())

    def drop_oldest(self) -> None:
        """Forget a block; its texts are encoded again when they come again."""
        _, (texts, _) = self._blocks.popitem(last=False)
        for text in texts:
            del self._place[text]

    def vectors(self, texts: Sequence[str], keep: bool) -> NDArray[np.float32]:
        """Return the vectors of texts, shape (texts, dim), encoding those that are new."""
        # The texts are kept beside their vectors: an id is only theirs as long as they live.
        if id(texts) in self._whole:
            self._whole.move_to_end(id(texts))
            return self._whole[id(texts)][1]
        found = self._gathered(texts, keep)
        if keep and found.nbytes <= _WHOLE_BYTES:
            found.setflags(write=False)
            self._whole[id(texts)] = (texts, found)
            if len(self._whole) > _WHOLE:
                self._whole.popitem(last=False)
        return found

    def _gathered(self, texts: Sequence[str], keep: bool) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._place]
        fresh: dict[str, NDArray[np.float32]] = {}
        for first in range(0, len(new), _BLOCK_TEXTS):
            part = new[first : first + _BLOCK_TEXTS]
            vectors = self._encoded(part)
            fresh.update(zip(part, vectors, strict=True))
            if keep:
                self._keep(part, vectors)
        rows = [fresh[text] if text in fresh else self._row(text) for text in texts]
        return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        vectors = np.asarray(self.encode(texts), dtype=np.float32)
        if vectors.ndim != 2 or len(vectors) != len(texts):
            raise InvalidInputError(
                f"The encoder gave an array of shape {vectors.shape} for {len(texts)} texts; "
                f"expected ({len(texts)}, dim)."
            )
        self.encoded += len(texts)
        return vectors

    def _keep(self, texts: list[str], vectors: NDArray[np.float32]) -> None:
        self._blocks[self._next] = (texts, vectors)
        self._place.update((text, (self._next, row)) for row, text in enumerate(texts))
        self._next += 1

    def _row(self, text: str) -> NDArray[np.float32]:
        block, row = self._place[text]
        self._blocks.move_to_end(block)
        return self._blocks[block][1][row]


class Vectors:
    """Vectors of queries and documents, each distinct text encoded once while they fit.

    Equal functions for both sides share their vectors.
    """

    def __init__(
        self, encode_query: Encode, encode_document: Encode, *, limit_mb: int = _LIMIT_MB
    ) -> None:
        """Start with nothing encoded.

        Args:
            encode_query: Queries to unit rows.
            encode_document: Documents to unit rows.
            limit_mb: MiB of vectors to keep; beyond it those not asked for longest are dropped,
                and encoded again if they come again. One call may need more for its answer.
        """
        self._queries = _Kept(encode_query)
        same = encode_query == encode_document
        self._documents = self._queries if same else _Kept(encode_document)
        self._limit = limit_mb << 20

    @property
    def encoded(self) -> int:
        """How many texts were encoded so far."""
        return sum(kept.encoded for kept in self._sides())

    def queries(self, texts: Sequence[str], *, keep: bool = True) -> NDArray[np.float32]:
        """Return the vectors of queries, shape (texts, dim).

        Args:
            texts: The queries.
            keep: Whether they will come again; perturbed queries, for one, will not.
        """
        return self._vectors(self._queries, texts, keep)

    def documents(self, pool: Pool) -> NDArray[np.float32]:
        """Return the vectors of a pool, shape (documents, dim)."""
        return self._vectors(self._documents, pool.texts, keep=True)

    def _vectors(self, kept: _Kept, texts: Sequence[str], keep: bool) -> NDArray[np.float32]:
        vectors = kept.vectors(texts, keep)
        while sum(each.bytes for each in self._sides()) > self._limit:
            max(self._sides(), key=lambda each: each.bytes).drop_oldest()
        return vectors

    def _sides(self) -> list[_Kept]:
        if self._documents is self._queries:
            return [self._queries]
        return [self._queries, self._documents]
