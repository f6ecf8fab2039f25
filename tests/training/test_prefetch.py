import threading
import time

import pytest

from training.prefetch import Prefetcher


def test_prefetcher_yields_every_item_in_order() -> None:
    with Prefetcher(lambda step: step * step, 3, 9) as items:
        assert list(items) == [9, 16, 25, 36, 49, 64]


def test_prefetcher_makes_ahead_but_no_more_than_depth() -> None:
    made: list[int] = []
    with Prefetcher(lambda step: made.append(step) or step, 0, 100, depth=2) as items:
        iterator = iter(items)
        assert next(iterator) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        # One taken, two in the queue, one made and waiting for room.
        assert made == [0, 1, 2, 3]


def test_prefetcher_raises_what_make_raised_at_its_step() -> None:
    def make(step: int) -> int:
        if step == 2:
            raise LookupError("no such row")
        return step

    seen: list[int] = []
    with Prefetcher(make, 0, 5) as items, pytest.raises(LookupError, match="no such row"):
        seen.extend(items)
    assert seen == [0, 1]
    assert not any(thread.name == "prefetcher" for thread in threading.enumerate())


def test_prefetcher_left_early_stops_its_thread() -> None:
    with Prefetcher(lambda step: step, 0, 1_000_000) as items:
        for item in items:
            if item == 3:
                break
    assert not any(thread.name == "prefetcher" for thread in threading.enumerate())


def test_prefetcher_closed_while_make_runs_waits_for_it() -> None:
    started, done = threading.Event(), threading.Event()

    def make(step: int) -> int:
        started.set()
        time.sleep(0.05)
        done.set()
        return step

    items = Prefetcher(make, 0, 10)
    assert started.wait(5)
    items.close()
    assert done.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        next(iter(items))


def test_prefetcher_of_no_steps_is_empty() -> None:
    with Prefetcher(lambda step: step, 4, 4) as items:
        assert list(items) == []


def test_prefetcher_depth_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Prefetcher(lambda step: step, 0, 1, depth=0)
