import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError

import numpy as np
import pytest

from app.encoder import batcher as batcher_module
from app.encoder.batcher import Batcher
from app.encoder.jobs import BULK, PROBE, SEARCH
from app.encoder.memory import give_back_memory
from app.encoder.split import Cost
from app.errors import NotReadyError, OverloadedError, TooLargeError
from tests.app.batching import CANARY, TIMEOUT_S, Rows, Session, hold, opened, until


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def batcher(session: Session) -> Iterator[Batcher]:
    with opened(session) as made:
        yield made


def test_submit_returns_vectors_in_the_callers_order(batcher: Batcher) -> None:
    rows = [[n] * (1 + n * 7 % 60) for n in range(40)]
    batcher.admit(40)

    vectors = batcher.submit(rows).result(TIMEOUT_S).vectors

    np.testing.assert_array_equal(vectors, [[row[0], len(row)] for row in rows])
    assert batcher.waiting_texts == 0


def test_batches_keep_to_the_budget(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(40)
    future = batcher.submit([[n] * 8 for n in range(40)])
    session.gate.set()
    future.result(TIMEOUT_S)

    assert [len(batch) for batch in session.batches] == [8] * 5


def test_texts_of_waiting_jobs_share_a_batch(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    futures = []
    for n in range(1, 6):
        batcher.admit(1)
        futures.append(batcher.submit([[n, n]]))
    session.gate.set()
    for future in futures:
        future.result(TIMEOUT_S)

    assert [sorted(batch) for batch in session.batches] == [[1, 2, 3, 4, 5]]


def test_admit_full_queue_refuses_at_once_and_says_when(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(49)

    started = time.monotonic()
    with pytest.raises(OverloadedError, match="holds 50 of 50") as caught:
        batcher.admit(1)

    assert time.monotonic() - started < 1.0  # waiting for room would take for ever
    assert caught.value.retry_after_s >= 1
    batcher.release(49)
    batcher.admit(1)


def test_admit_more_than_the_queue_could_hold_is_too_large(batcher: Batcher) -> None:
    with pytest.raises(TooLargeError, match="at most 50"):
        batcher.admit(51)


def test_admit_waiting_gets_room_when_it_comes(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(49)
    waiter = threading.Thread(target=batcher.admit, args=(10,), kwargs={"wait": True})
    waiter.start()
    waiter.join(0.05)
    assert waiter.is_alive()

    batcher.release(49)

    waiter.join(TIMEOUT_S)
    assert not waiter.is_alive()
    assert batcher.waiting_texts == 11


def test_cancelled_job_leaves_the_queue_and_its_room(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(20)
    dead = batcher.submit([[7]] * 20)
    batcher.admit(1)
    alive = batcher.submit([[8]])

    assert dead.cancel()
    assert batcher.waiting_texts == 2
    session.gate.set()
    alive.result(TIMEOUT_S)

    assert session.batches == [[8]]
    with pytest.raises(CancelledError):
        dead.result()


def test_job_cancelled_while_it_runs_disturbs_no_other(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(40)
    future = batcher.submit([[n] * 8 for n in range(40)])
    session.busy.clear()
    session.gate.set()
    assert session.busy.wait(TIMEOUT_S)
    future.cancel()

    until(lambda: batcher.waiting_texts == 0)
    batcher.admit(1)
    assert batcher.submit([[5]]).result(TIMEOUT_S).vectors[0, 0] == 5
    assert batcher.healthy() is None


def test_priority_decides_who_goes_first(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(24)
    futures = [
        batcher.submit([[kind + 1] * 8] * 8, priority)  # each fills a batch
        for kind, priority in ((PROBE, PROBE), (BULK, BULK), (SEARCH, SEARCH))
    ]
    session.gate.set()
    for future in futures:
        future.result(TIMEOUT_S)

    assert [batch[0] for batch in session.batches] == [SEARCH + 1, BULK + 1, PROBE + 1]


def test_sessions_share_the_queue() -> None:
    both = threading.Barrier(2, timeout=TIMEOUT_S)

    def run(rows: Rows) -> np.ndarray:
        both.wait()  # passes only if two sessions run at a time
        return np.array([[row[0]] for row in rows], dtype=np.float32)

    batcher = Batcher([run, run], Cost(0, max_tokens=8), 100, canary=CANARY)
    batcher.admit(64)

    vectors = batcher.submit([[n] * 8 for n in range(64)]).result(TIMEOUT_S).vectors

    assert vectors[:, 0].tolist() == list(range(64))
    batcher.close()


def test_close_of_several_sessions_ends_all_threads() -> None:
    batcher = Batcher([Session().run] * 3, Cost(), 10, canary=CANARY)

    batcher.close()

    assert not any(worker.thread.is_alive() for worker in batcher._workers)


def test_close_fails_what_waits_and_wakes_who_waits(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(49)
    waiting = batcher.submit([[1]] * 49)
    caught: list[Exception] = []

    def admit() -> None:
        try:
            batcher.admit(1, wait=True)
        except NotReadyError as error:
            caught.append(error)

    waiter = threading.Thread(target=admit)
    waiter.start()
    closer = threading.Thread(target=batcher.close)
    closer.start()
    session.gate.set()

    with pytest.raises(NotReadyError, match="closed"):
        waiting.result(TIMEOUT_S)
    waiter.join(TIMEOUT_S)
    closer.join(TIMEOUT_S)
    assert len(caught) == 1
    assert batcher.healthy() == "the encoder is closed"


def test_idle_batcher_gives_memory_back_once(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "IDLE_S", 0.01)
    given: list[float] = []
    monkeypatch.setattr(batcher_module, "give_back_memory", lambda: given.append(time.monotonic()))
    batcher = Batcher([session.run], Cost(1000, max_tokens=64), queue_texts=500, canary=CANARY)
    batcher.admit(1)
    batcher.submit([[1]]).result(TIMEOUT_S)
    time.sleep(0.1)
    assert given == []  # little was done

    batcher.admit(300)
    batcher.submit([[n] * 32 for n in range(300)]).result(TIMEOUT_S)

    until(lambda: len(given) == 1)
    time.sleep(0.1)
    assert len(given) == 1
    batcher.admit(1)
    assert batcher.submit([[5]]).result(TIMEOUT_S).vectors[0, 0] == 5
    batcher.close()


def test_give_back_memory_may_always_be_called() -> None:
    give_back_memory()
