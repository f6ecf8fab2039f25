import random

import numpy as np
import pytest

from app.encoder.jobs import (
    BULK,
    MOST_SIZE_S,
    PRIORITY_STEP_S,
    PROBE,
    SEARCH,
    Batch,
    Job,
    Queue,
    fill,
)
from app.encoder.split import Cost

PACE_S = 0.001
"""Seconds of the model a token; a full run of 100 tokens takes a tenth of a second."""


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Model:
    """A queue whose runs take the time that their tokens say."""

    def __init__(self, max_tokens: int = 100) -> None:
        self.clock = Clock()
        self.queue = Queue(Cost(5.0, max_tokens), self.clock)
        for _ in range(100):
            self.queue.learn(1000, 1000 * PACE_S)
        self.sent: dict[Job, float] = {}
        self.answered: dict[Job, float] = {}

    def send(self, lengths: list[int], priority: int = SEARCH) -> Job:
        job = Job([[1] * length for length in lengths], priority)
        self.queue.add(job)
        self.sent[job] = self.clock.now
        return job

    def step(self) -> Batch:
        batch = self.queue.take()
        longest = max(len(job.rows[index]) for job, index in batch)
        self.clock.now += longest * len(batch) * PACE_S
        for job in fill(batch, np.ones((len(batch), 1), dtype=np.float32)):
            if job.is_complete:
                self.answered[job] = self.clock.now
        return batch

    def latency(self, job: Job) -> float:
        return self.answered[job] - self.sent[job]


def test_take_jobs_of_a_size_go_in_the_order_in_which_they_came() -> None:
    model = Model()
    jobs = [model.send([60]) for _ in range(5)]

    while len(model.queue):
        model.step()

    assert sorted(jobs, key=model.latency) == jobs


def test_take_job_of_several_runs_keeps_its_place() -> None:
    model = Model()
    first = model.send([1] * 9 + [60])  # two runs, by length
    model.clock.now += 0.1
    second = model.send([60])

    while len(model.queue):
        model.step()

    assert model.answered[first] < model.answered[second]


def test_take_small_job_passes_the_rest_of_huge_ones_that_came_before() -> None:
    """Eight posts of 250 texts keep the model busy for a minute; one text must not wait for it."""
    model = Model()
    for _ in range(8):
        model.send([30] * 250)
    small: list[Job] = []
    while model.clock.now < 20:
        model.step()
        small.append(model.send([7]))
        model.sent[small[-1]] -= 0.1  # sent as that run began
        while small[-1] not in model.answered:
            model.step()

    slowest = max(map(model.latency, small))
    assert len(small) > 50
    assert slowest <= 2 * 0.1 + 1e-6  # the run that it came during, and its own


def test_take_huge_job_goes_on_while_small_ones_never_cease() -> None:
    model = Model()
    huge = model.send([50] * 40)
    while huge not in model.answered:
        for _ in range(20):  # always more than a run holds
            model.send([10])
        model.step()
        assert model.clock.now < 100

    # Twenty runs of two texts, and as many for the others.
    assert model.latency(huge) <= MOST_SIZE_S + 2 * 20 * 0.1 + 1


def test_take_huge_jobs_take_turns() -> None:
    model = Model()
    first, second = model.send([50] * 200), model.send([50] * 200)

    served = [model.step()[0][0] for _ in range(100)]

    assert abs(served.count(first) - served.count(second)) <= 10


def test_take_priorities_go_in_their_order() -> None:
    model = Model()
    jobs = [model.send([60], kind) for kind in (PROBE, BULK, SEARCH)]
    jobs += [model.send([60] * 3, kind) for kind in (PROBE, BULK, SEARCH)]

    while len(model.queue):
        model.step()

    assert sorted(jobs[:3], key=model.latency) == jobs[2::-1]
    assert sorted(jobs[3:], key=model.latency) == jobs[:2:-1]


@pytest.mark.parametrize(("kind", "share"), [(SEARCH, 1 / 2), (BULK, 1 / 4), (PROBE, 1 / 8)])
def test_take_searches_that_never_cease_leave_others_their_share(kind: int, share: float) -> None:
    model = Model()
    huge = model.send([50] * 400, kind)
    of_huge = []
    while model.clock.now < 40:
        for _ in range(12):
            model.send([10])
        of_huge.append(model.step()[0][0] is huge)

    started = of_huge.index(True)
    assert started * 0.1 <= 2 * (kind * PRIORITY_STEP_S + MOST_SIZE_S)
    assert np.mean(of_huge[started:]) == pytest.approx(share, rel=0.05)


def test_take_oldest_text_of_the_job_that_is_due_is_in_the_run() -> None:
    rng = random.Random(0)
    model = Model()
    model.send([rng.randint(1, 90) for _ in range(50)])

    left = set(range(50))
    while left:
        batch = model.step()
        assert min(left) in {index for _, index in batch}
        left -= {index for _, index in batch}


def test_take_serves_each_text_once_whatever_comes_and_goes() -> None:
    rng = random.Random(1)
    model = Model()
    seen: dict[Job, list[int]] = {}
    removed: set[Job] = set()
    for _ in range(300):
        job = model.send([rng.randint(1, 120) for _ in range(rng.randint(1, 9))], rng.randrange(3))
        seen[job] = []
        if rng.random() < 0.2:
            gone = rng.choice(list(seen))
            model.queue.remove(gone)
            removed.add(gone)
        for _ in range(rng.randrange(4)):
            if len(model.queue):
                batch = model.queue.take()
                if rng.random() < 0.3:
                    model.queue.put_back(batch)
                    continue
                model.clock.now += 0.05
                for taken, index in batch:
                    seen[taken].append(index)
    while len(model.queue):
        for taken, index in model.queue.take():
            seen[taken].append(index)

    for job, indices in seen.items():
        assert len(set(indices)) == len(indices)
        assert job in removed or sorted(indices) == list(range(len(job.rows)))


def test_put_back_texts_wait_as_before() -> None:
    model = Model()
    jobs = [model.send([40]) for _ in range(6)]

    batch = model.queue.take()
    assert [job for job, _ in batch] == jobs[:2]
    model.queue.put_back(batch)

    taken = []
    while len(model.queue):
        taken += [job for job, _ in model.queue.take()]
    assert sorted(taken, key=jobs.index) == jobs


def test_put_back_of_callers_who_left_is_forgotten() -> None:
    model = Model()
    job = model.send([40])
    batch = model.queue.take()
    job.future.cancel()

    model.queue.put_back(batch)

    assert len(model.queue) == 0


def test_take_padding_of_mixed_posts_is_small() -> None:
    """Posts of 32 texts with the mix of lengths that documentation has, and a usual fixed cost."""
    rng = random.Random(2)
    lengths = [max(3, min(256, round(rng.lognormvariate(2.9, 0.9)))) for _ in range(3200)]
    spent = 0
    for first in range(0, len(lengths), 32):
        queue = Queue(Cost(30.0, 512))
        queue.add(Job([[1] * length for length in lengths[first : first + 32]], SEARCH))
        while len(queue):
            batch = queue.take()
            spent += len(batch) * max(len(job.rows[index]) for job, index in batch)

    assert spent <= 1.12 * sum(lengths)
