"""Which texts to run together: the split by length that costs least.

A run costs its fixed overhead plus rows times longest row, both counted in tokens. Texts sorted by
length are cut into contiguous groups; dynamic programming over the distinct lengths finds the
cheapest cut exactly (a group over the budget counts as the runs it takes).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from app.encoder.buckets import Buckets


@dataclass(frozen=True, slots=True)
class Cost:
    """What runs cost.

    Attributes:
        overhead_tokens: Fixed cost of one run, in tokens.
        max_tokens: Most padded tokens in a run; a single longer text runs alone.
        buckets: The shapes that runs are padded to, if not to their longest text alone.
    """

    overhead_tokens: float = 64.0
    max_tokens: int = 1024
    buckets: Buckets | None = None

    def padded(self, length: int) -> int:
        """Count the tokens that a text of so many takes if it is the longest of its run."""
        return length if self.buckets is None else self.buckets.shape_of(1, length)[1]

    def most_rows(self, longest: int) -> int:
        """Count the texts of a full run of texts padded to ``longest`` tokens."""
        if self.buckets is None:
            return max(1, self.max_tokens // longest)
        return self.buckets.most_rows(longest)


def cheapest_run(lengths: Sequence[int], cost: Cost) -> list[int]:
    """Choose the run to do now: of the cheapest split, the run that holds the first text.

    Args:
        lengths: Tokens of each text, the oldest first; all positive.
        cost: What runs cost.

    Returns:
        Positions of the texts to run, the oldest among them; empty if there are no texts.
    """
    if not lengths:
        return []
    lengths = [cost.padded(length) for length in lengths] if cost.buckets else lengths
    waste = len(lengths) * max(lengths) - sum(lengths)
    if waste <= cost.overhead_tokens and len(lengths) <= cost.most_rows(max(lengths)):
        return list(range(len(lengths)))  # any second run costs more than all the padding
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    oldest = lengths[0]
    shortest, longest = _group_of(oldest, lengths, cost)
    rows = cost.most_rows(longest)
    group = [position for position in order if shortest <= lengths[position] <= longest]
    # Over budget: the run of that many neighbors around the oldest, leaning to its own length.
    at = group.index(0)
    first = min(at, max(0, len(group) - rows))
    return group[first : first + rows]


def _group_of(oldest: int, lengths: Sequence[int], cost: Cost) -> tuple[int, int]:
    """Find the shortest and longest length of the group that holds the oldest text."""
    counts = Counter(lengths)
    distinct = sorted(counts)
    # Texts shorter than each distinct length, and their tokens.
    before = [0, *accumulate(counts[length] for length in distinct)]
    tokens = [0, *accumulate(counts[length] * length for length in distinct)]
    best, start_of = [0.0], [0]
    for end, longest in enumerate(distinct, 1):
        per_run = cost.most_rows(longest)
        least, chosen = math.inf, end - 1
        for start in range(end - 1, -1, -1):
            rows = before[end] - before[start]
            padded = rows * longest
            # Nothing costs less than its tokens; and a longer group only wastes more.
            if tokens[start] + padded + cost.overhead_tokens >= least:
                break
            total = best[start] + -(-rows // per_run) * cost.overhead_tokens + padded
            if total < least:
                least, chosen = total, start
        best.append(least)
        start_of.append(chosen)
    end = len(distinct)
    while distinct[start_of[end]] > oldest:
        end = start_of[end]
    return distinct[start_of[end]], distinct[end - 1]
