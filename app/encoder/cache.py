"""Vectors of texts seen before, in front of tokenizer and queue.

The least recently used go first once the entries' bytes reach the bound. No text is kept: an entry
is found by a digest of the model, the kind of text and the text itself, so one encoder is never
answered with another's vectors. What is found is bit by bit what was computed when the text first
came; computed again among other texts it may differ by rounding (3e-8 for the default encoder). Two
requests that come with the same new text at the same time both compute it: sharing one computation
would tie the second to whatever becomes of the first.
"""

import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.encoder.encoded import Encoded, Timings
from app.errors import InvalidInputError, TooLargeError

DIGEST_BYTES = 16
ENTRY_BYTES = 384
"""What an entry takes beside its vector: digest, numbers, objects, its place in the order."""


class _Vectors(Protocol):
    """As ``Encoded``."""

    @property
    def vectors(self) -> NDArray[np.float32]: ...
    @property
    def truncated(self) -> Sequence[bool]: ...
    @property
    def lengths(self) -> Sequence[int]: ...
    @property
    def windows(self) -> Sequence[int]: ...
    @property
    def timings(self) -> Timings: ...


Encode = Callable[[Sequence[str]], Coroutine[Any, Any, _Vectors]]
"""Computes the vectors of texts, in the way that their ``Asked`` says."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What decides a text's vector beside the text.

    Attributes:
        model: The encoder's ``model_id`` and precision.
        input_type: Which prompt is put before it.
        truncate: Whether a text may be cut; one that was is not found for those who refuse that.
        windows: Whether a long text is split in windows.
        dimensions: Leading dimensions kept, or None for all.
    """

    model: str
    input_type: str
    truncate: bool = True
    windows: bool = False
    dimensions: int | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    vector: bytes
    length: int
    windows: int
    truncated: bool


class VectorCache:
    """A bounded cache of vectors; thread-safe.

    Args:
        max_bytes: Most bytes of all entries together, as ``ENTRY_BYTES`` counts them.

    Attributes:
        hits: Texts answered from the cache.
        misses: Texts that had to be computed.
        evictions: Entries that had to go to make room.
        bytes: Bytes of all entries.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.hits = self.misses = self.evictions = self.bytes = 0
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    async def encode(self, texts: Sequence[str], asked: Asked, encode: Encode) -> Encoded:
        """Answer what is known and compute the rest, each distinct text once.

        Args:
            texts: Normalized texts.
            asked: How their vectors are to be made.
            encode: Makes them so.

        Raises:
            ServiceError: As ``encode``.
        """
        digests = _digests(texts, asked)
        found = self._find(digests, asked.truncate)
        missing = {d: t for d, t in zip(digests, texts, strict=True) if d not in found}
        timings = Timings()
        if missing:
            try:
                computed = await encode(list(missing.values()))
            except (InvalidInputError, TooLargeError):
                # Said again of all texts, so that the message counts them as the caller does.
                await encode(texts)
                raise
            timings = computed.timings
            entries = _entries(computed)
            found.update(zip(missing, entries, strict=True))
            self._keep(dict(zip(missing, entries, strict=True)))
        rows = [found[digest] for digest in digests]
        joined = bytearray().join(row.vector for row in rows)
        return Encoded(
            vectors=np.frombuffer(joined, np.float32).reshape(len(rows), -1),  # (texts, dim)
            truncated=[row.truncated for row in rows],
            tokens=sum(row.length for row in rows),
            lengths=[row.length for row in rows],
            windows=[row.windows for row in rows],
            timings=timings,
        )

    def clear(self) -> None:
        """Forget all entries; the counts go on."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0

    def _find(self, digests: Sequence[bytes], truncate: bool) -> dict[bytes, _Entry]:
        found: dict[bytes, _Entry] = {}
        with self._lock:
            for digest in digests:
                entry = self._entries.get(digest)
                if entry is None or (entry.truncated and not truncate):
                    self.misses += 1
                    continue
                self._entries.move_to_end(digest)
                self.hits += 1
                found[digest] = entry
        return found

    def _keep(self, entries: dict[bytes, _Entry]) -> None:
        with self._lock:
            for digest, entry in entries.items():
                if digest in self._entries:
                    continue  # another request was faster
                self._entries[digest] = entry
                self.bytes += _size(entry)
            while self.bytes > self.max_bytes:
                _, oldest = self._entries.popitem(last=False)
                self.bytes -= _size(oldest)
                self.evictions += 1


def _digests(texts: Sequence[str], asked: Asked) -> list[bytes]:
    kind = (asked.model, asked.input_type, str(asked.windows), str(asked.dimensions))
    # A byte that no UTF-8 text holds parts the fields.
    start = hashlib.blake2b(b"\xff".join([*map(str.encode, kind), b""]), digest_size=DIGEST_BYTES)
    digests: list[bytes] = []
    for text in texts:
        one = start.copy()
        one.update(text.encode("utf-8", "surrogatepass"))
        digests.append(one.digest())
    return digests


def _entries(computed: _Vectors) -> list[_Entry]:
    rows = zip(
        np.ascontiguousarray(computed.vectors, dtype=np.float32),
        computed.lengths,
        computed.windows,
        computed.truncated,
        strict=True,
    )
    return [_Entry(row.tobytes(), tokens, parts, cut) for row, tokens, parts, cut in rows]


def _size(entry: _Entry) -> int:
    return ENTRY_BYTES + sys.getsizeof(entry.vector)
