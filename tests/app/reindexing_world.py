"""A collection to encode anew, and an encoder that waits for a permit."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.binding import options_for
from app.guard import REINDEX, WriteGuard
from app.hidden import hidden_name
from app.reencoding import PAGE, Progress
from app.reindexing import Reindexer
from app.retrieval.store import Document
from app.windows import Windows

HIDDEN = hidden_name(REINDEX, "a")

ENDED = ("done", "failed", "cancelled", "interrupted")


class Slow:
    """An encoder whose calls wait for a permit, and count."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder
        self.permits = threading.Semaphore(0)
        self.calls = 0
        self.texts: list[str] = []
        self.failures: list[Exception] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, texts: Sequence[str], input_type: Any, *, priority: int = 1) -> Any:
        assert priority == 1  # behind searches
        self.calls += 1
        self.permits.acquire()
        if self.failures:
            raise self.failures.pop()
        self.texts += texts
        return self._encoder.encode(texts, input_type)


class World:
    """A store with a collection of another encoder, and what encodes it anew."""

    def __init__(self, encoder: Any, store: Any, state: Path, count: int = 2 * PAGE + 1) -> None:
        self.store, self.state = store, state
        self.slow: Any = Slow(encoder)
        self.guard = WriteGuard()
        documents = [Document(f"d{n:04}", f"text number {n}") for n in range(count)]
        store.create("a", 2, "old@000000000000")
        store.upsert("a", documents, np.tile(np.eye(2, dtype=np.float32)[:1], (count, 1)))
        self.reindexer = self.another()

    def another(self) -> Reindexer:
        """What a new process would make."""
        return Reindexer(self.store, self.slow, self.guard, self.state / ".reindex", alone=True)

    def begin(self, windows: Windows | None = None) -> Progress:
        return self.reindexer.begin("a", options_for(self.slow, {}, windows))

    def wait(self, until: Callable[[Progress], bool]) -> Progress:
        deadline, progress = time.monotonic() + 10, None
        while time.monotonic() < deadline:
            progress = self.reindexer.progress("a")
            if progress is not None and until(progress):
                return progress
            time.sleep(0.002)
        raise AssertionError(progress)

    def ended(self) -> Progress:
        return self.wait(lambda progress: progress.state in ENDED)

    @property
    def notes(self) -> list[str]:
        return [path.name for path in (self.state / ".reindex").glob("*")]
