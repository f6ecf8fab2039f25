"""Pooled distillation: both sides of a pair are drawn to a frozen teacher's vector of the English.

The teacher knows what is similar in English; bitext carries that to other languages, so that a
query lands near documents that are about the same and not only near its own translation. What it
trades away: the student can be no better than the teacher on English, and only pairs with an
English side that was encoded beforehand count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class TeacherVectors:
    """The teacher's vectors of some texts.

    Attributes:
        vectors: Unit rows, shape (encoded, dim).
        row_of: Row of each text of the corpora, or -1, shape (texts,).
    """

    vectors: Tensor
    row_of: NDArray[np.int64]

    def find(self, texts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Look texts up.

        Returns:
            Positions in ``texts`` of those that were encoded, shape (found,), and their vectors,
            shape (found, dim).
        """
        rows = self.row_of[texts]
        positions = np.flatnonzero(rows >= 0)
        return torch.from_numpy(positions), self.vectors[torch.from_numpy(rows[positions])]


def pooled_distillation(sides: Sequence[Tensor], positions: Tensor, targets: Tensor) -> Tensor:
    """Sum over the sides of the mean of 1 - cos(student, teacher).

    For unit vectors this is half the squared distance that the source minimizes.

    Args:
        sides: Unit rows of each side of the batch, shape (pairs, dim) each.
        positions: Pairs whose English side the teacher has encoded, shape (found,).
        targets: The teacher's unit rows of them, shape (found, dim).

    Returns:
        A scalar; 0 if there are no targets.

    References:
        Reimers and Gurevych 2020, equation 1, https://arxiv.org/abs/2004.09813.
    """
    if not len(positions):
        return sides[0].new_zeros(())
    losses = [1.0 - (side[positions] * targets).sum(dim=1).mean() for side in sides]
    return torch.stack(losses).sum()
