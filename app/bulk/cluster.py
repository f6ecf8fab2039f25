"""The engine of a cluster: Ray Data actors, one encoder each, that write to a server or service.

The driver plans the parts and keeps the ledger; a worker reads, encodes and writes a part and sends
back what became of it. A worker that dies takes nothing along: Ray gives its part to another, and
writing a part twice changes nothing. Files must be at the same path on every node.
"""

import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from app.bulk.columns import Columns
from app.bulk.extras import need
from app.bulk.parts import Layout
from app.bulk.target import Target, open_sink
from app.bulk.work import Outcome, Sink, Task, Worker
from app.errors import InvalidInputError, NotReadyError, ServiceError

MAX_BLOCKS = 2048
"""Parts are given out in so many portions at most; what is done is noted by portion."""
_QUIET = {
    # Ray reports its use to its makers unless told not to.
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DATA_LOG_LEVEL": "ERROR",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_SENT = (
    *("store", "state", "artifact", "device", "precision"),
    *("max_text_chars", "max_document_chars", "threads"),
)
"""Settings that workers take from the driver; the others are those of their machine."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker has of the cluster.

    Attributes:
        cpus: Cores, which are also the threads of its encoder.
        gpus: GPUs.
        workers: How many at most; None: all that find room.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    workers: int | None = None


class RayEngine:
    """Does parts on a Ray cluster.

    Args:
        target: Where documents go; not the embedded store, which one process holds.
        columns: Which columns are what.
        layout: How files are to be read.
        share: What a worker has.
        address: The cluster; None: one started on this machine, for the time of the job.
        stop: When set, ends; parts under way are done again in the next run.

    Raises:
        InvalidInputError: If ray is missing, or the target is the embedded store.
        NotReadyError: If the cluster does not answer, or has no room for a worker.
    """

    def __init__(
        self,
        target: Target,
        columns: Columns,
        layout: Layout,
        *,
        share: Share,
        address: str | None,
        stop: threading.Event,
    ) -> None:
        if target.url is None and target.chosen().store == "embedded":
            raise InvalidInputError(
                "The embedded store is held by one process, and the workers of a cluster are "
                "many; serve it and give --url, or give a server with --store."
            )
        os.environ.update(_QUIET)
        self._ray = need("ray", "Ray jobs")
        self._data = need("ray.data", "Ray jobs")
        self._share = share
        self._stop = stop
        # Ray tells of nodes that fail on standard output, which is for the summary.
        self._diverted = contextlib.redirect_stdout(sys.stderr)
        self._diverted.__enter__()
        self._own = False
        try:
            self._own = _connect(self._ray, address)
            self._workers = self._room()
            threads = max(1, int(share.cpus))
            self._arguments = (_settled(target, threads), columns, layout)
            self._count = self._open()
        except BaseException:
            self.close()
            raise

    @property
    def count(self) -> int:
        """Documents in the collection before the job."""
        return self._count

    def close(self) -> None:
        """Leave the cluster, and end it if it was started for this job."""
        if self._own:
            self._ray.shutdown()
        self._diverted.__exit__(None, None, None)

    def run(self, tasks: Iterable[Task]) -> Iterator[Outcome]:
        """Do tasks, yielding each when its documents are durable, in any order.

        Raises:
            ServiceError: If nothing more can be done.
        """
        items = [{"task": pickle.dumps(task)} for task in tasks]
        if not items:
            return
        blocks = min(len(items), MAX_BLOCKS)
        done = (
            self._data.from_items(items, override_num_blocks=blocks)
            .map_batches(
                ClusterWorker,
                fn_constructor_args=self._arguments,
                batch_size=1,
                compute=self._data.ActorPoolStrategy(size=self._workers),
                num_cpus=self._share.cpus,
                num_gpus=self._share.gpus,
            )
            .iter_rows()
        )
        seen: set[tuple[int, int]] = set()
        try:
            for row in done:
                outcome: Outcome | ServiceError = pickle.loads(row["outcome"])  # ours
                if isinstance(outcome, ServiceError):
                    raise outcome
                place = outcome.task.file, outcome.task.part.start
                if place not in seen:  # a lost block is made anew
                    seen.add(place)
                    yield outcome
                if self._stop.is_set():
                    return
        except self._ray.exceptions.RayError as error:
            raise NotReadyError(f"The cluster failed: {_first_line(error)}.") from error

    def _room(self) -> int:
        has: dict[str, float] = self._ray.cluster_resources()
        shares = [has.get("CPU", 0.0) / self._share.cpus] if self._share.cpus else []
        if self._share.gpus:
            shares.append(has.get("GPU", 0.0) / self._share.gpus)
        room = int(min(shares, default=1))
        if room < 1:
            raise NotReadyError(
                f"A worker takes {self._share.cpus:g} cores and {self._share.gpus:g} GPUs, and the "
                f"cluster has {has.get('CPU', 0):g} and {has.get('GPU', 0):g}; give less with "
                "--ray-cpus or --ray-gpus."
            )
        return min(room, self._share.workers or room)

    def _open(self) -> int:
        """Create the collection where a worker would, and count its documents."""
        resources = {"num_cpus": self._share.cpus, "num_gpus": self._share.gpus}
        opened = self._ray.remote(**resources)(_open_once).remote(self._arguments[0])
        try:
            found = self._ray.get(opened)
        except self._ray.exceptions.RayError as error:
            raise NotReadyError(f"The cluster failed: {_first_line(error)}.") from error
        if isinstance(found, ServiceError):
            raise found
        return found


class ClusterWorker:
    """An actor of Ray Data: opens its sink once, then does parts."""

    def __init__(self, target: Target, columns: Columns, layout: Layout) -> None:
        self._target = target
        self._columns = columns
        self._layout = layout
        self._worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Do the parts of a batch. What fails is sent back: an exception would be tried again."""
        outcomes: list[bytes] = []
        for packed in batch["task"]:
            task: Task = pickle.loads(bytes(packed))  # the driver's
            try:
                outcome: Outcome | ServiceError = self._do(task)
            except ServiceError as error:
                outcome = error
            outcomes.append(pickle.dumps(outcome))
        return {"outcome": outcomes}

    def _do(self, task: Task) -> Outcome:
        if self._worker is None:
            sink: Sink = open_sink(self._target)
            self._worker = Worker(sink, self._columns, self._layout)
        return self._worker.write(self._worker.read(task))


