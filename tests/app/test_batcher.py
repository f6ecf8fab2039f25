import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError

import numpy as np
import pytest

from app.encoder import batcher as batcher_module
from app.encoder import worker as worker_module
from app.encoder.batcher import Batcher
from app.encoder.jobs import BULK, PROBE, SEARCH
from app.encoder.memory import give_back_memory
from app.encoder.split import Cost
from app.errors import InferenceError, NotReadyError, OverloadedError, TooLargeError

Rows = Sequence[Sequence[int]]

CANARY = [[99]]
TIMEOUT_S = 10


class Session:
    """Records its batches; a vector is the text's first token and its length."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.busy = threading.Event()
        self.error: BaseException | None = None

    def run(self, rows: Rows) -> np.ndarray:
        self.batches.append([row[0] for row in rows])
        self.busy.set()
        assert self.gate.wait(TIMEOUT_S)
        if self.error is not None:
            raise self.error
        return np.array([[row[0], len(row)] for row in rows], dtype=np.float32)


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def batcher(session: Session) -> Iterator[Batcher]:
    made = Batcher([session.run], Cost(1000, max_tokens=64), queue_texts=50, canary=CANARY)
    yield made
    session.gate.set()
    made.close()


def hold(batcher: Batcher, session: Session) -> None:
    """Fill the session with a run that goes on until the gate opens."""
    session.gate.clear()
    session.busy.clear()
    batcher.admit(1)
    batcher.submit([[0]])
    assert session.busy.wait(TIMEOUT_S)
    session.batches.clear()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


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


def test_failing_run_fails_its_jobs_and_shows_until_it_works_again(
    batcher: Batcher, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "RETRY_EVERY_S", 0.01)
    session.error = RuntimeError("out of memory at 0x1234")
    batcher.admit(1)

    with pytest.raises(InferenceError) as caught:
        batcher.submit([[1]]).result(TIMEOUT_S)

    assert "0x1234" not in str(caught.value)
    assert batcher.healthy() == "the last batch failed"
    session.error = None
    until(lambda: batcher.healthy() is None)
    assert session.batches[-1] == [CANARY[0][0]]
    until(lambda: batcher.waiting_texts == 0)  # the room is given back after the answer
    batcher.admit(1)
    assert batcher.submit([[5]]).result(TIMEOUT_S).vectors[0, 0] == 5
    assert batcher.healthy() is None


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_fail_the_job(bad: float) -> None:
    batcher = Batcher([lambda rows: np.full((len(rows), 2), bad)], Cost(), 10, canary=CANARY)
    batcher.admit(1)

    with pytest.raises(InferenceError):
        batcher.submit([[1]]).result(TIMEOUT_S)
    batcher.close()


def test_run_that_returns_too_few_vectors_fails_the_job() -> None:
    batcher = Batcher([lambda rows: np.zeros((0, 2), np.float32)], Cost(), 10, canary=CANARY)
    batcher.admit(2)

    with pytest.raises(InferenceError):
        batcher.submit([[1], [2]]).result(TIMEOUT_S)
    batcher.close()


class Poisoned:
    """A session that fails whenever the text 13 is in the batch, or gives it no finite vector."""

    def __init__(self, *, by_nan: bool = False, most: int = 1000) -> None:
        self.sizes: list[int] = []
        self.by_nan, self.most = by_nan, most

    def run(self, rows: Rows) -> np.ndarray:
        self.sizes.append(len(rows))
        if len(rows) > self.most:
            raise MemoryError
        if [13] in list(rows) and not self.by_nan:
            raise RuntimeError("poison")
        return np.array([[np.nan if row == [13] else row[0]] for row in rows], dtype=np.float32)


@pytest.mark.parametrize("by_nan", [False, True])
def test_failing_text_fails_its_own_job_alone(by_nan: bool) -> None:
    poisoned = Poisoned(by_nan=by_nan)
    gate = threading.Event()

    def gated(rows: Rows) -> np.ndarray:
        assert gate.wait(TIMEOUT_S)
        return poisoned.run(rows)

    batcher = Batcher([gated], Cost(1000, max_tokens=1000), 100, canary=CANARY)
    batcher.admit(33)
    futures = [batcher.submit([[n]]) for n in range(30)]
    mixed = batcher.submit([[40], [13], [41]])
    gate.set()

    for n, future in enumerate(futures):
        if n == 13:
            with pytest.raises(InferenceError):
                future.result(TIMEOUT_S)
        else:
            assert future.result(TIMEOUT_S).vectors.tolist() == [[n]]
    with pytest.raises(InferenceError):
        mixed.result(TIMEOUT_S)
    assert batcher.healthy() is None
    batcher.close()
    assert batcher.waiting_texts == 0
    assert len(poisoned.sizes) < 40  # halves, not each text for itself


def test_batch_too_large_for_the_memory_is_run_in_parts() -> None:
    session = Poisoned(most=4)
    batcher = Batcher([session.run], Cost(1000, max_tokens=1000), 100, canary=CANARY)
    batcher.admit(30)

    vectors = batcher.submit([[n] for n in range(50, 80)]).result(TIMEOUT_S).vectors

    assert vectors[:, 0].tolist() == list(range(50, 80))
    assert batcher.healthy() is None
    batcher.close()


def test_session_that_always_fails_answers_all_soon(
    batcher: Batcher, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "RETRY_EVERY_S", 100.0)
    hold(batcher, session)
    batcher.admit(40)
    futures = [batcher.submit([[n] * 8] * 4) for n in range(10)]
    session.error = RuntimeError("broken")
    session.gate.set()

    for future in futures:
        with pytest.raises((InferenceError, NotReadyError)):
            future.result(TIMEOUT_S)
    assert batcher.healthy() == "the last batch failed"
    assert len(session.batches) < 6
    # Who comes later learns it at once, by a run of the canary, and not at the next retry.
    batcher.admit(1)
    with pytest.raises(NotReadyError, match="out of order"):
        batcher.submit([[1]]).result(TIMEOUT_S)
    assert session.batches[-1] == [CANARY[0][0]]
    session.error = None
    batcher.admit(1)
    assert batcher.submit([[1]]).result(TIMEOUT_S).vectors[0, 0] == 1
    assert batcher.healthy() is None


def test_recheck_runs_the_canary_now(
    batcher: Batcher, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher_module, "RETRY_EVERY_S", 100.0)
    assert batcher.recheck(TIMEOUT_S) is None
    assert session.batches == []  # nothing is wrong, so nothing is run
    session.error = RuntimeError("broken")
    batcher.admit(1)
    with pytest.raises(InferenceError):
        batcher.submit([[1]]).result(TIMEOUT_S)

    assert batcher.recheck(TIMEOUT_S) == "the last batch failed"
    session.error = None
    assert batcher.recheck(TIMEOUT_S) is None
    assert session.batches[-2:] == [[CANARY[0][0]]] * 2


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


def test_broken_session_hands_its_texts_to_one_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batcher_module, "RETRY_EVERY_S", 0.01)
    sound = Poisoned()
    broken = threading.Event()

    def fails(rows: Rows) -> np.ndarray:
        broken.set()
        raise RuntimeError("lost the device")

    def works(rows: Rows) -> np.ndarray:
        # Not before the other has had its share.
        assert broken.wait(TIMEOUT_S)
        return sound.run(rows)

    batcher = Batcher([fails, works], Cost(0, max_tokens=8), 100, canary=CANARY)
    batcher.admit(64)

    vectors = batcher.submit([[n] for n in range(100, 164)]).result(TIMEOUT_S).vectors

    assert vectors[:, 0].tolist() == list(range(100, 164))
    assert batcher.healthy() is None
    batcher.close()


def test_close_of_several_sessions_ends_all_threads() -> None:
    batcher = Batcher([Poisoned().run] * 3, Cost(), 10, canary=CANARY)

    batcher.close()

    assert not any(worker.thread.is_alive() for worker in batcher._workers)


def test_thread_death_fails_all_jobs_and_shows(batcher: Batcher, session: Session) -> None:
    hold(batcher, session)
    batcher.admit(2)
    waiting = batcher.submit([[1], [2]])
    session.error = SystemExit()
    session.gate.set()

    with pytest.raises(NotReadyError, match="SystemExit"):
        waiting.result(TIMEOUT_S)
    assert "restart" in str(batcher.healthy())
    with pytest.raises(NotReadyError):
        batcher.admit(1)
    with pytest.raises(NotReadyError):
        batcher.submit([[3]]).result(TIMEOUT_S)


def test_thread_death_fails_the_job_that_was_running(batcher: Batcher, session: Session) -> None:
    session.error = SystemExit()
    batcher.admit(1)

    with pytest.raises(NotReadyError):
        batcher.submit([[1]]).result(TIMEOUT_S)


def test_run_that_hangs_shows_in_health(
    batcher: Batcher, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(batcher, session)
    assert batcher.healthy() is None
    monkeypatch.setattr(worker_module, "HEARTBEAT_LIMIT_S", 0.0)

    assert "running for more than" in str(batcher.healthy())
    monkeypatch.undo()


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
