"""A batcher whose session fails, hangs, or dies."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from app.encoder import batcher as batcher_module
from app.encoder import worker as worker_module
from app.encoder.batcher import Batcher
from app.encoder.split import Cost
from app.errors import InferenceError, NotReadyError
from tests.app.batching import CANARY, TIMEOUT_S, Rows, Session, hold, opened, until


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
def batcher(session: Session) -> Iterator[Batcher]:
    with opened(session) as made:
        yield made


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
