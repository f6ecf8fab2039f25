"""The shapes that are run where each new shape is slow: lengths in steps, rows in powers of two."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass

from app.encoder.hardware import MOST_ROWS

STEPS = (8, 12, 16, 24, 32, 48, 64, 96)
"""Lengths up to 96; beyond, by 32 up to 256, then again by a half and a third."""


@dataclass(frozen=True, slots=True)
class Buckets:
    """The shapes that are run.

    Attributes:
        lengths: Tokens of a row, ascending; the last holds the longest text.
        max_tokens: Most padded tokens of a run; at least one row of each length is allowed.
    """

    lengths: tuple[int, ...]
    max_tokens: int

    @classmethod
    def up_to(cls, longest: int, max_tokens: int) -> "Buckets":
        """Choose the shapes for texts of up to ``longest`` tokens."""
        lengths = [length for length in _lengths(longest) if length < longest]
        return cls((*lengths, longest), max_tokens)

    def most_rows(self, length: int) -> int:
        """Count the rows of a full run: the largest power of two within the budget."""
        return 1 << (min(max(1, self.max_tokens // length), MOST_ROWS).bit_length() - 1)

    def shape_of(self, rows: int, longest: int) -> tuple[int, int]:
        """Find the least shape that holds so many texts of up to ``longest`` tokens."""
        length = self.lengths[bisect_left(self.lengths, longest)]
        return min(1 << (rows - 1).bit_length(), self.most_rows(length)), length

    def shapes(self) -> list[tuple[int, int]]:
        """List all shapes: the largest, then those that no other exceeds, then by size."""
        found = [
            (1 << power, length)
            for length in self.lengths
            for power in range(self.most_rows(length).bit_length())
        ]
        found.sort(key=lambda shape: shape[0] * shape[1], reverse=True)
        first, last = self.lengths[0], self.lengths[-1]
        # TensorRT builds anew for what lies beyond the shapes seen: let that be over at once.
        corners = [found[0], (self.most_rows(first), first), (1, last), (1, first)]
        return list(dict.fromkeys([*corners, *found]))


def _lengths(longest: int) -> Iterator[int]:
    yield from STEPS
    yield from range(128, 257, 32)
    length = 256
    while length < longest:
        yield from (length + length // 2, 2 * length)
        length *= 2
