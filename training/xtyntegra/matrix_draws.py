"""Intervals over seeds and sentences at once, and paired differences between cells.

Runs of one seed see the same pairs in the same order as far as their batches are alike, and all
runs answer the same sentences, so both are drawn once for all cells: a difference of two cells is
taken within each draw. With three seeds the draws over seeds are coarse; the standard deviation
over seeds is reported beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.matrix_measures import Figure

Floats = NDArray[np.float64]
_TOGETHER = 256
"""Cells whose figures are drawn in one product."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over seeds and sentences with its 95% interval.

    Attributes:
        value: The mean.
        low: Of the percentile interval.
        high: Of the percentile interval.
        p_value: Two-sided, that the true value is 0.
        spread: Standard deviation over seeds; 0 for one.
    """

    value: float
    low: float
    high: float
    p_value: float
    spread: float


@dataclass(slots=True)
class Draws:
    """Seeds and sentences drawn with replacement.

    Args:
        resamples: How often to draw.
        seed: Of the draws.
    """

    resamples: int = 2000
    seed: int = 0
    _weights: dict[int, Floats] = field(default_factory=dict)
    _known: dict[tuple[int, ...], tuple[Sequence[Figure], Floats, Floats]] = field(
        default_factory=dict
    )

    def prepare(self, cells: Sequence[Sequence[Figure]]) -> None:
        """Compute the figures of many cells in few products, and keep them.

        Args:
            cells: Of each its seeds' figures, as ``values`` takes them.
        """
        alike: dict[tuple[int, int], list[Sequence[Figure]]] = {}
        for figures in cells:
            if tuple(map(id, figures)) not in self._known:
                alike.setdefault((len(figures[0].counts), len(figures)), []).append(figures)
        for (sentences, seeds), group in alike.items():
            for start in range(0, len(group), _TOGETHER):
                self._compute(group[start : start + _TOGETHER], sentences, seeds)

    def _compute(self, group: Sequence[Sequence[Figure]], sentences: int, seeds: int) -> None:
        top = np.stack([one.counts for figures in group for one in figures], axis=1)
        bottom = np.stack([one.out_of for figures in group for one in figures], axis=1)
        weights, drawn_seeds = self._drawn(sentences), self._drawn(seeds, of=1)
        shape = (self.resamples, len(group), seeds)
        sums = [((weights @ side).reshape(shape)) for side in (top, bottom)]
        for place, figures in enumerate(group):
            tops, bottoms = ((side[:, place] * drawn_seeds).sum(axis=1) for side in sums)
            drawn = _divide(tops, bottoms)
            own = slice(place * seeds, (place + 1) * seeds)
            each = _divide(top[:, own].sum(axis=0), bottom[:, own].sum(axis=0))
            if figures[0].complement:
                drawn, each = 1 - drawn, 1 - each
            # The figures are kept too: an id is only theirs as long as they live.
            self._known[tuple(map(id, figures))] = (figures, drawn, each)

    def values(self, figures: Sequence[Figure]) -> tuple[Floats, Floats]:
        """Compute a cell's figure in each draw.

        Args:
            figures: Of its seeds, in order.

        Returns:
            The figure of each draw, shape (resamples,), and of each seed, shape (seeds,).
        """
        self.prepare([figures])
        _, drawn, each = self._known[tuple(map(id, figures))]
        return drawn, each

    def estimate(self, figures: Sequence[Figure]) -> Estimate:
        """Estimate a cell's figure."""
        return _estimate(*self.values(figures))

    def difference(self, first: Sequence[Figure], second: Sequence[Figure]) -> Estimate:
        """Estimate ``second`` less ``first``, both of the same seeds in the same order."""
        before, after = self.values(first), self.values(second)
        return _estimate(after[0] - before[0], after[1] - before[1])

    def _drawn(self, count: int, of: int = 0) -> Floats:
        """Return how often each of ``count`` is drawn, (resamples, count)."""
        key = 2 * count + of
        if key not in self._weights:
            rng = np.random.default_rng([self.seed, key])
            even = np.full(count, 1.0 / count)
            self._weights[key] = rng.multinomial(count, even, self.resamples).astype(np.float64)
        return self._weights[key]


def _divide(top: Floats, bottom: Floats) -> Floats:
    return top / np.where(bottom > 0, bottom, 1.0)


def _estimate(drawn: Floats, each: Floats) -> Estimate:
    low, high = np.quantile(drawn, [0.025, 0.975])
    tail = min(int((drawn <= 0.0).sum()), int((drawn >= 0.0).sum()))
    return Estimate(
        value=float(each.mean()),
        low=float(low),
        high=float(high),
        p_value=min(1.0, 2.0 * (tail + 1) / (len(drawn) + 1)),
        spread=float(each.std(ddof=1)) if len(each) > 1 else 0.0,
    )
