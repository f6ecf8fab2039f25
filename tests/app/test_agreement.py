import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.robustness.agreement import rank_biased_overlap

RANKINGS = st.lists(st.integers(0, 15), unique=True, max_size=12)


def by_definition(first, second, p):
    """Equation 32 term by term, with overlaps counted anew at each depth."""
    short, long = sorted((first, second), key=len)
    s, l = len(short), len(long)  # noqa: E741 - the paper's letters

    def overlap(depth):
        return len(set(short[:depth]) & set(long[:depth]))

    total = sum(overlap(d) / d * p**d for d in range(1, l + 1))
    total += sum(overlap(s) * (d - s) / (s * d) * p**d for d in range(s + 1, l + 1))
    return (1 - p) / p * total + ((overlap(l) - overlap(s)) / l + overlap(s) / s) * p**l


@given(RANKINGS.filter(len), RANKINGS.filter(len), st.floats(0.05, 0.99))
def test_overlap_is_equation_32(first, second, p):
    found = rank_biased_overlap(first, second, p)
    assert found == pytest.approx(by_definition(first, second, p), abs=1e-12)
    assert -1e-12 <= found <= 1 + 1e-12
    assert found == rank_biased_overlap(second, first, p)


def test_overlap_by_hand():
    # Depth 1: 0 of 1; depth 2: 2 of 2, which is extrapolated: (1 - p) / p * p^2 + p^2 = p.
    assert rank_biased_overlap("ab", "ba", 0.8) == pytest.approx(0.8)


@given(RANKINGS)
def test_overlap_of_equals_is_one_and_of_strangers_zero(ranking):
    assert rank_biased_overlap(ranking, ranking) == pytest.approx(1.0)
    strangers = [item + 100 for item in ranking]
    assert rank_biased_overlap(ranking, strangers) == (0.0 if ranking else 1.0)


def test_overlap_weighs_the_top_most():
    ranking = list(range(20))
    top = [1, 0, *ranking[2:]]
    bottom = [*ranking[:18], 19, 18]
    assert rank_biased_overlap(ranking, top) < rank_biased_overlap(ranking, bottom) < 1.0


def test_overlap_of_a_beginning_is_full():
    assert rank_biased_overlap("abcdefgh", "abc") == pytest.approx(1.0)


def test_overlap_refuses_what_is_no_ranking():
    with pytest.raises(InvalidInputError, match="twice"):
        rank_biased_overlap("aa", "ab")
    with pytest.raises(InvalidInputError, match="persistence"):
        rank_biased_overlap("a", "b", 1.0)
