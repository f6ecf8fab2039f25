"""Random numbers of a step that belong to rows of the whole batch, whoever draws them.

Several processes share a batch; noise that came from a generator of each process would depend on
how many there are. Here a run of rows has a generator of its own, seeded by step, purpose and
place in the whole batch: a process draws the runs that its rows lie in and takes its part of them.
What it trades away: a process may draw up to two runs that it needs a part of only.
"""

from collections.abc import Callable
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from training.passes import Block

RUN = 64  # rows that share a generator: few seeds, and little drawn in vain


class Draws:
    """A stream of random tensors; the same calls bring the same numbers.

    Args:
        key: What the stream belongs to, such as seed and step; numbers from 0.
        first: Row of the whole batch that the first row of each tensor is.
        rows: Rows of the whole batch; 0: as many as a tensor has.
    """

    def __init__(self, *key: int, first: int = 0, rows: int = 0) -> None:
        self._key, self._first, self._rows = key, first, rows
        self._calls = 0

    def of(self, block: Block) -> Self:
        """Begin a stream for the rows of a block."""
        return type(self)(*self._key, self._next(), first=block.first, rows=block.all_rows)

    def fork(self) -> Self:
        """Begin a stream of its own, so that it does not matter how much is drawn from it."""
        return type(self)(*self._key, self._next(), first=self._first, rows=self._rows)

    def uniform(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Draw numbers from 0 to 1, of shape (own rows, ...)."""
        return self._draw(torch.rand, shape, device)

    def normal(self, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Draw numbers of mean 0 and variance 1, of shape (own rows, ...)."""
        return self._draw(torch.randn, shape, device)

    def _next(self) -> int:
        self._calls += 1
        return self._calls

    def _draw(
        self, draw: Callable[..., Any], shape: tuple[int, ...], device: torch.device
    ) -> Tensor:
        call, (own, *rest) = self._next(), shape
        first, rows = self._first, self._rows or self._first + own
        parts = []
        for start in range(first // RUN * RUN, first + own, RUN):
            words = np.random.SeedSequence([*self._key, call, start]).generate_state(1, np.uint64)
            generator = torch.Generator(device).manual_seed(int(words[0]) >> 1)
            # A run is drawn whole: what a part of it would be is up to the library.
            run = draw((min(RUN, rows - start), *rest), generator=generator, device=device)
            parts.append(run[max(0, first - start) : first + own - start])
        return torch.cat(parts) if parts else torch.zeros(shape, device=device)


def spread_rows(block: Block, count: int) -> slice:
    """Choose some ``count`` rows of the whole batch at even distances; returns this process' part.

    Whatever the number of processes, together they get the same rows.
    """
    stride = -(-block.all_rows // max(count, 1))
    return slice(-block.first % stride, None, stride)
