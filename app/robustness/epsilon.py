"""The least radius at which noise on embeddings breaks a text."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.robustness.aim import Aim
from app.robustness.ball import Ball, Norm
from app.robustness.descent import Descent, push
from app.robustness.inside import TokenRow
from app.robustness.smoothing import Lens


def least_epsilon(
    lens: Lens,
    rows: Sequence[TokenRow],
    aim: Aim,
    epsilons: Sequence[float],
    norm: Norm = "text",
    descent: Descent | None = None,
) -> list[float | None]:
    """Find the least radius of some at which each text breaks: the empirical side of a certificate.

    Returns:
        For each text the least epsilon with a success, or None if it held at all of them.
    """
    found: list[float | None] = [None] * len(rows)
    for epsilon in sorted(epsilons):
        left = [place for place, broken in enumerate(found) if broken is None]
        if not left:
            break
        part = _Part(aim, np.array(left))
        for place, result in zip(
            left,
            push(lens, [rows[n] for n in left], part, Ball(epsilon, norm), descent),
            strict=True,
        ):
            found[place] = epsilon if result.success else None
    return found


class _Part:
    """An aim for some of its texts."""

    def __init__(self, aim: Aim, places: NDArray[np.int64]) -> None:
        self._aim = aim
        self._places = places

    def look(
        self, vectors: NDArray[np.floating], which: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        return self._aim.look(vectors, self._places[which])
