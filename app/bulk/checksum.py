"""What two collections must share to be the same, whatever engine holds them and in what order.

Each document has a digest, and the digests are added, so that order does not matter. Vectors are
summed up twice: in the digest, bit by bit, and in a weighted sum, because an engine may round the
last bit of a number. Numbers in metadata are compared by value: 7 is 7.0.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document, Span

_MODULUS = 1 << 128
ROUNDING = 1e-6
"""How far a passage's part in the weighted sum may be off; a wrong vector is off by about 1."""

Likeness = Literal["identical", "rounded", "different"]


@dataclass(slots=True)
class Checksum:
    """The sums over some documents; ``add`` more.

    Attributes:
        dim: Length of a vector.
        documents: How many there are.
        passages: How many vectors they have.
        texts: Sum of digests of all but the vectors.
        exact: Sum of digests with the vectors.
        weighted: Sum of vectors, each by a weight that id and place give, shape (dim,), float64.
    """

    dim: int
    documents: int = 0
    passages: int = 0
    texts: int = 0
    exact: int = 0
    weighted: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if self.weighted.size == 0:
            self.weighted = np.zeros(self.dim)

    def add(
        self,
        documents: Sequence[Document],
        spans: Sequence[Sequence[Span]],
        vectors: NDArray[np.float32],
    ) -> None:
        """Add documents with their passages' vectors, shape (passages, dim)."""
        rows = np.ascontiguousarray(vectors, "<f4")
        weights = np.empty(len(rows))
        first = 0
        for document, some in zip(documents, spans, strict=True):
            content = blake2b(_canonical(document, some), digest_size=16)
            self.texts += int.from_bytes(content.digest(), "little")
            last = first + len(some)
            content.update(rows[first:last].tobytes())
            self.exact += int.from_bytes(content.digest(), "little")
            weights[first:last] = _weights(document.doc_id, len(some))
            first = last
        self.texts %= _MODULUS
        self.exact %= _MODULUS
        self.documents += len(documents)
        self.passages += len(rows)
        self.weighted = self.weighted + weights @ rows.astype(np.float64)  # (dim,)

    def compare(self, other: "Checksum") -> Likeness:
        """Tell whether other documents are the same, or the same but for rounded vectors."""
        counts = (self.dim, self.documents, self.passages, self.texts)
        if counts != (other.dim, other.documents, other.passages, other.texts):
            return "different"
        if self.exact == other.exact:
            return "identical"
        off = float(np.abs(self.weighted - other.weighted).max(initial=0.0))
        return "rounded" if off <= ROUNDING * max(1.0, self.passages**0.5) else "different"

    def to_json(self) -> dict[str, Any]:
        """Write it down."""
        return {
            "documents": self.documents,
            "passages": self.passages,
            "texts": f"{self.texts:032x}",
            "exact": f"{self.exact:032x}",
            "weighted": self.weighted.tolist(),
        }

    @classmethod
    def from_json(cls, dim: int, found: Any) -> "Checksum":
        """Read what ``to_json`` wrote.

        Raises:
            ValueError: If it is none.
        """
        try:
            weighted = np.asarray(found["weighted"], np.float64)
            if weighted.shape != (dim,):
                raise ValueError(f"its checksum has {weighted.shape} numbers, not {dim}")
            sums = int(found["texts"], 16), int(found["exact"], 16)
            return cls(dim, int(found["documents"]), int(found["passages"]), *sums, weighted)
        except (KeyError, TypeError) as error:
            raise ValueError(f"its checksum has no sound {error}") from None


def _canonical(document: Document, spans: Sequence[Span]) -> bytes:
    metadata = {key: _number(value) for key, value in document.metadata.items()}
    whole = [document.doc_id, document.text, document.lang, metadata, [list(s) for s in spans]]
    return json.dumps(whole, sort_keys=True, separators=(",", ":")).encode()


def _number(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _weights(doc_id: str, passages: int) -> NDArray[np.float64]:
    """Weights of a document's passages, from 1 to 2, shape (passages,)."""
    seed = int.from_bytes(blake2b(doc_id.encode(), digest_size=8).digest(), "little")
    if passages == 1:
        return np.array([1.0 + seed / 2.0**64])
    return np.random.default_rng(seed).uniform(1.0, 2.0, passages)
