"""One bounded queue of texts and one thread that runs them in batches that waste little padding.

There is no timer: while a batch runs, the next ones gather by themselves. Each turn looks at the
jobs that are due first, splits their texts by length into the runs that cost least
(``app.encoder.split``), and does the run that holds the oldest text. Whatever goes wrong in the
thread fails the jobs and shows in ``failure``; no caller is left waiting.
"""

import logging
import threading
import time
from bisect import insort
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.encoder.split import Cost, cheapest_run
from app.errors import InferenceError, NotReadyError, OverloadedError, TooLargeError

_LOGGER = logging.getLogger(__name__)

Run = Callable[[Sequence[Sequence[int]]], NDArray[np.float32]]
"""Token ids of texts to their vectors, shape (texts, dim)."""

SEARCH, BULK, PROBE = 0, 1, 2
"""Priorities: who waits for whom."""

PRIORITY_STEP_S = 5.0
"""A job passes jobs of the next lower priority that came up to this much earlier, and no others:
so none waits for ever."""

LOOKAHEAD_BUDGETS = 4
HEARTBEAT_LIMIT_S = 30.0
RETRY_EVERY_S = 1.0
LONGEST_RETRY_AFTER_S = 30.0


class Batched(NamedTuple):
    """The vectors of a caller's texts, shape (texts, dim), and where their time went."""

    vectors: NDArray[np.float32]
    queue_s: float
    inference_s: float


@dataclass(eq=False)
class Job:
    """Texts of one caller, their vectors as they come, and the future that waits for them."""

    rows: Sequence[Sequence[int]]
    due: float
    future: Future[Batched] = field(default_factory=Future)
    waiting: list[int] = field(init=False)
    queued: bool = False
    done: int = 0
    vectors: NDArray[np.float32] | None = None
    submitted: float = field(default_factory=time.monotonic)
    inference_s: float = 0.0

    def __post_init__(self) -> None:
        self.waiting = list(range(len(self.rows)))


