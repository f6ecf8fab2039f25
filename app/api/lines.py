"""Bytes as they come to numbered lines, each within a bound."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a stream.

    Attributes:
        number: From 1, empty lines counted.
        content: Its bytes without the line feed; None if they are too many.
    """

    number: int
    content: bytes | None


class LineSplitter:
    """Cuts a stream at line feeds and forgets what is beyond a line's bound.

    Args:
        most_bytes: Bytes of a line, at most.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._rest = bytearray()
        self._too_long = False
        self.number = 0

    def feed(self, part: bytes) -> Iterator[Line]:
        """Take the next bytes and yield the lines that they end, but for those of no bytes."""
        start = 0
        while (end := part.find(b"\n", start)) >= 0:
            if end == start and not self._rest and not self._too_long:
                self.number += 1  # cheaply: there may be millions
                start = end + 1
                continue
            self._keep(part[start:end])
            yield self._take()
            start = end + 1
        self._keep(part[start:])

    def end(self) -> Iterator[Line]:
        """Yield the last line if no line feed ended it."""
        if self._rest or self._too_long:
            yield self._take()

    def _keep(self, part: bytes) -> None:
        if self._too_long or len(self._rest) + len(part) > self._most_bytes:
            self._too_long = True
            self._rest = bytearray()
        else:
            self._rest += part

    def _take(self) -> Line:
        self.number += 1
        line = Line(self.number, None if self._too_long else bytes(self._rest))
        self._rest, self._too_long = bytearray(), False
        return line
