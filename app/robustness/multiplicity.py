"""Many cells, one report: which of the differences are more than chance.

Of a hundred cells (languages by attacks) without any effect, five have a p-value under 0.05. What
is controlled here is the share of false ones among the cells that are called significant.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError


def adjust_p_values(p_values: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Adjust p-values for their number: call those under q significant, and q bounds the falsehood.

    Valid for independent cells and for such as are positively dependent, which cells of the same
    queries are as a rule.

    Args:
        p_values: One for each cell, 0 to 1, shape (cells,).

    Returns:
        Adjusted p-values in the same order; never below the raw ones, order kept.

    Raises:
        InvalidInputError: If one is not from 0 to 1.

    References:
        Benjamini and Hochberg 1995, https://doi.org/10.1111/j.2517-6161.1995.tb02031.x.
    """
    found = np.asarray(p_values, dtype=np.float64)
    if found.ndim != 1 or not ((found >= 0.0) & (found <= 1.0)).all():
        raise InvalidInputError(
            f"Got p-values of shape {found.shape} that are not all from 0 to 1; expected a row of "
            "such: leave out cells without one."
        )
    falling = np.argsort(-found, kind="stable")
    ranks = np.arange(len(found), 0, -1)
    scaled = np.minimum.accumulate(found[falling] * len(found) / ranks) if found.size else found
    adjusted = np.empty_like(found)
    adjusted[falling] = np.minimum(scaled, 1.0)
    return adjusted