class Batcher:
    """The queue in front of a session.

    Args:
        run: Encodes one batch; only ever called from the batcher's own thread.
        cost: What a run costs, which decides how texts are split into runs.
        queue_texts: Most texts admitted and not yet finished.
        canary: Token ids of texts known to work, with which a failed session is tried again.
    """

    def __init__(
        self, run: Run, cost: Cost, queue_texts: int, canary: Sequence[Sequence[int]]
    ) -> None:
        self._run, self._cost, self._queue_texts, self._canary = run, cost, queue_texts, canary
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._admitted = 0
        self._texts_per_s = 100.0
        self._batch: list[tuple[Job, int]] = []
        self._run_started: float | None = None
        self._failure: str | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="encoder", daemon=True)
        self._thread.start()

    def admit(self, texts: int, *, wait: bool = False) -> None:
        """Take room for texts that are about to be submitted; ``release`` gives it back.

        Args:
            texts: How many.
            wait: Wait for room rather than raise.

        Raises:
            OverloadedError: If there is no room and ``wait`` is false.
            TooLargeError: If the queue could never hold them.
            NotReadyError: If the thread is gone or the batcher closed.
        """
        if texts > self._queue_texts:
            raise TooLargeError(
                f"got {texts} texts; expected at most {self._queue_texts}, which is all that the "
                "queue holds: send them in several requests."
            )
        with self._changed:
            self._require_alive()
            while self._admitted + texts > self._queue_texts:
                if not wait:
                    raise OverloadedError(
                        f"the queue holds {self._admitted} of {self._queue_texts} texts and has no "
                        f"room for {texts} more; try again later.",
                        retry_after_s=self._retry_after_s(),
                    )
                self._changed.wait(1.0)
                self._require_alive()
            self._admitted += texts

    def release(self, texts: int) -> None:
        """Give back room taken by ``admit`` for texts that will not be submitted."""
        with self._changed:
            self._admitted -= texts
            self._changed.notify_all()

    def submit(self, rows: Sequence[Sequence[int]], priority: int = SEARCH) -> Future[Batched]:
        """Queue texts that have been admitted.

        Args:
            rows: Token ids of each text; none empty.
            priority: ``SEARCH``, ``BULK`` or ``PROBE``.

        Returns:
            The future of their vectors. Cancelling it takes the texts out of the queue. Fails with
            InferenceError or NotReadyError.
        """
        job = Job(rows, due=time.monotonic() + priority * PRIORITY_STEP_S)
        # The room is given back once, however the job ends.
        job.future.add_done_callback(lambda _: self._leave(job))
        with self._changed:
            gone = self._gone()
            if gone is None:
                insort(self._jobs, job, key=lambda one: one.due)
                job.queued = True
                self._changed.notify_all()
        if gone is not None:
            job.future.set_exception(NotReadyError(gone))
        return job.future

    def healthy(self) -> str | None:
        """Say what is wrong, or None: the thread lives, the last run was right and none hangs."""
        started = self._run_started
        if (gone := self._gone()) is not None:
            return gone
        if started is not None and time.monotonic() - started > HEARTBEAT_LIMIT_S:
            return f"a batch has been running for more than {HEARTBEAT_LIMIT_S:.0f} seconds"
        return self._failure

    @property
    def waiting_texts(self) -> int:
        """Texts admitted and not yet finished."""
        return self._admitted

    def close(self) -> None:
        """Stop the thread after its present run; jobs still waiting fail with NotReadyError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join(timeout=HEARTBEAT_LIMIT_S)

    def _serve(self) -> None:
        reason = "the encoder is closed"
        try:
            while True:
                with self._changed:
                    while not (self._jobs or self._closed or self._failure):
                        self._changed.wait()
                    if self._closed:
                        break
                    if not self._jobs:  # a run failed: see whether the session works again
                        self._changed.wait(RETRY_EVERY_S)
                    batch = self._next_batch()
                self._do(batch)
        except BaseException as error:  # the thread's outer edge: callers must not wait for ever
            reason = f"the encoder's thread ended with {type(error).__name__}; restart the service"
            _LOGGER.exception("The encoder's thread ended")
        finally:
            with self._changed:
                self._closed, self._failure = True, reason
                jobs = {*self._jobs, *(job for job, _ in self._batch)}
                self._jobs = []
            for job in jobs:
                _fail(job, NotReadyError(reason))

    def _next_batch(self) -> list[tuple[Job, int]]:
        """Take out of the queue the texts of the next run; the lock is held."""
        budget = LOOKAHEAD_BUDGETS * self._cost.max_tokens
        candidates: list[tuple[Job, int]] = []
        for job in self._jobs:
            for index in job.waiting:
                if budget <= 0:
                    break
                candidates.append((job, index))
                budget -= len(job.rows[index])
            if budget <= 0:
                break
        lengths = [len(job.rows[index]) for job, index in candidates]
        batch = [candidates[position] for position in cheapest_run(lengths, self._cost)]
        taken: dict[Job, set[int]] = {}
        for job, index in batch:
            taken.setdefault(job, set()).add(index)
        for job, indices in taken.items():
            job.waiting = [index for index in job.waiting if index not in indices]
            if not job.waiting:
                self._jobs.remove(job)
                job.queued = False
        self._batch = batch
        return batch

    def _do(self, batch: list[tuple[Job, int]]) -> None:
        rows = [job.rows[index] for job, index in batch] or self._canary
        started = self._run_started = time.monotonic()
        try:
            vectors = self._run(rows)
            if len(vectors) != len(rows) or not np.isfinite(vectors).all():
                raise FloatingPointError("the vectors are not finite, or not one for each text")
        except Exception:  # whatever the session raises, its callers learn only that it failed
            _LOGGER.exception("A batch of %d texts failed", len(rows))
            self._failure = "the last batch failed"
            for job in {job for job, _ in batch}:
                _fail(job, InferenceError("the encoder failed on this batch; see the log."))
        else:
            self._failure = None
            elapsed = max(time.monotonic() - started, 1e-6)
            self._texts_per_s += 0.1 * (len(rows) / elapsed - self._texts_per_s)
            for job in {job for job, _ in batch}:
                job.inference_s += elapsed
            _deliver(batch, vectors)
        self._run_started = None
        self._batch = []

    def _leave(self, job: Job) -> None:
        with self._changed:
            job.waiting = []
            if job.queued:
                self._jobs.remove(job)
                job.queued = False
            self._admitted -= len(job.rows)
            self._changed.notify_all()

    def _gone(self) -> str | None:
        if self._closed or not self._thread.is_alive():
            return self._failure or "the encoder is closed"
        return None

    def _require_alive(self) -> None:
        if (gone := self._gone()) is not None:
            raise NotReadyError(gone)

    def _retry_after_s(self) -> float:
        return float(np.clip(self._admitted / self._texts_per_s, 1.0, LONGEST_RETRY_AFTER_S))


def _deliver(batch: list[tuple[Job, int]], vectors: NDArray[np.float32]) -> None:
    # Without a batch the vectors are the canary's, which nobody waits for.
    for (job, index), vector in zip(batch, vectors, strict=bool(batch)):
        if job.vectors is None:
            job.vectors = np.empty((len(job.rows), vectors.shape[1]), dtype=np.float32)
        job.vectors[index] = vector
        job.done += 1
        if job.done == len(job.rows):
            waited = time.monotonic() - job.submitted - job.inference_s
            try:
                job.future.set_result(Batched(job.vectors, max(waited, 0.0), job.inference_s))
            except InvalidStateError:  # cancelled while it ran
                continue


def _fail(job: Job, error: Exception) -> None:
    try:
        job.future.set_exception(error)
    except InvalidStateError:  # cancelled, or failed before
        return
