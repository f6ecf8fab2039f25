"""Encoding collections anew, one after the other, in the background and behind all searches.

Searches are answered from the old collection until the new one takes its place in one step, and
writes go to the old one and are carried over. A file for each collection that is to be done makes
the work go on after a restart, where it was: documents that are in the hidden collection already
are not encoded again.
"""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from app.binding import options_for, windows_of
from app.durable import remove, write_json
from app.errors import NotFoundError, ServiceError, StoreError
from app.guard import REINDEX, WriteGuard, exists
from app.hidden import hidden_name, is_hidden
from app.reencoding import Encodes, Progress, Reencoding
from app.retrieval.store import Options, VectorStore
from app.telemetry import describe_exception, log


class Reindexer:
    """Does one collection after the other in a thread of its own.

    Args:
        store: Where the collections are.
        encoder: The encoder in service.
        guard: Notes what is written meanwhile.
        directory: Has a file for each collection to be done.
        alone: Whether no other process can use this store.
    """

    def __init__(
        self,
        store: VectorStore,
        encoder: Encodes,
        guard: WriteGuard,
        directory: Path,
        *,
        alone: bool = False,
    ) -> None:
        self._store, self._encoder, self._guard = store, encoder, guard
        self._directory, self._alone = directory, alone
        self._jobs: dict[str, Reencoding] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="reindex")

    def resume(self) -> None:
        """Go on with what a former process had to leave, and remove what it left over."""
        for name in filter(is_hidden, self._store.unavailable()):
            self._store.drop(name)  # damaged by the crash; it is made anew
        asked = sorted(self._directory.glob("*.json"))
        for path in asked:
            try:
                self._resume(path)
            except (ServiceError, OSError, ValueError, TypeError, KeyError) as error:
                log(logging.ERROR, "reindex given up", error=describe_exception(error))
                self._forget(path.stem)
        if not self._alone:
            return
        kept = {hidden_name(REINDEX, name) for name in self._jobs}
        for collection in self._store.collections():
            if is_hidden(collection.name) and collection.name not in kept:
                self._store.drop(collection.name)

    def _resume(self, path: Path) -> None:
        name = path.stem
        sent = Options(**json.loads(path.read_text("utf-8"))["options"])
        # The encoder may have changed once more since.
        options = options_for(self._encoder, sent.fields, windows_of(sent))
        found = self._store.describe(name)
        is_done = (found.model, found.options) == (self._encoder.model_id, options)
        if is_done and not exists(self._store, hidden_name(REINDEX, name)):
            self._forget(name)  # ended between the switch and the removal of its file
        else:
            self.begin(name, options)

    def begin(self, name: str, options: Options) -> Progress:
        """Let a collection be encoded anew; at once if no other is.

        Args:
            name: The collection.
            options: What it is to have then; see ``options_for``.

        Returns:
            How far it is; that of the work that goes on, if it does already.

        Raises:
            NotFoundError: If there is no such collection.
            StoreError: If the disk takes no note of it.
        """
        with self._lock:
            job = self._jobs.get(name)
            if job is not None and job.is_open:
                return job.progress
            job = Reencoding(self._store, self._encoder, name, options, self._stopping)
            try:
                self._directory.mkdir(parents=True, exist_ok=True)
                write_json(self._path(name), {"options": asdict(options)})
            except OSError as error:
                raise StoreError(
                    f"The disk took no note of the work on {name!r}: {error.strerror or error}; "
                    "check space and rights of TYNTEGRA_STATE."
                ) from error
            self._jobs[name] = job
        self._guard.claim(name)
        self._pool.submit(self._run, job)
        return job.progress

    def progress(self, name: str) -> Progress | None:
        """Say how far a collection is, or how its last time ended; None: never since the start."""
        job = self._jobs.get(name)
        return job.progress if job else None

    @property
    def left(self) -> int:
        """Documents still to be encoded anew."""
        open_jobs = [job.progress for job in list(self._jobs.values()) if job.is_open]
        return sum(progress.total - progress.done for progress in open_jobs)

    def cancel(self, name: str) -> None:
        """Leave a collection as it was; also one that another process works on.

        Raises:
            NotFoundError: If nobody works on it.
        """
        with self._lock:
            job = self._jobs.get(name)
            cancelled = job is not None and job.cancel()
            self._forget(name)
        try:
            # Whoever fills it notices by this.
            self._store.drop(hidden_name(REINDEX, name))
        except NotFoundError:
            if not cancelled:
                raise NotFoundError(
                    f"Collection {name!r} is not being reindexed; there is nothing to cancel."
                ) from None

    def stop(self) -> None:
        """Let it end after the present page, or when the encoder is closed."""
        self._stopping.set()

    def close(self) -> None:
        """Stop and wait for the end; the next start goes on."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _run(self, job: Reencoding) -> None:
        try:
            job.run(self._guard)
            if job.switched:
                self._forget(job.name)
                job.end("done")
        except ServiceError as error:
            self._fail(job, error.message, error)
        except Exception as error:
            self._fail(job, "It failed, which is a bug; the log says where.", error)
        finally:
            self._guard.unclaim(job.name)
        log(logging.INFO, "reindex", collection=job.name, state=job.progress.state)

    def _fail(self, job: Reencoding, reason: str, error: Exception) -> None:
        if not job.is_open:
            return
        if self._stopping.is_set():
            job.end("interrupted")
            return
        log(logging.ERROR, "reindex failed", collection=job.name, error=describe_exception(error))
        try:
            if exists(self._store, hidden := hidden_name(REINDEX, job.name)):
                self._store.drop(hidden)
        except ServiceError as left:
            log(logging.ERROR, "reindex left over", error=describe_exception(left))
        self._forget(job.name)
        job.end("failed", reason)

    def _forget(self, name: str) -> None:
        try:
            remove(self._path(name))
        except OSError as error:
            log(logging.ERROR, "reindex note not removed", error=describe_exception(error))

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.json"
