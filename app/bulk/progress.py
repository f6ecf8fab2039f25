"""How far a job is: one line that changes on a terminal, now and then a line elsewhere."""

import sys
import time
from collections import deque
from typing import TextIO

_EVERY_S = (0.2, 30.0)
_WINDOW_S = 30.0
_WIDTH = 24


class Progress:
    """Shows share, documents, rate and time left.

    Args:
        total: Bytes of all files.
        done: Bytes done in earlier runs.
        stream: Where to; standard error if left out.
    """

    def __init__(self, total: int, done: int = 0, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._total = max(1, total)
        self._bytes = done
        self._documents = 0
        self._refused = 0
        self._next = time.monotonic() + _EVERY_S[not self._terminal]
        self._marks: deque[tuple[float, int, int]] = deque([(time.monotonic(), done, 0)])

    def add(self, size: int, documents: int, refused: int) -> None:
        """Count what was done; shows it if it is time to."""
        self._bytes += size
        self._documents += documents
        self._refused += refused
        now = time.monotonic()
        self._marks.append((now, self._bytes, self._documents))
        while len(self._marks) > 2 and now - self._marks[0][0] > _WINDOW_S:
            self._marks.popleft()
        if now >= self._next:
            self._next = now + _EVERY_S[not self._terminal]
            self._show(now)

    def line(self, now: float) -> str:
        """What is shown."""
        share = min(1.0, self._bytes / self._total)
        since, size, documents = self._marks[0]
        seconds = max(1e-6, now - since)
        rate = (self._documents - documents) / seconds
        speed = (self._bytes - size) / seconds
        left = duration((self._total - self._bytes) / speed) if speed > 0 else "?"
        filled = round(share * _WIDTH)
        bar = "█" * filled + "░" * (_WIDTH - filled) if self._terminal else ""
        refused = f", {self._refused:,} refused" if self._refused else ""
        return (
            f"{share:4.0%} {bar}{' ' if bar else ''}{self._documents:,} documents{refused}, "
            f"{rate:,.0f}/s, {left} left"
        )

    def close(self) -> None:
        """End the line that changes."""
        if self._terminal:
            self._show(time.monotonic())
            self._stream.write("\n")
            self._stream.flush()

    def _show(self, now: float) -> None:
        line = self.line(now)
        self._stream.write(f"\r{line}\x1b[K" if self._terminal else f"{line}\n")
        self._stream.flush()


def duration(seconds: float) -> str:
    """Write seconds as people do: ``4:05`` or ``2:10:00``."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
