"""The service behind the routes: its phase, its encoder and store once they are open, its gates.

    starting -> ready -> draining -> stopped

Opening takes seconds, so it happens in a thread while the liveness route already answers. A
failure to open is final: the process ends with status 2 and one line that says why.
"""

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NoReturn, TypeVar

from app.api.encoder import Encoder
from app.api.limits import Gate
from app.api.running import open_jobs
from app.api.shared import SharedCall
from app.api.smoothing import Smoother
from app.binding import require_bound
from app.demo import fill_demo
from app.encoder.cache import VectorCache
from app.encoder.jobs import PROBE
from app.errors import NotReadyError, ServiceError
from app.guard import WriteGuard
from app.hidden import is_hidden, shown
from app.probing.courtesy import Courtesy, Traffic
from app.probing.jobs import ProbeJobs
from app.reindexing import Reindexer
from app.retrieval.store import Collection, VectorStore
from app.robustness.neighbors import EncodedNeighbors
from app.robustness.resources import vocabulary
from app.settings import Settings
from app.snapshots import DIRECTORY, Snapshots
from app.telemetry import Metrics, describe_exception, log
from app.text.lexicon import load_lexicon

T = TypeVar("T")
Phase = Literal["starting", "ready", "draining", "stopped"]
START_UP_FAILED = 2
COPIES_WAITING = 4
"""Snapshots and restores that may wait for the one that runs."""
RECHECK_S = 2.0
"""How long a probe of readiness waits for an encoder that failed to be tried anew."""


@dataclass(frozen=True, slots=True)
class Openers:
    """How to open the two parts; tests put fakes here."""

    encoder: Callable[[Settings], Encoder]
    store: Callable[[Settings], VectorStore]


