"""The process of a probe: ``python -m app.probing.worker DESCRIPTOR``; see ``isolated``."""

import gc
import os
import select
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from app import errors
from app.errors import InferenceError, ServiceError
from app.probing.describe import brief, describe_report, write
from app.probing.isolated import READS, Task
from app.retrieval.store import Encode, VectorStore
from app.robustness.neighbors import EncodedNeighbors
from app.robustness.probe import run_probe
from app.robustness.request import ProbeRequest
from app.robustness.resources import Access, Resources, vocabulary
from app.telemetry import describe_exception
from app.text.lexicon import load_lexicon

LEAST_PRIORITY = 19
_COLLECT_AFTER = (200_000, 20, 100)
"""A probe holds a million small objects for long; looking through them all again and again for
cycles, of which it has few, took a fifth of its time."""


class Remote:
    """Encoder and store at the other end of a pipe."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def ask(self, kind: str, content: Any) -> Any:
        """Ask and wait for the answer.

        Raises:
            ServiceError: As the other end says.
        """
        self._pipe.send((kind, content))
        outcome, found = self._pipe.recv()
        if outcome == "ok":
            return found
        name, message = found
        raise getattr(errors, name, InferenceError)(message)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts to vectors, shape (texts, dim)."""
        return self.ask("encode", list(texts))

    def __getattr__(self, name: str) -> Any:
        """The store's methods, those that read."""
        if name not in READS:
            raise AttributeError(name)
        return lambda *positional, **named: self.ask("store", (name, positional, named))


def _cancelled() -> bool:
    ready, _, _ = select.select([0], [], [], 0)
    return bool(ready)  # Nothing is ever written there: it was closed


def _open_access(task: Task) -> Access:
    from app.insight import open_access  # takes ONNX Runtime along, which few probes need

    return open_access(task.artifact, task.precision)


def _second(request: ProbeRequest) -> AbstractContextManager[Encode | None]:
    if request.constraints.similarity_by is None:
        return nullcontext()
    from app.probing.endpoint import second_encoder  # takes httpx along, which few probes need

    return second_encoder(request.constraints, request.budget.seconds, _cancelled)


def _run(pipe: Connection, task: Task) -> None:
    remote = Remote(pipe)
    neighbors = EncodedNeighbors(vocabulary(load_lexicon()), remote.encode)
    with _second(task.request) as second:
        report = run_probe(
            task.request,
            remote.encode,
            cast("VectorStore", remote),
            resources=Resources(
                lambda: load_lexicon(task.dictionaries),
                neighbors.ready,
                lambda: _open_access(task),
                second,
            ),
            cancelled=_cancelled,
            progress=lambda told: pipe.send(("progress", asdict(told))),
        )
    pipe.send(("done", (write(describe_report(report)), brief(report))))


def main(descriptor: int) -> None:
    """Run the probe that the pipe brings."""
    os.nice(LEAST_PRIORITY)
    gc.set_threshold(*_COLLECT_AFTER)
    pipe = Connection(descriptor)
    try:
        _run(pipe, pipe.recv())
    except ServiceError as error:
        pipe.send(("failed", (type(error).__name__, error.message)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        sys.exit(1)  # The service has gone
    except Exception as error:
        # Its kind and place alone: the message may hold a text, which no log does.
        pipe.send(("failed", ("", describe_exception(error))))


if __name__ == "__main__":
    main(int(sys.argv[1]))
