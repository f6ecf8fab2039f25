from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.encoder.split import Cost, cheapest_run

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=9)


def cost_of(lengths: list[int], cuts: tuple[int, ...], cost: Cost) -> float:
    """Cost of sorted lengths cut at the places given."""
    total = 0.0
    for first, last in pairwise((0, *cuts, len(lengths))):
        group = lengths[first:last]
        runs = -(-len(group) // max(1, cost.max_tokens // group[-1]))
        total += runs * cost.overhead_tokens + len(group) * group[-1]
    return total


def best_by_trying_all(lengths: list[int], cost: Cost) -> float:
    # Texts of one length never part, unless the budget parts them.
    places = [n for n in range(1, len(lengths)) if lengths[n - 1] != lengths[n]]
    choices = [
        tuple(place for bit, place in enumerate(places) if chosen >> bit & 1)
        for chosen in range(2 ** len(places))
    ]
    return min(cost_of(lengths, cuts, cost) for cuts in choices)


def test_cheapest_run_no_texts_is_empty() -> None:
    assert cheapest_run([], Cost()) == []


@pytest.mark.parametrize(
    ("lengths", "overhead", "expected"),
    [
        ([5, 100, 5, 5], 10, {0, 2, 3}),  # padding three texts by 95 costs more than a run
        ([100, 5, 5, 5], 10, {0}),  # the oldest is served first, though alone
        ([5, 6, 7], 100, {0, 1, 2}),  # a run costs more than padding
        ([5, 6, 7], 0, {0}),  # a run costs nothing
    ],
)
def test_cheapest_run_weighs_padding_against_runs(
    lengths: list[int], overhead: float, expected: set[int]
) -> None:
    assert set(cheapest_run(lengths, Cost(overhead, max_tokens=1000))) == expected


@given(LENGTHS, st.sampled_from([0.0, 3.0, 30.0]), st.sampled_from([8, 64, 1000]))
def test_cheapest_run_repeated_serves_each_text_once_at_the_least_cost(
    lengths: list[int], overhead: float, max_tokens: int
) -> None:
    cost = Cost(overhead, max_tokens)
    left = list(range(len(lengths)))
    spent = 0.0
    while left:
        run = [left[position] for position in cheapest_run([lengths[n] for n in left], cost)]
        longest = max(lengths[n] for n in run)
        assert left[0] in run
        assert len(run) == 1 or longest * len(run) <= max_tokens
        spent += overhead + longest * len(run)
        left = [n for n in left if n not in run]

    assert spent <= best_by_trying_all(sorted(lengths), cost) + 1e-6
