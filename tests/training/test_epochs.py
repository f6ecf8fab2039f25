"""Each pair of a bucket once before any twice, at whatever step one looks."""

import time

import numpy as np
import pytest

from training import epochs
from training.buckets import Buckets
from training.config import BatchesSection
from training.epochs import Orders, Timetable

CROSS = np.array([3, 11, 40])  # the first two in one corpus
MONO = np.array([7, 2])
PAIRS = 5


def timetable(seed: int = 1, pairs: int = PAIRS, **batches: float) -> Timetable:
    section = BatchesSection(pairs=pairs, **{"cross_probability": 0.6, **batches})  # type: ignore[arg-type]
    return Timetable(
        Buckets(CROSS, np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1])),
        Buckets(MONO, np.array([3.0, 1.0]), np.array([0, 1])),
        section,
        seed,
    )


def seen(made: Timetable, steps: int) -> dict[tuple[bool, int], list[int]]:
    """Collect the turns of each bucket in the order in which they come."""
    found: dict[tuple[bool, int], list[int]] = {}
    for step in range(steps):
        drawn = made.at(step)
        for bucket, turn in zip(drawn.buckets.tolist(), drawn.turns.tolist(), strict=True):
            found.setdefault((drawn.cross, bucket), []).append(turn)
    return found


@pytest.mark.parametrize("single", [0.0, 0.5, 1.0])
def test_timetable_counts_each_bucket_of_each_kind_by_itself(single: float) -> None:
    found = seen(timetable(single_corpus=single), 80)
    kinds = [(True, 0), (True, 1), (True, 2), (False, 0), (False, 1)]
    assert sorted(found, reverse=True) == sorted(kinds, reverse=True)
    for turns in found.values():
        assert turns == list(range(len(turns)))
    cross, mono = timetable(single_corpus=single).counts(80)
    assert cross.tolist() == [len(found[True, bucket]) for bucket in range(3)]
    assert mono.tolist() == [len(found[False, bucket]) for bucket in range(2)]


def test_timetable_any_order_of_asking_brings_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "KEPT_EVERY", 8)
    monkeypatch.setattr(epochs, "_AT_ONCE", 3 * PAIRS)
    straight = timetable(single_corpus=0.4)
    wanted = [straight.at(step) for step in range(60)]
    jumping = timetable(single_corpus=0.4)
    for step in (37, 5, 8, 7, 59, 16, 17, 18, 0, 37, 24):
        found = jumping.at(step)
        assert found.cross == wanted[step].cross
        assert found.buckets.tolist() == wanted[step].buckets.tolist()
        assert found.turns.tolist() == wanted[step].turns.tolist()
    assert (np.concatenate(straight.counts(60)) == np.concatenate(jumping.counts(60))).all()


def test_timetable_kinds_and_single_corpora_follow_their_probabilities() -> None:
    made = timetable(pairs=12, single_corpus=0.5)
    drawn = [made.at(step) for step in range(3000)]
    assert np.mean([turns.cross for turns in drawn]) == pytest.approx(0.6, abs=0.03)
    cross = [turns.buckets for turns in drawn if turns.cross]
    # Of two corpora of the same weight; by chance a batch is of one with probability 2 ** -11.
    one = [len(set((buckets == 2).tolist())) == 1 for buckets in cross]
    assert np.mean(one) == pytest.approx(0.5, abs=0.03)
    for rows in (one, [not alone for alone in one]):
        chosen = np.concatenate([b for b, mine in zip(cross, rows, strict=True) if mine])
        assert np.bincount(chosen) / len(chosen) == pytest.approx([1 / 6, 1 / 3, 1 / 2], abs=0.04)
    mono = [turns.buckets for turns in drawn if not turns.cross]
    assert all(len(set(buckets.tolist())) == 1 for buckets in mono)
    assert np.mean([buckets[0] == 0 for buckets in mono]) == pytest.approx(0.75, abs=0.04)


def test_timetable_of_another_seed_draws_otherwise() -> None:
    assert seen(timetable(1), 10) != seen(timetable(2), 10)


def test_timetable_of_one_kind_needs_no_buckets_of_the_other() -> None:
    nothing = Buckets(np.zeros(0, np.int64), np.zeros(0), np.zeros(0, np.int64))
    some = Buckets(MONO, np.ones(2), np.arange(2))
    for cross, probability in ((some, 1.0), (nothing, 0.0)):
        section = BatchesSection(pairs=2, cross_probability=probability)
        made = Timetable(cross, some if cross is nothing else nothing, section, 0)
        assert all(made.at(step).cross is (cross is some) for step in range(20))


def test_timetable_far_into_a_run_is_found_soon() -> None:
    made = timetable(pairs=64)
    began = time.process_time()
    far = made.at(100_000)
    assert time.process_time() - began < 5
    began = time.process_time()
    near = made.at(54_321)  # once the counts are kept, a part of them is read again
    assert time.process_time() - began < 1
    for step, drawn in ((100_000, far), (54_321, near)):
        counts = made.counts(step)
        assert sum(int(kind.sum()) for kind in counts) == 64 * step
        assert set(drawn.turns - counts[not drawn.cross][drawn.buckets]) <= set(range(64))


def test_orders_go_through_each_bucket_in_every_epoch() -> None:
    orders = Orders(CROSS, seed=4, kind=0)
    for bucket, size in enumerate(CROSS.tolist()):
        turns = np.arange(6 * size)
        places = orders.places(np.full(len(turns), bucket), turns).reshape(6, size)
        assert (np.sort(places, axis=1) == np.arange(size)).all()
        assert len({tuple(row) for row in places.tolist()}) > 1
    assert orders.places(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)


def test_orders_do_not_depend_on_what_was_asked_before() -> None:
    rng = np.random.default_rng(0)
    buckets, turns = rng.integers(0, 3, 900), rng.integers(0, 200, 900)
    whole = Orders(CROSS, seed=4, kind=0).places(buckets, turns)
    orders = Orders(CROSS, seed=4, kind=0)
    for part in np.array_split(rng.permutation(900), 30):
        assert (orders.places(buckets[part], turns[part]) == whole[part]).all()


def test_orders_differ_by_seed_kind_bucket_and_epoch() -> None:
    def order(seed: int, kind: int, bucket: int, epoch: int) -> tuple[int, ...]:
        sizes = np.array([50, 50])
        turns = np.arange(50) + 50 * epoch
        return tuple(Orders(sizes, seed, kind).places(np.full(50, bucket), turns).tolist())

    keys = [(0, 0, 0, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)]
    assert len({order(*key) for key in keys}) == len(keys)


def test_orders_are_uniform_over_the_permutations() -> None:
    turns = np.arange(3 * 3000)
    places = Orders(np.array([3]), seed=0, kind=0).places(np.zeros_like(turns), turns)
    _, counts = np.unique(places.reshape(-1, 3), axis=0, return_counts=True)
    assert counts / 3000 == pytest.approx([1 / 6] * 6, abs=0.025)
