"""Lines that tell how far a run is, how fast it goes and how long it will take."""

import sys
import time
from collections.abc import Callable

EVERY_S = 10.0


def to_stderr(line: str) -> None:
    """Write a line for whoever watches the run."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


class Progress:
    """One stage of a run, measured in queries.

    Args:
        stage: What is done.
        total: Queries in all; those of parts that are finished already left out.
        tell: Takes each line.
        clock: Seconds, rising.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        tell: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stage, self._total, self._tell, self._clock = stage, total, tell, clock
        self._done = 0
        self._begun = self._told = clock()

    def step(self, what: str, queries: int, *, always: bool = False) -> None:
        """Count what was done; a line is told every ten seconds at most, unless ``always``."""
        self._done += queries
        now = self._clock()
        if not always and now - self._told < EVERY_S:
            return
        self._told = now
        elapsed = max(now - self._begun, 1e-9)
        rate = self._done / elapsed
        left = (self._total - self._done) / rate if rate else 0.0
        self._tell(
            f"{self._stage}: {what}; {self._done:,} of {self._total:,} queries, "
            f"{rate:,.0f}/s, {duration(left)} left"
        )

    def note(self, what: str) -> None:
        """Tell what is being done, every ten seconds at most."""
        if self._clock() - self._told >= EVERY_S:
            self._told = self._clock()
            self._tell(f"{self._stage}: {what}")


def duration(seconds: float) -> str:
    """Write seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
