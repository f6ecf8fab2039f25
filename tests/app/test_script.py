import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.text.script import (
    SCRIPTS,
    Language,
    parse_lang,
    script_of,
    script_of_character,
)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("hello", "Latn"),
        ("привет", "Cyrl"),
        ("नमस्ते दुनिया", "Deva"),
        ("வணக்கம்", "Taml"),
        ("สวัสดี", "Thai"),
        ("ሰላም", "Ethi"),
        ("سلام", "Arab"),
        ("ⴰⵣⵓⵍ", "Tfng"),
        ("你好", "Hani"),
        ("안녕", "Hang"),
        ("សួស្តី", "Khmr"),
        ("ᱡᱚᱦᱟᱨ", "Olck"),
        ("ߌ ߣߌ ߗߍ", "Nkoo"),
        ("東京タワービル", "Kana"),
        ("ab привет", "Cyrl"),
        ("ab вг", "Latn"),
        ("e\u0301\u0301\u0301 д", "Latn"),
        ("123 !?", "Zyyy"),
        ("", "Zyyy"),
    ],
)
def test_script_of_text_gives_script_of_most_letters(text, script):
    assert script_of(text) == script


def test_script_of_character_every_assigned_letter_has_a_script():
    letters = (chr(n) for n in range(sys.maxunicode + 1) if unicodedata.category(chr(n))[0] == "L")
    sampled = [c for i, c in enumerate(letters) if i % 17 == 0]
    assert len(sampled) > 5000
    assert not [c for c in sampled if script_of_character(c) == "Zzzz"]


def test_scripts_are_distinct():
    assert len(SCRIPTS) == len(set(SCRIPTS)) > 160


@settings(deadline=None)
@given(st.from_regex(r"[a-z]{3}_[A-Z][a-z]{3}", fullmatch=True))
def test_parse_lang_well_formed_code_round_trips(code):
    assert str(parse_lang(code)) == code


@pytest.mark.parametrize(
    "code", ["", "yor", "yor-Latn", "yo_Latn", "YOR_Latn", "yor_latn", "yor_Latn\n", "yor_Latn "]
)
def test_parse_lang_malformed_code_is_refused(code):
    with pytest.raises(InvalidInputError, match="yor_Latn"):
        parse_lang(code)


def test_language_scripts_of_japanese_are_three():
    assert parse_lang("jpn_Jpan").scripts == {"Hani", "Hira", "Kana"}
    assert Language("yor", "Latn").scripts == {"Latn"}
