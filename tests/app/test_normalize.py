import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.text.normalize import normalize, require_text

# Biased towards what normalization is about: controls, white space, marks that compose.
AWKWARD = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"]),
        st.sampled_from(
            "\x00\x1f\x7f\x85\x9f\t\n\r \u00a0\u2028\u3000aeiou\u0301\u0300\u0327\u1100\u1161"
        ),
    )
)


@settings(deadline=None)
@given(AWKWARD)
def test_normalize_twice_equals_once(text):
    once = normalize(text)
    assert normalize(once) == once


@settings(deadline=None)
@given(AWKWARD)
def test_normalize_any_text_is_composed_and_has_single_spaces(text):
    normalized = normalize(text)
    assert unicodedata.is_normalized("NFC", normalized)
    assert normalized == normalized.strip()
    assert "  " not in normalized
    assert all(c == " " or not c.isspace() for c in normalized)
    assert not any(unicodedata.category(c) == "Cc" for c in normalized)


@settings(deadline=None)
@given(AWKWARD)
def test_normalize_any_text_keeps_what_is_neither_space_nor_control(text):
    def kept(value):
        letters = (c for c in value if unicodedata.category(c) != "Cc" and not c.isspace())
        return unicodedata.normalize("NFD", "".join(letters))

    # Compared without spaces, so that marks reorder alike on both sides.
    assert kept(normalize(text)) == kept(unicodedata.normalize("NFC", normalize(text)))
    assert sorted(kept(normalize(text))) == sorted(kept(text))


def test_normalize_every_assigned_code_point_is_idempotent_and_composed():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        category = unicodedata.category(character)
        if category in ("Cn", "Cs"):
            continue
        normalized = normalize(character)
        if category == "Cc" or character.isspace():
            assert normalized == "", hex(number)
        else:
            assert normalized == unicodedata.normalize("NFC", character), hex(number)
        assert normalize(normalized) == normalized, hex(number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301", "é"),
        ("e\x00\u0301", "é"),
        (" a\t\r\n\u00a0b\u3000", "a b"),
        ("a\x1cb\x85c", "a b c"),
        ("a\x07b", "ab"),
        ("a\u200bb", "a\u200bb"),
        ("Ａ ﬁ İ", "Ａ ﬁ İ"),
        ("\u1112\u1161\u11ab", "한"),
        ("", ""),
    ],
)
def test_normalize_known_text_gives_known_form(text, expected):
    assert normalize(text) == expected


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ude00\ud83d"])
def test_require_text_lone_surrogate_is_refused_by_name_and_place(text):
    with pytest.raises(InvalidInputError, match=r"queries\[2\].*lone surrogate U\+D"):
        require_text(text, "queries[2]")


@pytest.mark.parametrize("text", ["", " ", "\t\n\u3000", "\x00\x1b"])
def test_require_text_nothing_visible_is_refused(text):
    with pytest.raises(InvalidInputError, match=r"text (is empty|has nothing)"):
        require_text(text)


def test_require_text_every_surrogate_is_refused():
    for number in range(0xD800, 0xE000):
        with pytest.raises(InvalidInputError):
            require_text(f"a{chr(number)}")


def test_require_text_good_text_is_normalized():
    assert require_text("  caf\u0065\u0301 ") == "café"
