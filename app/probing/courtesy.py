"""How a probe gives way: small slices of work, and rest while others ask.

What a request may have to wait for is one slice of the model or of the store, never a probe.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from app.retrieval.store import Encode

RECENT_S = 1.0
"""So long after a request the next one is reckoned with."""
SLICE_S = 0.004
"""What one call of the model takes while others ask, as far as texts can be cut."""
MOST_REST_S = 0.25
_ALONE = 512


class Traffic:
    """Knows whether requests are answered that go before probes; entered for each of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._inside = 0
        self._last = -RECENT_S

    def __enter__(self) -> None:
        self._inside += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._inside -= 1
        self._last = self._clock()

    @property
    def recent(self) -> bool:
        """Whether a request is being answered, or was a moment ago."""
        return self._inside > 0 or self._clock() - self._last < RECENT_S


class Courtesy:
    """Lets a probe rest in proportion to what it took.

    Args:
        traffic: Tells whether anybody else asks.
        share: Share of the time that a probe may take then, above 0 up to 1.
        sleep: Rests.
        clock: Measures what was taken.
    """

    def __init__(
        self,
        traffic: Traffic,
        share: float,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._traffic, self._share = traffic, share
        self._sleep, self._clock = sleep, clock
        self._text_s = SLICE_S
        self._awake = 0.0

    def rest(self, worked_s: float) -> None:
        """Rest after work, if others ask."""
        if self._traffic.recent and self._share < 1.0:
            self._sleep(min(MOST_REST_S, worked_s * (1.0 / self._share - 1.0)))

    def breathe(self) -> None:
        """Rest now and then in a thread of this process: whoever waits for the lock goes first."""
        used = time.thread_time()
        if used - self._awake < SLICE_S:
            return
        worked, self._awake = used - self._awake, used
        self.rest(min(worked, 4 * SLICE_S))

    def encode(self, encode: Encode) -> Encode:
        """Make an encoder work in slices, with rests between them, while others ask."""

        def politely(texts: Sequence[str]) -> NDArray[np.float32]:
            parts: list[NDArray[np.float32]] = []
            start = 0
            while start < len(texts):
                most = max(1, int(SLICE_S / self._text_s)) if self._traffic.recent else _ALONE
                part = texts[start : start + most]
                began = self._clock()
                parts.append(encode(part))
                worked = self._clock() - began
                self._text_s = max(1e-6, 0.5 * (self._text_s + worked / len(part)))
                self.rest(worked)
                start += len(part)
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        return politely
