"""How much of a metric an attack takes away, as a share, with a cluster bootstrap by query id."""

from collections.abc import Sequence

import numpy as np

from app.errors import InvalidInputError
from training.xtyntegra.resampling import Drawing, Estimates, Floats, redraw


def relative_drops(
    query_ids: Sequence[str], clean: Floats, attacked: Floats, drawing: Drawing
) -> Estimates:
    """Estimate 1 - attacked / clean of several metrics, on the same queries.

    Both sums are drawn anew together, so what makes a query hard in both cancels out. Resamples in
    which no query is right before have no ratio and are left out.

    Args:
        query_ids: The cluster of each query.
        clean: A value of each query and metric before, finite, shape (queries, metrics).
        attacked: The same after.
        drawing: How to draw.

    Returns:
        Estimates, one a metric; NaN where the mean before is 0, bounds NaN with fewer than two
        query ids. Below 0 where the attack helped.

    Raises:
        InvalidInputError: If shapes differ, or a value is not finite.

    References:
        Davison and Hinkley 1997, Bootstrap Methods, sections 2.2 (ratios) and 3.8 (clusters).
    """
    if clean.shape != attacked.shape or clean.shape[:1] != (len(query_ids),):
        raise InvalidInputError(
            f"Got {len(query_ids)} queries with values of shapes {clean.shape} and "
            f"{attacked.shape}; expected a row for each query in both."
        )
    joined = np.concatenate([clean, attacked], axis=1, dtype=np.float64)
    if not np.isfinite(joined).all():
        raise InvalidInputError("A value before or under attack is not finite; expected numbers.")
    names, places = np.unique(np.asarray(query_ids, dtype=object).astype(str), return_inverse=True)
    columns = [np.bincount(places, column, len(names)) for column in joined.T]
    sums = np.stack(columns, axis=1).astype(np.float64)
    value = _ratio(joined.mean(axis=0)[None])[0]
    unknown = np.full(len(value), np.nan)
    if len(names) < 2:
        return Estimates(value, unknown, unknown, unknown)
    sizes = np.bincount(places, minlength=len(names)).astype(np.float64)
    ratios = _ratio(redraw(sums, sizes, drawing))  # (resamples, metrics)
    tail = (1.0 - drawing.confidence) / 2
    low, high = unknown.copy(), unknown.copy()
    for metric, column in enumerate(ratios.T):
        there = column[~np.isnan(column)]
        if there.size and np.isfinite(value[metric]):
            low[metric], high[metric] = np.quantile(there, [tail, 1.0 - tail])
    return Estimates(value, low, high, unknown)


def _ratio(means: Floats) -> Floats:
    """1 - attacked / clean of means, (rows, 2 * metrics) to (rows, metrics)."""
    half = means.shape[1] // 2
    before, after = means[:, :half], means[:, half:]
    some = before > 0.0
    return np.where(some, 1.0 - after / np.where(some, before, 1.0), np.nan)