class Service:
    """What the routes share; held at ``app.state.service``."""

    def __init__(self, settings: Settings, openers: Openers) -> None:
        self.settings = settings
        self.openers = openers
        self.metrics = Metrics()
        self.phase: Phase = "starting"
        self.url: str | None = None
        self.stopping = threading.Event()
        self.stores = Gate("store", settings.store_threads, settings.store_waiting)
        self.probes = Gate("probe", settings.probe_threads, settings.probe_waiting)
        self.copies = Gate("snapshot", 1, COPIES_WAITING)
        self.smoother = Smoother()
        self.streams = 0
        self.traffic = Traffic()
        self.courtesy = Courtesy(self.traffic, settings.probe_share)
        self.guard = WriteGuard()
        self.cache = VectorCache(settings.cache_mb << 20) if settings.cache_mb else None
        self.metrics.watch_cache(self.cache)
        self._encoder: Encoder | None = None
        self._store: VectorStore | None = None
        self._reindexer: Reindexer | None = None
        self._snapshots: Snapshots | None = None
        self._probe_jobs: ProbeJobs | None = None
        self.listing = SharedCall(self._list)
        self._rechecking = SharedCall(lambda: self.encoder.recheck(RECHECK_S))
        for gate in (self.stores, self.probes, self.copies, self.smoother.gate):
            means = f"{gate.name.title()} calls that run or wait."
            self.metrics.watch(f"tyntegra_{gate.name}_calls", means, lambda gate=gate: gate.busy)
        self.metrics.watch("tyntegra_queue_texts", "Texts waiting for the model.", self._queued)
        self.metrics.watch("tyntegra_streams", "Uploads going on.", lambda: self.streams)
        name = "tyntegra_reindex_documents_left"
        self.metrics.watch(name, "Documents still to be encoded anew.", self._count_left)
        self.metrics.watch("tyntegra_probe_jobs", "Probe jobs that run or wait.", self._count_jobs)

    async def start(self) -> None:
        """Open encoder and store and fill the demo; on failure, end the process."""
        try:
            await asyncio.to_thread(self._open)
        except ServiceError as error:
            end_process(error.message)
        except OSError as error:
            end_process(f"{error.strerror or error} ({error.filename}); check TYNTEGRA_STATE.")
        except Exception as error:
            end_process(f"start-up failed, which is a bug: {describe_exception(error)}")
        else:
            if self.phase == "starting":  # not if it was told to end meanwhile
                self._turn_ready()

    def _turn_ready(self) -> None:
        self.phase = "ready"
        self.metrics.ready.set(1)
        encoder = self.encoder
        labels = (encoder.model_id, encoder.provider, encoder.precision)
        self.metrics.encoder.labels(*labels).set(1)
        named = dict(zip(("model", "provider", "precision"), labels, strict=True))
        log(logging.INFO, "ready", url=self.url, **named)

    def _open(self) -> None:
        self._store = self.openers.store(self.settings)
        self._encoder = self.openers.encoder(self.settings)
        if self.settings.demo:
            fill_demo(self._encoder, self._store)
        self._open_upkeep(self._encoder, self._store)

    def _open_upkeep(self, encoder: Encoder, store: VectorStore) -> None:
        settings = self.settings
        most = settings.max_snapshots
        self._snapshots = Snapshots(store, self.guard, settings.state / DIRECTORY, most)
        self._snapshots.sweep()
        embedded = settings.store == "embedded"
        self._reindexer = Reindexer(
            store, encoder, self.guard, settings.state / ".reindex", alone=embedded
        )
        self._reindexer.resume()
        self._probe_jobs = open_jobs(self)
        self._probe_jobs.resume()

    def drain(self) -> None:
        """Turn unready; requests are still answered until the port closes."""
        if self.phase in ("starting", "ready"):
            self.phase = "draining"
            self.metrics.ready.set(0)

    async def stop(self) -> None:
        """End what runs and close encoder and store."""
        self.drain()
        self.stopping.set()
        await asyncio.to_thread(self._close)
        self.phase = "stopped"

    def _close(self) -> None:
        if self._reindexer is not None:
            self._reindexer.stop()
        if self._probe_jobs is not None:
            self._probe_jobs.close()
        self.probes.close()
        self.copies.close()
        self.smoother.gate.close()
        self.stores.close()
        if self._encoder is not None:
            self._encoder.close()
        if self._reindexer is not None:
            self._reindexer.close()  # now that the encoder gives up what it was sent
        if self._store is not None:
            self._store.close()

    @property
    def encoder(self) -> Encoder:
        """The encoder.

        Raises:
            NotReadyError: If it is not open yet.
        """
        if self._encoder is None:
            raise NotReadyError("The encoder is not open yet; try again in a few seconds.")
        return self._encoder

    @property
    def store(self) -> VectorStore:
        """The store.

        Raises:
            NotReadyError: If it is not open yet.
        """
        if self._store is None:
            raise NotReadyError("The store is not open yet; try again in a few seconds.")
        return self._store

    @property
    def reindexer(self) -> Reindexer:
        """What encodes collections anew.

        Raises:
            NotReadyError: If it is not open yet.
        """
        if self._reindexer is None:
            raise NotReadyError("The store is not open yet; try again in a few seconds.")
        return self._reindexer

    @property
    def probe_jobs(self) -> ProbeJobs:
        """Probes that outlive their request.

        Raises:
            NotReadyError: If they are not open yet.
        """
        if self._probe_jobs is None:
            raise NotReadyError("The store is not open yet; try again in a few seconds.")
        return self._probe_jobs

    @property
    def snapshots(self) -> Snapshots:
        """The copies of collections.

        Raises:
            NotReadyError: If they are not open yet.
        """
        if self._snapshots is None:
            raise NotReadyError("The store is not open yet; try again in a few seconds.")
        return self._snapshots

    @cached_property
    def neighbors(self) -> EncodedNeighbors:
        """The words that the encoder takes for one another, among those that come along; blocking.

        Raises:
            NotReadyError: If the encoder is not open yet.
        """
        encoder = self.encoder
        return EncodedNeighbors(
            vocabulary(load_lexicon()),
            lambda texts: encoder.encode(texts, "query", priority=PROBE).vectors,
        )

    def unready(self) -> str | None:
        """Say why requests should not be routed here, or None."""
        if self.phase != "ready":
            return f"The service is {self.phase}."
        if reason := self.encoder.healthy():
            return f"The encoder is out of order: {reason}"
        return None

    async def recheck(self) -> str | None:
        """Say why requests should not be routed here, or None, after trying the encoder anew."""
        with contextlib.suppress(TimeoutError):
            await self._rechecking.wait(2 * RECHECK_S)
        return self.unready()

    def require_open(self) -> None:
        """Refuse a request that cannot be answered in this phase.

        Raises:
            NotReadyError: While starting and after the end.
        """
        if self.phase in ("starting", "stopped") or self._encoder is None or self._store is None:
            raise NotReadyError(f"The service is {self.phase}; try again in a few seconds.")

    async def in_store(self, call: Callable[[VectorStore], T]) -> T:
        """Run blocking store calls in one of the store's threads."""
        store = self.store
        return await self.stores.run(lambda: call(store))

    def matching(self, store: VectorStore, name: str) -> Collection:
        """Describe a collection that this encoder's vectors may be compared with.

        Raises:
            NotFoundError: If there is no such collection.
            ConflictError: If its vectors come from another encoder.
        """
        return require_bound(store.describe(name), self.encoder)

    def _list(self) -> tuple[list[Collection], dict[str, str]]:
        unavailable = self.store.unavailable().items()
        reasons = {name: reason for name, reason in unavailable if not is_hidden(name)}
        return shown(self.store.collections()), reasons

    def _count_left(self) -> float:
        return self._reindexer.left if self._reindexer is not None else 0

    def _count_jobs(self) -> float:
        return self._probe_jobs.busy if self._probe_jobs is not None else 0

    def _queued(self) -> float:
        return float(getattr(self._encoder, "waiting_texts", 0))


def end_process(reason: str) -> None:
    """Leave the event loop for good with status 2 and one line on standard error."""
    sys.stderr.write(f"tyntegra: {' '.join(reason.split())}\n")
    sys.stderr.flush()
    # From a bare callback: a task would keep the exception and complain that nobody asked for it.
    asyncio.get_running_loop().call_soon(_leave)


def _leave() -> NoReturn:
    # What uvicorn would add is the traceback of its own end; the reason has been said.
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    raise SystemExit(START_UP_FAILED)
