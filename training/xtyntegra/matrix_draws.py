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

    def values(self, figures: Sequence[Figure]) -> tuple[Floats, Floats]:
        """Compute a cell's figure in each draw.

        Args:
            figures: Of its seeds, in order.

        Returns:
            The figure of each draw, shape (resamples,), and of each seed, shape (seeds,).
        """
        top = np.stack([figure.counts for figure in figures])  # (seeds, sentences)
        bottom = np.stack([figure.out_of for figure in figures])
        sentences = self._drawn(top.shape[1])  # (resamples, sentences)
        seeds = self._drawn(len(figures), of=1)  # (resamples, seeds)
        drawn = _divide(
            ((sentences @ top.T) * seeds).sum(axis=1), ((sentences @ bottom.T) * seeds).sum(axis=1)
        )
        each = _divide(top.sum(axis=1), bottom.sum(axis=1))
        return (1 - drawn, 1 - each) if figures[0].complement else (drawn, each)

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
