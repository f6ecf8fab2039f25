"""What tests of the batcher begin with: a session that records and can be held, and patience."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from app.encoder.batcher import Batcher
from app.encoder.split import Cost

Rows = Sequence[Sequence[int]]

CANARY = [[99]]
TIMEOUT_S = 10


class Session:
    """Records its batches; a vector is the text's first token and its length."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.error: BaseException | None = None

    def run(self, rows: Rows) -> np.ndarray:
        self.batches.append([row[0] for row in rows])
        self.busy.set()
        assert self.gate.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return np.array([[row[0], len(row)] for row in rows], dtype=np.float32)


@contextmanager
def opened(session: Session) -> Iterator[Batcher]:
    """A batcher for 50 texts around the session, which goes on when the batcher closes."""
    made = Batcher([session.run], Cost(1000, max_tokens=64), queue_texts=50, canary=CANARY)
    yield made
    session.gate.set()
    made.close()


def hold(batcher: Batcher, session: Session) -> None:
    """Fill the session with a run that goes on until the gate opens."""
    session.gate.clear()
    session.busy.clear()
    batcher.admit(1)
    batcher.submit([[0]])
    assert session.busy.wait(TIMEOUT_S)
    session.batches.clear()


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that comes within ``TIMEOUT_S``."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)
