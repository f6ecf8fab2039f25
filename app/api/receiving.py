"""Reading a stream of lines no faster than they are dealt with, from a client that may be slow."""

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from starlette.types import Receive

from app.api.lines import Line, LineSplitter
from app.api.problems import ClientGoneError

IDLE_S = 0.5
"""Lines that have come wait so long for more of them."""
LEAST_BYTES = 1024
"""What a client must send in each while that it is waited for."""


class TooSlowError(Exception):
    """The client sends next to nothing and keeps a place from others."""


@dataclass(slots=True)
class Bounds:
    """How much is taken at a time.

    Attributes:
        lines: Lines of a batch, at most.
        bytes: Bytes of a batch, and of a line, at most.
        slow_s: A client has so many seconds of waiting for each ``LEAST_BYTES``.
    """

    lines: int
    bytes: int
    slow_s: float


@dataclass(slots=True)
class _Batch:
    lines: list[Line] = field(default_factory=list)
    bytes: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def is_old(self) -> bool:
        return bool(self.lines) and time.monotonic() - self.begun >= IDLE_S


class LineReader:
    """Reads the body of a request in batches of lines.

    Args:
        receive: The request's messages.
        bounds: How much is taken at a time.
    """

    def __init__(self, receive: Receive, bounds: Bounds) -> None:
        self._receive, self._bounds = receive, bounds
        self._splitter = LineSplitter(bounds.bytes)
        self._batch = _Batch()
        self._coming: asyncio.Task[bytes | None] | None = None
        self._waited_s, self._bytes = 0.0, 0

    @property
    def number(self) -> int:
        """Lines read."""
        return self._splitter.number

    async def batches(self) -> AsyncGenerator[list[Line]]:
        """Yield batches of lines; an empty one if nothing comes for a while.

        Raises:
            ClientGoneError: If the client closed the connection before the end.
            TooSlowError: If it sends too little.
        """
        while True:
            try:
                part = await self._next()
            except TimeoutError:
                yield self._take()
                continue
            except TooSlowError:
                yield self._take()
                raise
            for line in self._splitter.feed(part or b""):
                if self._add(line):
                    yield self._take()
            if self._batch.is_old:
                yield self._take()
            if part is None:
                for line in self._splitter.end():
                    self._add(line)
                yield self._take()
                return

    async def discard(self, seconds: float) -> None:
        """Read on for a while without a use, so that the client sees the answer and not a reset."""
        try:
            async with asyncio.timeout(seconds):
                while await self._next_part() is not None:
                    pass
        except (TimeoutError, ClientGoneError):
            return

    def close(self) -> None:
        """Stop to read."""
        if self._coming is not None:
            self._coming.cancel()

    async def _next(self) -> bytes | None:
        """Wait for the next bytes; None at the end, TimeoutError if there are none for a while."""
        if self._coming is None:
            self._coming = asyncio.create_task(self._read())
        began = time.monotonic()
        await asyncio.wait({self._coming}, timeout=IDLE_S)
        self._waited_s += time.monotonic() - began
        if self._coming.done():
            part = self._coming.result()
            self._coming = None
            self._bytes += len(part or b"")
        elif self._waited_s < self._bounds.slow_s:
            raise TimeoutError
        else:
            part = b""
        if part is not None and self._waited_s >= self._bounds.slow_s:
            if self._bytes < LEAST_BYTES:
                raise TooSlowError
            self._waited_s, self._bytes = 0.0, 0
        return part

    async def _next_part(self) -> bytes | None:
        coming, self._coming = self._coming, None
        return await (coming or self._read())

    async def _read(self) -> bytes | None:
        if self._ended:
            return None
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        self._ended = not message.get("more_body", False)
        return message.get("body", b"")

    _ended = False

    def _add(self, line: Line) -> bool:
        """Put a line into the batch; returns whether that is full."""
        self._batch.lines.append(line)
        self._batch.bytes += len(line.content or b"")
        full = self._batch.bytes >= self._bounds.bytes
        return full or len(self._batch.lines) >= self._bounds.lines

    def _take(self) -> list[Line]:
        batch, self._batch = self._batch, _Batch()
        return batch.lines
