"""Which texts run next: jobs in two lines, and the run that holds the oldest text of one of them.

Jobs that fit in a run stand in the first line, larger ones in the second. In each they stand in the
order in which they are due: when they were sent, later by their priority and by the time that their
texts will take (up to a bound); a large job is due anew whenever some of its texts have run. The
line whose first job is due first goes first, but not so often that the other starves. So a text
that is sent alone waits for a run or two, however many thousands others have sent before it, and a
job of thousands goes on however many single texts come. Knows no threads and no session.
"""

import math
import time
from bisect import insort
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.encoder.split import Cost, cheapest_run

SEARCH, BULK, PROBE = 0, 1, 2
"""Priorities: who waits for whom."""

PRIORITY_STEP_S = 2.0
"""A job passes jobs of the next lower priority that were sent up to this much earlier."""

MOST_SKIPPED = {SEARCH: 1, BULK: 3, PROBE: 7}
"""Runs in a row of one line while a job of that priority is first in the other."""

MOST_SIZE_S = 1.0
"""The longest that a job is put off for its size; below a step, or priorities would mean little."""

LOOKAHEAD_BUDGETS = 4
PACE_WEIGHT = 0.1
FIRST_PACE_S = 1e-4


class Batched(NamedTuple):
    """The vectors of a caller's texts, shape (texts, dim), and where their time went."""

    vectors: NDArray[np.float32]
    queue_s: float
    inference_s: float


@dataclass(eq=False)
class Job:
    """Texts of one caller, their vectors as they come, and the future that waits for them."""

    rows: Sequence[Sequence[int]]
    priority: int
    future: Future[Batched] = field(default_factory=Future)
    due: float = 0.0
    waiting: list[int] = field(init=False)
    tokens: int = field(init=False)
    """Tokens of the texts that wait."""
    queued: bool = False
    is_large: bool = False
    put_back: bool = False
    done: int = 0
    vectors: NDArray[np.float32] | None = None
    submitted: float = field(default_factory=time.monotonic)
    inference_s: float = 0.0

    def __post_init__(self) -> None:
        self.waiting = list(range(len(self.rows)))
        self.tokens = sum(map(len, self.rows))

    @property
    def is_complete(self) -> bool:
        """Whether all texts have their vectors."""
        return self.done == len(self.rows)

    def answer(self) -> None:
        """Give the caller the vectors, unless it has left."""
        assert self.vectors is not None  # noqa: S101  # complete
        waited = time.monotonic() - self.submitted - self.inference_s
        try:
            self.future.set_result(Batched(self.vectors, max(waited, 0.0), self.inference_s))
        except InvalidStateError:
            return

    def fail(self, error: Exception) -> None:
        """Tell the caller, unless it has left or been told."""
        try:
            self.future.set_exception(error)
        except InvalidStateError:
            return


Batch = list[tuple[Job, int]]
"""Texts of one run, each a job and the text's number in it."""


class Queue:
    """Jobs with texts that wait; its callers hold a lock around each call.

    Args:
        cost: What a run costs, which decides how texts are split into runs.
        clock: Tells the time in seconds.
    """

    def __init__(self, cost: Cost, clock: Callable[[], float] = time.monotonic) -> None:
        self._cost = cost
        self._clock = clock
        self._lines: tuple[list[Job], list[Job]] = ([], [])
        self._skipped = [0, 0]
        self._pace_s = FIRST_PACE_S

    def __len__(self) -> int:
        return sum(map(len, self._lines))

    def add(self, job: Job) -> None:
        """Let a job's texts wait, due from now."""
        size_s = min(job.tokens * self._pace_s, MOST_SIZE_S)
        job.due = self._clock() + job.priority * PRIORITY_STEP_S + size_s
        job.is_large = job.is_large or job.tokens > self._cost.max_tokens
        self._enter(job)

    def remove(self, job: Job) -> None:
        """Let none of a job's texts wait any longer."""
        job.waiting = []
        if job.queued:
            self._lines[job.is_large].remove(job)
            job.queued = False

    def clear(self) -> list[Job]:
        """Take all jobs out."""
        jobs = [*self._lines[0], *self._lines[1]]
        self._lines = ([], [])
        for job in jobs:
            job.queued = False
        return jobs

    def take(self) -> Batch:
        """Take the texts of the next run; large jobs are due anew for what is left of them."""
        candidates = self._candidates()
        lengths = [len(job.rows[index]) for job, index in candidates]
        batch = [candidates[position] for position in cheapest_run(lengths, self._cost)]
        for job, taken in _by_job(batch):
            left = [index for index in job.waiting if index not in taken]
            job.tokens -= sum(len(job.rows[index]) for index in taken)
            if left and not job.is_large:
                job.waiting = left  # where it stands
                continue
            self.remove(job)
            if left:
                job.waiting = left
                self.add(job)
        return batch

    def put_back(self, batch: Batch) -> None:
        """Let texts that were taken wait again, due as before."""
        for job, taken in _by_job(batch):
            left = job.waiting
            self.remove(job)
            if job.future.done():
                continue
            job.waiting = sorted([*left, *taken])
            job.tokens += sum(len(job.rows[index]) for index in taken)
            self._enter(job)

    def learn(self, tokens: int, seconds: float) -> None:
        """Note how long a run took, by which later jobs are put off for their size."""
        self._pace_s += PACE_WEIGHT * (seconds / max(tokens, 1) - self._pace_s)

    def _enter(self, job: Job) -> None:
        job.queued = True
        insort(self._lines[job.is_large], job, key=lambda one: one.due)

    def _in_order(self) -> Iterable[Job]:
        """Go through all jobs, those of the line whose turn it is first."""
        first, other = sorted(
            (0, 1), key=lambda n: self._lines[n][0].due if self._lines[n] else math.inf
        )
        waiting = self._lines[other]
        if waiting and self._skipped[other] >= MOST_SKIPPED[waiting[0].priority]:
            first, other = other, first
        self._skipped[first] = 0
        self._skipped[other] += 1 if self._lines[other] else 0
        return chain(self._lines[first], self._lines[other])

    def _candidates(self) -> Batch:
        budget = LOOKAHEAD_BUDGETS * self._cost.max_tokens
        candidates: Batch = []
        for job in self._in_order():
            for index in job.waiting:
                candidates.append((job, index))
                budget -= len(job.rows[index])
                if budget <= 0:
                    return candidates
        return candidates


def fill(batch: Batch, vectors: NDArray[np.float32]) -> Iterable[Job]:
    """Put the vectors of some texts where they belong.

    Args:
        batch: The texts.
        vectors: A row for each of them.

    Returns:
        The jobs that the texts are of.
    """
    at: dict[Job, tuple[list[int], list[int]]] = {}
    for row, (job, index) in enumerate(batch):
        indices, rows = at.setdefault(job, ([], []))
        indices.append(index)
        rows.append(row)
    for job, (indices, rows) in at.items():
        if job.vectors is None:
            job.vectors = np.empty((len(job.rows), vectors.shape[1]), dtype=np.float32)
        job.vectors[indices] = vectors[rows]
        job.done += len(indices)
    return at


def _by_job(batch: Batch) -> Iterable[tuple[Job, set[int]]]:
    taken: dict[Job, set[int]] = {}
    for job, index in batch:
        taken.setdefault(job, set()).add(index)
    return taken.items()
