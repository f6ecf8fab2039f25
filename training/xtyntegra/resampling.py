"""Intervals for many means at a time, by drawing whole query ids anew (cluster bootstrap).

The estimator and the draws are those of ``app.robustness.bootstrap``, to the last draw; here the
number of times that each id was drawn is a matrix, so that hundreds of languages cost one product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.bootstrap import RESAMPLES

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
_CACHED = 2048
"""Ids up to which the draws are kept: 33 MB at 2,000 resamples."""
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Drawing:
    """How intervals are drawn.

    Attributes:
        seed: Of the draws.
        resamples: How often to draw.
        confidence: Of the percentile intervals.
    """

    seed: int = 0
    resamples: int = RESAMPLES
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class Estimates:
    """Means of several columns with their intervals, shape (columns,) each.

    Attributes:
        value: The means.
        low: Lower bounds; NaN with fewer than two query ids.
        high: Upper bounds; NaN likewise.
        p_value: Two-sided, of the hypothesis that the true mean is 0; NaN likewise.
    """

    value: Floats
    low: Floats
    high: Floats
    p_value: Floats


class Clusters:
    """The query ids of some cells, and how much each of their queries weighs.

    Args:
        cells: Query ids of each cell. Each cell weighs the same, however many queries it has.

    Raises:
        InvalidInputError: If there is no cell, or one without queries.
    """

    def __init__(self, cells: Sequence[Sequence[str]]) -> None:
        if not cells or not all(map(len, cells)):
            raise InvalidInputError("Got no cell, or one without queries; expected some in each.")
        # Cells of parallel corpora share one tuple of ids; it is looked at once.
        distinct = {id(ids): ids for ids in cells}
        names = sorted({name for ids in distinct.values() for name in ids}, key=repr)
        place = {name: row for row, name in enumerate(names)}
        rows = {key: np.array([place[name] for name in ids]) for key, ids in distinct.items()}
        self._rows = [rows[id(ids)] for ids in cells]
        self._weights = [1.0 / (len(cells) * len(ids)) for ids in cells]
        self.count = len(names)
        """Distinct ids."""
        self._totals = np.zeros(self.count)  # weight of each id
        for found, weight in zip(self._rows, self._weights, strict=True):
            self._totals += weight * np.bincount(found, minlength=self.count)

    def estimate(self, values: Sequence[Floats], drawing: Drawing) -> Estimates:
        """Estimate the mean over cells of the means over queries.

        Args:
            values: One array a cell, finite, shape (queries, columns).
            drawing: How to draw.

        Returns:
            One estimate a column.

        References:
            Davison and Hinkley 1997, Bootstrap Methods, sections 3.8, 4.2 and 5.3.
        """
        sums = np.zeros((self.count, values[0].shape[1]))  # (ids, columns)
        for rows, weight, block in zip(self._rows, self._weights, values, strict=True):
            if len(block) != len(rows) or not np.isfinite(block).all():
                raise InvalidInputError(
                    f"Got values of shape {block.shape} for {len(rows)} queries; expected one "
                    "finite number for each and column."
                )
            for column, numbers in enumerate(block.T):
                sums[:, column] += weight * np.bincount(rows, numbers, self.count)
        value = sums.sum(axis=0) / self._totals.sum()
        if self.count < 2:
            unknown = np.full(len(value), np.nan)
            return Estimates(value, unknown, unknown, unknown)
        means = redraw(sums, self._totals, drawing)  # (resamples, columns)
        tail = (1.0 - drawing.confidence) / 2
        low, high = np.quantile(means, [tail, 1.0 - tail], axis=0)
        fewer = np.minimum((means <= 0.0).sum(axis=0), (means >= 0.0).sum(axis=0))
        p_value = np.minimum(1.0, 2.0 * (fewer + 1) / (drawing.resamples + 1))
        return Estimates(value, low, high, p_value)

    def ratio(
        self, parts: Sequence[Floats], wholes: Sequence[Floats], drawing: Drawing
    ) -> Estimates:
        """Estimate the mean over cells of each cell's sum of parts over its sum of wholes.

        Args:
            parts: One array a cell, finite, shape (queries,).
            wholes: Likewise, not negative. A cell whose wholes are all 0, in the sample or in a
                resample, has no ratio there and is left out of the mean.
            drawing: How to draw.

        Returns:
            One estimate; all NaN if no cell has a ratio. There is no p-value.

        References:
            Davison and Hinkley 1997, Bootstrap Methods, sections 2.2 (ratios) and 3.8.
        """
        columns: list[Floats] = [
            np.bincount(rows, numbers, self.count).astype(np.float64)
            for side in (parts, wholes)
            for rows, numbers in zip(self._rows, side, strict=True)
        ]
        sums = np.stack(columns, axis=1)  # (ids, 2 cells)
        value = _mean_ratio(sums.sum(axis=0)[None])
        unknown = np.full(1, np.nan)
        if self.count < 2 or np.isnan(value[0]):
            return Estimates(value, unknown, unknown, unknown)
        means = _mean_ratio(redraw(sums, np.ones(self.count), drawing))  # (resamples,)
        tail = (1.0 - drawing.confidence) / 2
        low, high = np.nanquantile(means, [tail, 1.0 - tail])
        return Estimates(value, np.array([low]), np.array([high]), unknown)


def _mean_ratio(sums: Floats) -> Floats:
    """Mean over cells of parts over wholes, (rows, 2 cells) to (rows,); NaN if none has one."""
    parts, wholes = np.split(sums, 2, axis=1)
    there = wholes > 0.0
    ratios = np.where(there, parts / np.where(there, wholes, 1.0), 0.0)
    cells = there.sum(axis=1)
    return np.where(cells > 0, ratios.sum(axis=1) / np.maximum(cells, 1), np.nan)


def redraw(sums: Floats, totals: Floats, drawing: Drawing) -> Floats:
    """Draw ids anew, and average.

    Args:
        sums: Of the values of each id, weighted as wished, shape (ids, columns).
        totals: Of the weights of each id, shape (ids,).
        drawing: How to draw.

    Returns:
        Mean of each column in each resample, shape (resamples, columns).
    """
    joined = np.column_stack([sums, totals])
    if len(sums) <= _CACHED:
        drawn = _counts(len(sums), drawing.seed, drawing.resamples) @ joined
    else:
        bits = np.random.Philox(key=drawing.seed)
        size = max(1, _BLOCK // len(sums))
        drawn = np.concatenate(
            [
                _draw(bits, len(sums), min(size, drawing.resamples - start)) @ joined
                for start in range(0, drawing.resamples, size)
            ]
        )
    return drawn[:, :-1] / drawn[:, -1:]


@lru_cache(maxsize=4)
def _counts(clusters: int, seed: int, resamples: int) -> Floats:
    return _draw(np.random.Philox(key=seed), clusters, resamples)


def _draw(bits: np.random.Philox, clusters: int, resamples: int) -> Floats:
    """How often each id is drawn in each resample, shape (resamples, clusters)."""
    raw = bits.random_raw(resamples * clusters).reshape(resamples, clusters)
    # The upper 32 bits times n, over 2**32, as in app.robustness.bootstrap.
    drawn = ((raw >> np.uint64(32)) * np.uint64(clusters) >> np.uint64(32)).astype(np.int64)
    drawn += np.arange(resamples)[:, None] * clusters
    counts = np.bincount(drawn.ravel(), minlength=resamples * clusters)
    return counts.reshape(resamples, clusters).astype(np.float64)
