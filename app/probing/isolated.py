"""A probe in a process of its own; model and store stay here and are asked through a pipe.

The search for texts is Python, which would hold the interpreter's lock and make every request wait.
In its own process, with the least priority, it does not. What it asks of the encoder and the store
is served here, in slices and with rests (``courtesy``). Closing its standard input cancels it, and
so does the end of this process, however it ends.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from app import errors
from app.errors import InferenceError, NotReadyError, ServiceError
from app.probing.courtesy import Courtesy
from app.retrieval.filters import Filter
from app.retrieval.store import Encode, Hit, VectorStore
from app.robustness.request import ProbeRequest

READS = frozenset({"describe", "search", "get", "scan", "count", "languages", "match"})
"""What a probe may ask of a store; nothing of it writes."""
GRACE_S = 20.0
"""How long a probe that was canceled may take to write what it has; then it is killed."""
_POLL_S = 0.05
_MOST_HITS = 2048
"""Hits of one slice of a search: they are copied with the lock held."""
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class CanceledError(NotReadyError):
    """A probe was canceled before it had searched for anything, so there is nothing to report."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a process is given.

    Attributes:
        request: The probe.
        dictionaries: Where the dictionaries are; None: those that come along.
        artifact: Where the encoder's is, for its white box.
        precision: Which of its graphs are run.
    """

    request: ProbeRequest
    dictionaries: Path | None = None
    artifact: Path = Path()
    precision: str = "auto"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a process gives back: the report as JSON, and a few numbers of it."""

    report: bytes
    brief: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Host:
    """What a process may ask of this one.

    Attributes:
        encode: The encoder.
        store: Where the collections are.
        courtesy: Lets it rest.
    """

    encode: Encode
    store: VectorStore
    courtesy: Courtesy


def run_isolated(
    task: Task,
    host: Host,
    cancelled: Callable[[], bool],
    progress: Callable[[Mapping[str, Any]], None],
) -> Outcome:
    """Run a probe in a process of its own; blocks until it ends.

    Args:
        task: The probe.
        host: Encoder and store.
        cancelled: Asked some twenty times a second.
        progress: Is told how far it is.

    Raises:
        CanceledError: If it was canceled before it had searched for anything.
        ServiceError: As the probe said, or that its process ended before it did.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = _start(theirs.fileno())
        theirs.close()
        with closing(Connection(ours.detach())) as pipe:
            try:
                return _Guest(process, pipe, host, progress).attend(task, cancelled)
            except (EOFError, OSError) as error:
                status = _end(process)
                raise InferenceError(
                    f"The probe's process ended with status {status} before it was done; if that "
                    "was for lack of memory, send fewer queries at a time."
                ) from error
            finally:
                _end(process)


def _start(descriptor: int) -> "subprocess.Popen[bytes]":
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    alone = dict.fromkeys(_ONE_THREAD, "1")
    return subprocess.Popen(
        [sys.executable, "-m", "app.probing.worker", str(descriptor)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(descriptor,),
        env=os.environ | alone | {"PYTHONPATH": path},
        start_new_session=True,  # A Ctrl-C is meant for the service, which tells it to end
    )


def _end(process: "subprocess.Popen[bytes]") -> int:
    if process.stdin:
        process.stdin.close()
    try:
        return process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


class _Guest:
    """A process that is served until it is done."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        pipe: Connection,
        host: Host,
        progress: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._process, self._pipe, self._host = process, pipe, host
        self._progress = progress
        self._encode = host.courtesy.encode(host.encode)
        self._told_at: float | None = None
        self._searched = False

    def attend(self, task: Task, cancelled: Callable[[], bool]) -> Outcome:
        self._pipe.send(task)
        while True:
            if self._told_at is None and cancelled():
                self._told_at = time.monotonic()
                if not self._searched:  # It starts, and would look up only seconds later
                    self._process.kill()
                    raise CanceledError("The probe was canceled before it had searched at all.")
                if self._process.stdin:
                    self._process.stdin.close()
            if self._told_at is not None and time.monotonic() > self._told_at + GRACE_S:
                self._process.kill()
                raise EOFError
            if not self._pipe.poll(_POLL_S):
                continue
            kind, content = self._pipe.recv()
            if kind in ("done", "failed"):
                self._process.kill()  # It has no more to say, and need not end in its own time
                if kind == "done":
                    return Outcome(*content)
                raise _error(*content)
            if kind == "progress":
                self._progress(content)
            else:
                self._pipe.send(self._answer(kind, content))

    def _answer(self, kind: str, content: Any) -> tuple[str, Any]:
        try:
            if kind == "encode":
                self._searched = True
                return "ok", self._encode(content)
            name, positional, named = content
            if name not in READS:
                raise InferenceError(f"The probe asked the store for {name!r}, which it may not.")
            if name == "search":
                return "ok", self._search(*positional, **named)
            began = time.perf_counter()
            found = getattr(self._host.store, name)(*positional, **named)
            self._host.courtesy.rest(time.perf_counter() - began)
        except ServiceError as error:
            return "error", (type(error).__name__, error.message)
        return "ok", found

    def _search(
        self, name: str, vectors: Any, top_k: int, where: Filter | None = None, **named: Any
    ) -> list[list[Hit]]:
        found: list[list[Hit]] = []
        rows = max(1, _MOST_HITS // top_k)
        for start in range(0, len(vectors), rows):
            began = time.perf_counter()
            part = vectors[start : start + rows]
            some = self._host.store.search(name, part, top_k, where, **named)
            found += [[_bare(hit) for hit in hits] for hits in some]
            self._host.courtesy.rest(time.perf_counter() - began)
        return found


def _bare(hit: Hit) -> Hit:
    """A hit without its text, which no search of a probe looks at."""
    return replace(hit, document=replace(hit.document, text="", metadata={}))


def _error(kind: str, message: str) -> Exception:
    if not kind:
        return RuntimeError(message)
    found = getattr(errors, kind, ServiceError)
    known = isinstance(found, type) and issubclass(found, ServiceError)
    return (found if known else ServiceError)(message)
