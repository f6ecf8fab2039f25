"""A session's thread as its batcher sees it: what it runs and how it is doing."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.encoder.jobs import Batch

_LOGGER = logging.getLogger(__name__)

Run = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]
"""Token ids of texts to their vectors, shape (texts, dim)."""

HEARTBEAT_LIMIT_S = 30.0


@dataclass(eq=False)
class Worker:
    """One session and its thread.

    Attributes:
        run: Encodes one batch.
        batch: Texts taken and not yet answered.
        failure: What is wrong with the session, if it failed on texts known to work.
        tries: How often those were tried.
        asked: Whether somebody waits for them to be tried again.
        tokens: Tokens run since memory was last given back.
    """

    run: Run
    thread: threading.Thread = field(init=False)
    batch: Batch = field(default_factory=list)
    failure: str | None = None
    tries: int = 0
    asked: bool = False
    tokens: int = 0
    _run_started: float | None = None

    def vectors(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Run some texts.

        Raises:
            Exception: Whatever the session raises, or that it gave something else than vectors.
        """
        self._run_started = time.monotonic()
        self.tokens += sum(map(len, rows))
        try:
            vectors = self.run(rows)
        finally:
            self._run_started = None
        if vectors.ndim != 2 or len(vectors) != len(rows):
            raise ValueError(f"got vectors of shape {vectors.shape} for {len(rows)} texts")
        return vectors

    def encodes(self, rows: Sequence[Sequence[int]]) -> bool:
        """Tell whether texts known to work do so."""
        try:
            return bool(np.isfinite(self.vectors(rows)).all())
        except Exception:  # the session's; the log has it
            _LOGGER.exception("The session failed on a text known to work")
            return False

    def hangs(self) -> bool:
        """Tell whether the present run takes longer than any should."""
        started = self._run_started
        return started is not None and time.monotonic() - started > HEARTBEAT_LIMIT_S
