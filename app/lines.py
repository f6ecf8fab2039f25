"""Documents as lines of JSON on their way to and from a service; sends nothing itself."""

import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

MEDIA_TYPE = "application/x-ndjson"
PART_BYTES = 65_536
PART_S = 0.1
"""Documents that are made slowly are sent this soon."""

DocumentFields = Mapping[str, Any] | bytes
"""A document's fields, or lines of JSON as they are, with their line feeds."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A body of documents, made while it is sent.

    Attributes:
        documents: What to send; an asynchronous iterable with an asyncio client only.
    """

    documents: Iterable[DocumentFields] | AsyncIterable[DocumentFields]

    @property
    def is_repeatable(self) -> bool:
        """Whether they can be sent once more from the beginning."""
        return not isinstance(self.documents, Iterator | AsyncIterator)

    def parts(self) -> Iterator[bytes]:
        """Write the documents, some at a time."""
        if not isinstance(self.documents, Iterable):
            raise TypeError("an asynchronous iterable needs AsyncClient")
        gathered = _Gathered()
        for document in self.documents:
            if part := gathered.add(document):
                yield part
        yield gathered.take()

    async def parts_async(self) -> AsyncIterator[bytes]:
        """The same for asyncio."""
        if isinstance(self.documents, Iterable):
            for part in self.parts():
                yield part
            return
        gathered = _Gathered()
        async for document in self.documents:
            if part := gathered.add(document):
                yield part
        yield gathered.take()


class _Gathered:
    def __init__(self) -> None:
        self._bytes = bytearray()
        self._since = time.monotonic()

    def add(self, document: DocumentFields) -> bytes:
        """Add a document; returns what is to be sent now, if anything."""
        if isinstance(document, bytes):
            self._bytes += document
        else:
            self._bytes += json.dumps(dict(document)).encode() + b"\n"
        full = len(self._bytes) >= PART_BYTES or time.monotonic() - self._since >= PART_S
        return self.take() if full else b""

    def take(self) -> bytes:
        self._since = time.monotonic()
        taken, self._bytes = bytes(self._bytes), bytearray()
        return taken


class Decoder:
    """Bytes as they come to the values of their lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, part: bytes) -> Iterator[Any]:
        """Take the next bytes and yield the values of the lines that they end."""
        # Not splitlines(): JSON may hold other line breaks than the line feed.
        *lines, self._rest = (self._rest + part).split(b"\n")
        yield from (json.loads(line) for line in lines if line)
