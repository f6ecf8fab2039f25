"""Each pair of a bucket once before any of them twice, though any step can be asked for alone.

The bucket of each pair of a batch is drawn by weight. Which of the bucket's pairs it is follows
from a count: how often the bucket was drawn before. A bucket is gone through in a random order, and
then in another one: once through is an epoch, of this bucket. Buckets have epochs of their own, for
small languages are drawn more often than their size says.

All steps draw from one stream of random numbers, a fixed part of it each. So the counts at any step
are found by reading the stream up to there (a thousand steps of 2,048 pairs take some 30 ms), and a
batch is a function of (seed, step) alone. What it trades away: four bytes in memory for each pair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.buckets import Buckets
from training.collation import Ints, within_runs
from training.config import BatchesSection

BATCHES_VERSION = 2
"""Of how a seed becomes batches; 1 drew pairs with replacement. A run resumes with its own only."""

KEPT_EVERY = 1000  # steps between counts that are kept
_AT_ONCE = 1 << 20  # random numbers that are in memory at a time
_BUCKETS, _ORDERS = 1, 2  # what random numbers are for


@dataclass(frozen=True, slots=True)
class Turns:
    """What is drawn at a step.

    Attributes:
        cross: Whether the batch is cross-lingual.
        buckets: Bucket of each pair, shape (pairs,).
        turns: How often that bucket was drawn before, shape (pairs,).
    """

    cross: bool
    buckets: Ints
    turns: Ints


class Timetable:
    """Says of any step which buckets it draws, and how often each was drawn before."""

    def __init__(self, cross: Buckets, mono: Buckets, batches: BatchesSection, seed: int) -> None:
        """Take the buckets of both kinds of batches; a kind that is never drawn may have none."""
        self._cross, self._mono, self._batches, self._seed = cross, mono, batches, seed
        nothing = np.zeros(len(cross) + len(mono), np.int64)
        self._kept = [nothing]  # counts before steps 0, KEPT_EVERY, 2 KEPT_EVERY, ...
        self._latest = (0, nothing)

    def at(self, step: int) -> Turns:
        """Draw a step (from 0)."""
        before = self._before(step)
        cross, found = self._draw(step, step + 1)
        buckets = found[0]
        counts = np.bincount(buckets, minlength=len(before))
        rank = np.empty_like(buckets)
        rank[np.argsort(buckets, kind="stable")] = within_runs(counts)
        turns = before[buckets] + rank
        self._keep(step + 1, before + counts)
        own = bool(cross[0])
        return Turns(own, buckets if own else buckets - len(self._cross), turns)

    def counts(self, step: int) -> tuple[Ints, Ints]:
        """Count how often each bucket is drawn before a step.

        Returns:
            Of cross-lingual and of monolingual batches, each of shape (buckets,).
        """
        found = self._before(step)
        return found[: len(self._cross)], found[len(self._cross) :]

    def _before(self, step: int) -> Ints:
        place = min(step // KEPT_EVERY, len(self._kept) - 1)
        at, counts = place * KEPT_EVERY, self._kept[place]
        if at <= self._latest[0] <= step:
            at, counts = self._latest
        most = max(1, _AT_ONCE // self._batches.pairs)
        while at < step:
            stop = min(step, at + most, (at // KEPT_EVERY + 1) * KEPT_EVERY)
            found = self._draw(at, stop)[1]
            counts = counts + np.bincount(found.ravel(), minlength=len(counts))
            self._keep(at := stop, counts)
        return counts

    def _keep(self, step: int, counts: Ints) -> None:
        self._latest = (step, counts)
        if step == len(self._kept) * KEPT_EVERY:
            self._kept.append(counts)

    def _draw(self, start: int, stop: int) -> tuple[NDArray[np.bool_], Ints]:
        """Draw steps: whether each is cross-lingual, and buckets of shape (steps, pairs).

        Buckets of monolingual batches are numbered after those of cross-lingual ones.
        """
        config, steps = self._batches, stop - start
        width = 3 + config.pairs  # numbers of a step, whatever comes of them
        key = np.random.SeedSequence(self._seed, spawn_key=(_BUCKETS,))
        stream = np.random.Generator(np.random.PCG64(key).advance(start * width))
        points = stream.random((steps, width))
        cross = points[:, 0] < config.cross_probability
        single = points[:, 1] < config.single_corpus
        found = np.empty((steps, config.pairs), np.int64)
        for buckets, mine, one, offset in (
            (self._cross, cross, single, 0),
            (self._mono, ~cross, ~cross, len(self._cross)),  # of one language, always
        ):
            if mine.any():
                rows = points if mine.all() else points[mine]
                like = np.where(one[mine], buckets.locate(rows[:, 2]), -1)
                found[mine] = buckets.draw(rows[:, 3:], like) + offset
        return cross, found


class Orders:
    """Goes through buckets in random orders, a new one each time that a bucket is through.

    An order is a function of (seed, kind, bucket, epoch); the last one of each bucket is kept.
    """

    def __init__(self, sizes: Ints, seed: int, kind: int) -> None:
        """Start.

        Args:
            sizes: Of the buckets, shape (buckets,).
            seed: Of the run.
            kind: Sets these buckets apart from others of the run.
        """
        self._sizes, self._seed, self._kind = sizes, seed, kind
        self._starts = np.cumsum(sizes) - sizes
        self._order = np.empty(int(sizes.sum()), np.int32)
        self._epoch = np.full(len(sizes), -1, np.int64)  # whose order is kept

    def places(self, buckets: Ints, turns: Ints) -> Ints:
        """Say which one of its bucket each is.

        Args:
            buckets: Shape (pairs,).
            turns: How often the bucket was drawn before, shape (pairs,).

        Returns:
            Places from 0 to below the bucket's size, shape (pairs,).
        """
        epochs, turn = np.divmod(turns, self._sizes[buckets])
        at = self._starts[buckets] + turn
        found = self._order[at].astype(np.int64)
        other = np.flatnonzero(epochs != self._epoch[buckets])
        if not len(other):
            return found
        other = other[np.lexsort((epochs[other], buckets[other]))]
        new = (np.diff(buckets[other]) != 0) | (np.diff(epochs[other]) != 0)
        for run in np.split(other, np.flatnonzero(new) + 1):
            self._shuffle(int(buckets[run[0]]), int(epochs[run[0]]))
            found[run] = self._order[at[run]]
        return found

    def _shuffle(self, bucket: int, epoch: int) -> None:
        key = np.random.SeedSequence(self._seed, spawn_key=(_ORDERS, self._kind, bucket, epoch))
        start, size = self._starts[bucket], self._sizes[bucket]
        self._order[start : start + size] = np.random.default_rng(key).permutation(size)
        self._epoch[bucket] = epoch
