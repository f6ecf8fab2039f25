"""Places to cut a text: in grapheme clusters, words, sentences; normalized part by part."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text.borders import CLUSTER, SENTENCE, WORD, Border, borders
from app.text.normalize import normalize

AWKWARD = (
    "a\x00\u0301\u0327 \n\t\u1100\u1161\u11a8\u09c7\u09be\u0b47\u0b56\u200d\x85.\u3002"
    "\u0958\uac00\U000110a7"
)
TEXTS = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(AWKWARD)),
    min_size=1,
    max_size=80,
)


def test_borders_stand_at_words_and_sentences() -> None:
    assert borders("  Hi there.\x00 «No!» a\nb ") == [
        Border(0, 0, 2, SENTENCE),
        Border(3, 4, 5, WORD),
        Border(10, 12, 13, SENTENCE),
        Border(16, 18, 19, SENTENCE),
        Border(18, 20, 21, SENTENCE),
        Border(19, 22, 23, SENTENCE),
    ]


def test_borders_inside_a_long_word_keep_letters_whole() -> None:
    text = "ក្ខ" * 3 + "。e\u0301" + "日本" * 6
    inside = borders(text)[1:-1]
    assert {border.strength for border in inside} == {CLUSTER, SENTENCE}
    assert [border.start for border in inside if border.strength == SENTENCE] == [10]
    assert 11 not in {border.start for border in inside}  # between e and its accent


@settings(max_examples=500, deadline=None)
@given(TEXTS)
def test_parts_between_borders_are_normalized_as_in_the_whole(text: str) -> None:
    whole = normalize(text)
    if not whole:
        return
    found = borders(text)
    assert (found[0].at, found[-1].at) == (0, len(whole))
    for left, right in itertools.pairwise(found):
        assert left.at < right.at
        assert normalize(text[left.start : right.end]) == whole[left.at : right.at].rstrip(" ")


@pytest.mark.parametrize("text", ["x", "\x00x\x00", " x "])
def test_borders_of_one_letter_are_its_ends(text: str) -> None:
    assert [border.at for border in borders(text)] == [0, 1]
