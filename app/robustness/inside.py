"""What a white-box attack sees of an encoder, counted and cut into runs that fit in memory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError

Array = NDArray[np.float32]
Floats = NDArray[np.floating[Any]]

RUN_TOKENS = 1024
"""Most tokens of one run of a graph, unless said otherwise: what a few CPU cores fill."""
_TABLE_BLOCK = 4096


class HaltedError(Exception):
    """An attack was told to stop between two runs of a graph; what it had found before holds."""


class WhiteBox(Protocol):
    """Token embeddings, vectors from them, and gradients; ``app.encoder.gradient`` has one."""

    hidden: int

    def lookup(self, rows: Sequence[Sequence[int]]) -> tuple[Array, NDArray[np.int64]]:
        """Look token embeddings up: (texts, longest, hidden), and the mask."""
        ...

    def encode(self, token_embeddings: Floats, mask: NDArray[np.integer[Any]]) -> Array:
        """Encode token embeddings to unit rows."""
        ...

    def gradient(
        self, token_embeddings: Floats, mask: NDArray[np.integer[Any]], cotangent: Floats
    ) -> tuple[Array, Array]:
        """Compute vectors, and dL/dembedding from dL/dvector."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRow:
    """The token ids of a text, as they are served.

    Attributes:
        ids: All of them, special tokens and the prompt among them.
        begin: Where the text's own tokens begin; those before never change.
        end: Where they end; those from there on never change.
    """

    ids: tuple[int, ...]
    begin: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end <= len(self.ids) or not self.ids:
            raise InvalidInputError(
                f"Got {len(self.ids)} tokens of which {self.begin} to {self.end} may change; "
                "expected at least one token, and an interval among them."
            )


class Inside:
    """A white box with its unit of length.

    Attributes:
        box: The white box.
        mean_norm: Mean L2 norm of the embeddings of ``vocabulary``: a constant of the encoder, so
            that a radius means the same for every text and certificates hold.
        vocabulary: Token ids that texts are made of, special tokens left out.
        run_tokens: Most tokens of one run of a graph; bounds memory, and a GPU takes more at once.
        calls: Texts sent through the graphs so far.
    """

    def __init__(
        self, box: WhiteBox, vocabulary: Sequence[int], run_tokens: int = RUN_TOKENS
    ) -> None:
        self.box = box
        self._stop: Callable[[], bool] = lambda: False
        self.run_tokens = run_tokens
        self.vocabulary = np.array(sorted(set(vocabulary)), dtype=np.int64)
        if not self.vocabulary.size:
            raise InvalidInputError("The vocabulary is empty; expected the tokens of texts.")
        norms = [np.linalg.norm(rows.astype(np.float64), axis=1) for _, rows in self.blocks()]
        self.mean_norm = float(np.concatenate(norms).mean())
        if not self.mean_norm > 0.0:
            raise InvalidInputError("All token embeddings are 0; expected a trained encoder.")
        self.calls = 0

    @contextmanager
    def until(self, stop: Callable[[], bool]) -> Iterator[None]:
        """Ask before each run of a graph whether to stop; if so, raise ``HaltedError`` there."""
        before, self._stop = self._stop, stop
        try:
            yield
        finally:
            self._stop = before

    def go_on(self) -> None:
        """Raise ``HaltedError`` if it is time to stop; for loops that run no graph."""
        if self._stop():
            raise HaltedError

    def blocks(
        self, vocabulary: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.int64], Array]]:
        """Go through token ids and their embeddings, shape (tokens, hidden), in blocks."""
        wanted = self.vocabulary if vocabulary is None else vocabulary
        for start in range(0, len(wanted), _TABLE_BLOCK):
            self.go_on()
            ids = wanted[start : start + _TABLE_BLOCK]
            # One token a row: a table may not be asked for more tokens than a text may have.
            yield ids, self.box.lookup([[token] for token in ids.tolist()])[0][:, 0]

    def embed(self, rows: Sequence[TokenRow]) -> Array:
        """Look up rows of one length, shape (rows, seq, hidden)."""
        return self.box.lookup([row.ids for row in rows])[0]

    def vectors(self, embeddings: Floats) -> Array:
        """Encode token embeddings of one length, shape (batch, seq, hidden), to (batch, dim)."""
        parts = [
            self.box.encode(embeddings[run], _ones(embeddings[run]))
            for run in self._runs(embeddings)
        ]
        return np.concatenate(parts)

    def gradients(self, embeddings: Floats, cotangents: Floats) -> tuple[Array, Array]:
        """Compute vectors, and dL/dembedding from dL/dvector, for rows of one length."""
        parts = [
            self.box.gradient(embeddings[run], _ones(embeddings[run]), cotangents[run])
            for run in self._runs(embeddings)
        ]
        return (
            np.concatenate([vectors for vectors, _ in parts]),
            np.concatenate([gradients for _, gradients in parts]),
        )

    def _runs(self, embeddings: Floats) -> Iterator[slice]:
        size = max(1, self.run_tokens // embeddings.shape[1])
        for start in range(0, len(embeddings), size):
            self.go_on()
            run = slice(start, min(start + size, len(embeddings)))
            self.calls += run.stop - start
            yield run


def same_lengths(rows: Sequence[TokenRow], most: int | None = None) -> list[NDArray[np.int64]]:
    """Group rows of one length, in order, so that none is padded; ``most`` tokens in a group.

    A row's result then depends on no other's length.
    """
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        places.setdefault(len(row.ids), []).append(place)
    groups: list[NDArray[np.int64]] = []
    for length, found in sorted(places.items()):
        size = len(found) if most is None else max(1, most // length)
        groups += [np.array(found[at : at + size]) for at in range(0, len(found), size)]
    return groups


def _ones(embeddings: Floats) -> NDArray[np.int64]:
    return np.ones(embeddings.shape[:2], dtype=np.int64)