def _open_once(target: Target) -> int | ServiceError:
    try:
        sink = open_sink(target)
    except ServiceError as error:
        return error
    try:
        return sink.count
    finally:
        sink.close()


def _connect(ray: Any, address: str | None) -> bool:
    """Join a cluster or start one; tells whether it has to be left afterwards."""
    if ray.is_initialized():
        return False
    logging.getLogger("ray").setLevel(logging.ERROR)
    before = signal.getsignal(signal.SIGTERM)
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address is None:
            ray.init(include_dashboard=False, **quiet)
        else:
            _require_listener(address)
            ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise NotReadyError(
            f"There is no cluster at {address}: {_first_line(error)}. Start one with `ray start "
            "--head`, or leave --ray-address out."
        ) from None
    finally:
        # Ray takes SIGTERM for itself, and would end without noting what was done.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
    return True


def _require_listener(address: str) -> None:
    """Find out in seconds that nobody listens; Ray itself would try for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _settled(target: Target, threads: int) -> Target:
    """The target with the driver's settings, so that every worker does the same."""
    if target.url is not None:
        return target
    settings = target.chosen()
    sent = {name: str(getattr(settings, name)) for name in _SENT}
    if not settings.threads:
        sent["threads"] = str(threads)
    return replace(target, settings=sent)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300].rstrip(".")
