"""One bounded queue of texts and the threads that run them in batches that waste little padding.

Each session has a thread of its own; all take from the one queue. There is no timer: while a batch
runs, the next ones gather by themselves. Which texts go together is decided in ``app.encoder.jobs``
and ``app.encoder.split``. Whatever goes wrong in a thread fails the jobs it concerns and shows in
``healthy``; no caller is left waiting.
"""

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future

import numpy as np

from app.encoder.jobs import SEARCH, Batch, Batched, Job, Queue, fill
from app.encoder.memory import give_back_memory
from app.encoder.split import Cost
from app.encoder.worker import HEARTBEAT_LIMIT_S, Run, Worker
from app.errors import InferenceError, NotReadyError, OverloadedError, TooLargeError

_LOGGER = logging.getLogger(__name__)

RETRY_EVERY_S = 1.0
IDLE_S, IDLE_TOKENS = 0.2, 4096  # after so much work and so long without any, memory goes back
LONGEST_RETRY_AFTER_S = 30.0


class Batcher:
    """The queue in front of the sessions.

    Args:
        runs: Encode one batch, each a session; each is only ever called from its own thread.
        cost: What a run costs, which decides how texts are split into runs.
        queue_texts: Most texts admitted and not yet finished.
        canary: Token ids of texts known to work, with which a failed session is tried again.
    """

    def __init__(
        self, runs: Sequence[Run], cost: Cost, queue_texts: int, canary: Sequence[Sequence[int]]
    ) -> None:
        self._queue_texts, self._canary = queue_texts, canary
        self._changed = threading.Condition()
        self._queue = Queue(cost)
        self._admitted = 0
        self._texts_per_s = 100.0
        self._gone: str | None = None
        self._workers = [Worker(run) for run in runs]
        for worker in self._workers:
            worker.thread = threading.Thread(
                target=self._serve, args=(worker,), name="encoder", daemon=True
            )
            worker.thread.start()

    def admit(self, texts: int, *, wait: bool = False) -> None:
        """Take room for texts that are about to be submitted; ``release`` gives it back.

        Args:
            texts: How many.
            wait: Wait for room rather than raise.

        Raises:
            OverloadedError: If there is no room and ``wait`` is false.
            TooLargeError: If the queue could never hold them.
            NotReadyError: If a thread is gone or the batcher closed.
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
        job = Job(rows, priority)
        # The room is given back once, however the job ends.
        job.future.add_done_callback(lambda _: self._leave(job))
        with self._changed:
            gone = self._gone
            if gone is None:
                self._queue.add(job)
                self._changed.notify_all()
        if gone is not None:
            job.fail(NotReadyError(gone))
        return job.future

    def healthy(self) -> str | None:
        """Say what is wrong, or None: no thread is gone, no run hangs, and some session works."""
        if self._gone is not None:
            return self._gone
        if any(worker.hangs() for worker in self._workers):
            return f"a batch has been running for more than {HEARTBEAT_LIMIT_S:.0f} seconds"
        return None if self._works() else self._workers[0].failure

    def recheck(self, timeout_s: float) -> str | None:
        """Try the sessions now if none works, rather than at their next turn; blocks.

        Args:
            timeout_s: How long to wait for the trial's end.

        Returns:
            As ``healthy``.
        """
        with self._changed:
            if self._gone is None and not self._works():
                seen = [worker.tries for worker in self._workers]
                for worker in self._workers:
                    worker.asked = True
                self._changed.notify_all()
                self._changed.wait_for(
                    lambda: self._gone or self._works() or self._have_tried(seen),
                    timeout_s,
                )
        return self.healthy()

    @property
    def waiting_texts(self) -> int:
        """Texts admitted and not yet finished."""
        return self._admitted

    def close(self) -> None:
        """Stop the threads after their present runs; jobs still waiting fail with NotReadyError."""
        with self._changed:
            self._gone = self._gone or "the encoder is closed"
            self._changed.notify_all()
        for worker in self._workers:
            worker.thread.join(timeout=HEARTBEAT_LIMIT_S)

    def _serve(self, worker: Worker) -> None:
        try:
            while (batch := self._next_batch(worker)) is not None:
                worker.batch = batch
                self._do(worker, batch)
                worker.batch = []
        except BaseException as error:  # the thread's outer edge: callers must not wait for ever
            name = type(error).__name__
            self._gone = f"the encoder's thread ended with {name}; restart the service"
            _LOGGER.exception("The encoder's thread ended")
        finally:
            with self._changed:
                reason = self._gone = self._gone or "the encoder is closed"
                jobs = {*self._queue.clear(), *(job for job, _ in worker.batch)}
                self._changed.notify_all()
            for job in jobs:
                job.fail(NotReadyError(reason))

    def _next_batch(self, worker: Worker) -> Batch | None:
        """Wait for work: texts, none at all for what is done without, or None to end."""

        def is_wanted() -> bool:
            if self._gone is not None:
                return True
            if worker.failure is None:
                return len(self._queue) > 0
            # The next trial is due soon, but not soon enough for callers whom nobody serves.
            return worker.asked or (len(self._queue) > 0 and not self._works())

        with self._changed:
            timeout_s = IDLE_S if worker.tokens > IDLE_TOKENS else None
            self._changed.wait_for(is_wanted, RETRY_EVERY_S if worker.failure else timeout_s)
            if self._gone is not None:
                return None
            return [] if worker.failure is not None else self._queue.take()

    def _do(self, worker: Worker, batch: Batch) -> None:
        if worker.failure is not None:
            if not self._try(worker) and not self._works():
                self._refuse_all()
            return
        if not batch:
            give_back_memory()
            worker.tokens = 0
            return
        failed = self._run(worker, batch)
        if not failed:
            return
        if not self._try(worker):
            self._move(failed)
            return
        # The session works, so it is some text's fault: the others must not suffer for it.
        parts = [failed]
        while parts:
            part = [(job, index) for job, index in parts.pop() if not job.future.done()]
            if not part or not (part := self._run(worker, part)):
                continue
            if len(part) == 1:
                part[0][0].fail(InferenceError("the encoder failed on this text; see the log."))
            else:
                half = len(part) // 2
                parts += [part[half:], part[:half]]

    def _run(self, worker: Worker, batch: Batch) -> Batch:
        """Run some texts and deliver their vectors.

        Returns:
            The texts that got no vector.
        """
        rows = [job.rows[index] for job, index in batch]
        started = time.monotonic()
        try:
            vectors = worker.vectors(rows)
        except Exception:  # whatever the session raises, its callers learn only that it failed
            _LOGGER.exception("A batch of %d texts failed", len(rows))
            return batch
        elapsed = max(time.monotonic() - started, 1e-6)
        finite = [bool(row) for row in np.atleast_1d(np.isfinite(vectors).all(axis=1))]
        right = [text for text, is_right in zip(batch, finite, strict=True) if is_right]
        wrong = [text for text, is_right in zip(batch, finite, strict=True) if not is_right]
        if wrong:
            _LOGGER.error("%d of %d vectors are not finite", len(wrong), len(rows))
            vectors = vectors[finite]
        with self._changed:  # a job's texts may run in several sessions at a time
            self._learn(rows, elapsed)
            for job in {job for job, _ in batch}:
                job.inference_s += elapsed
            ready = [job for job in fill(right, vectors) if job.is_complete]
        for job in ready:
            job.answer()
        return wrong

    def _try(self, worker: Worker) -> bool:
        """Run the canary, and note whether the session works."""
        works = worker.encodes(self._canary)
        with self._changed:
            worker.failure = None if works else "the last batch failed"
            worker.asked = False
            worker.tries += 1
            self._changed.notify_all()
        return works

    def _move(self, batch: Batch) -> None:
        """Hand the texts of a broken session to one that works, though only once."""
        with self._changed:
            others = self._works()
            again = [text for text in batch if others and not text[0].put_back]
            for job, _ in again:
                job.put_back = True
            self._queue.put_back(again)
            self._changed.notify_all()
        moved = {job for job, _ in again}
        for job in {job for job, _ in batch} - moved:
            job.fail(InferenceError("the encoder failed on this batch; see the log."))

    def _refuse_all(self) -> None:
        with self._changed:
            jobs = self._queue.clear()
        for job in jobs:
            job.fail(NotReadyError("the encoder is out of order; try again in a few seconds."))

    def _learn(self, rows: Sequence[Sequence[int]], elapsed_s: float) -> None:
        each_s = elapsed_s / len(self._workers)
        self._queue.learn(sum(map(len, rows)), each_s)
        self._texts_per_s += 0.1 * (len(rows) / each_s - self._texts_per_s)

    def _works(self) -> bool:
        return any(worker.failure is None for worker in self._workers)

    def _have_tried(self, seen: Sequence[int]) -> bool:
        return all(worker.tries > n for worker, n in zip(self._workers, seen, strict=True))

    def _leave(self, job: Job) -> None:
        with self._changed:
            self._queue.remove(job)
            self._admitted -= len(job.rows)
            self._changed.notify_all()

    def _require_alive(self) -> None:
        if self._gone is not None:
            raise NotReadyError(self._gone)

    def _retry_after_s(self) -> float:
        return float(np.clip(self._admitted / self._texts_per_s, 1.0, LONGEST_RETRY_AFTER_S))
