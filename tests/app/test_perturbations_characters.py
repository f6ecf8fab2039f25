import unicodedata

import pytest

from app.text.normalize import normalize
from app.text.perturbations import diacritics, ocr
from app.text.perturbations.confusable import LOOK_ALIKES, SCRIPTS, rare_look_alikes
from app.text.perturbations.context import Context
from app.text.perturbations.edits import apply_edits
from app.text.perturbations.family import why_not
from app.text.perturbations.forms import SCRIPTS as FORM_SCRIPTS
from app.text.perturbations.passage import Passage, clusters_of
from app.text.perturbations.registry import FAMILIES, proposals
from app.text.script import COMMON, INHERITED, script_of_character

from .perturbation_texts import TEXTS

UNICODE_14 = pytest.mark.skipif(
    unicodedata.unidata_version != "14.0.0", reason="this Python knows another version of Unicode"
)
EVERY_TEXT = pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))


def edits_of(name, text, seed=0, lang=None):
    context = Context(lang=lang)
    return [p.edit for p in proposals(FAMILIES[name], Passage.of(text), seed, context)]


def texts_of(name, text, lang=None, seeds=1):
    return {
        apply_edits(text, [e]) for seed in range(seeds) for e in edits_of(name, text, seed, lang)
    }


def as_shown(text):
    """Lay out a text with one level of controls as a reader of left-to-right text sees it."""
    out, turned = [], None
    for character in text:
        if character == "\u202e":
            turned = []
        elif character == "\u202c" and turned is not None:
            out += reversed(clusters_of("".join(turned)))
            turned = None
        elif unicodedata.category(character) == "Cf":
            continue
        elif turned is not None:
            turned.append(character)
        else:
            out.append(character)
    return "".join(out)


def test_bidi_shows_the_text_as_before():
    for script in ("Latn", "Cyrl", "Grek", "Ethi"):
        for text in texts_of("bidi", TEXTS[script]):
            assert as_shown(text) == TEXTS[script]


@EVERY_TEXT
def test_bidi_adds_controls_and_keeps_all_clusters(text):
    for changed in texts_of("bidi", text):
        plain = "".join(c for c in changed if unicodedata.category(c) != "Cf")
        shown = "".join(c for c in text if unicodedata.category(c) != "Cf")
        assert sorted(clusters_of(plain)) == sorted(clusters_of(shown))
        assert len(changed) - len(text) in (1, 2)


@pytest.mark.parametrize("script", ["Arab", "Deva", "Syrc", "Mong", "Nkoo", "Adlm", "Thai"])
def test_bidi_where_letters_join_turns_nothing_round(script):
    for edit in edits_of("bidi", TEXTS[script]):
        assert not set(edit.after) & {"\u202e", "\u202d"}


def test_form_full_width_word_is_the_word_to_nfkc():
    found = texts_of("form", "safe water")
    assert "ｓａｆｅ water" in found
    for text in found:
        assert unicodedata.normalize("NFKC", text) == "safe water" != normalize(text)


@pytest.mark.parametrize(
    ("text", "form"),
    [("fi", "ﬁ"), ("パン", "パﾝ"), ("가", "ㄱㅏ"), ("ب", "ﺏ")],
)
def test_form_known_letters_have_known_forms(text, form):
    assert form in texts_of("form", text, seeds=12)


def test_form_decomposed_letters_are_undone_by_normalization_and_reported():
    edits = edits_of("form", "かぎ")
    assert [edit.after for edit in edits] == ["き\u3099"]
    assert normalize(apply_edits("かぎ", edits)) == "かぎ"
    assert "undone by normalization" in why_not(FAMILIES["form"], Context(), len(edits))


@UNICODE_14
def test_form_scripts_are_all_that_have_forms():
    letters = [chr(code) for code in range(0x12000) if unicodedata.category(chr(code))[0] in "LM"]
    composed = [c for c in letters if unicodedata.is_normalized("NFC", c)]
    apart = {script_of_character(c) for c in composed if not unicodedata.is_normalized("NFD", c)}
    assert apart - {COMMON, INHERITED} <= set(FORM_SCRIPTS)


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        ("पानी 5 लीटर", None, "पानी ५ लीटर"),
        ("पानी ५ लीटर", None, "पानी 5 लीटर"),
        ("ماء 12", None, "ماء ١٢"),
        ("ماء 12", None, "ماء ۱۲"),
        ("room 307", "tha_Thai", "room ๓๐๗"),
        ("room 307", None, "room ３０７"),
    ],
)
def test_digits_known_number_has_known_digits(text, lang, expected):
    assert expected in texts_of("digits", text, lang)


def test_digits_keep_their_values():
    text = "12 bottles of 1.5 litres, ٣ bags"
    for edit in edits_of("digits", text):
        values = [[unicodedata.decimal(c) for c in part] for part in (edit.before, edit.after)]
        assert values[0] == values[1]


def test_digits_without_a_number_are_not_applicable():
    assert edits_of("digits", "no number") == []
    assert why_not(FAMILIES["digits"], Context(), 0).endswith("It has no number.")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Wapi?", {"Wapi", "Wapi؟"}),
        ("أين؟", {"أين", "أين?"}),
        ("ውሃ", {"ውሃ።", "ውሃ፧"}),
        ("水在哪里", {"水在哪里？"}),
        ("maji , mto", {"maji mto"}),
        ("maji mto", {"maji, mto"}),
        ("नदी कहाँ है ।", {"नदी कहाँ है"}),
    ],
)
def test_punctuation_known_text_has_known_changes(text, expected):
    assert expected <= texts_of("punctuation", text, seeds=20)


@EVERY_TEXT
def test_punctuation_changes_no_letter(text):
    for changed in texts_of("punctuation", text):
        assert [c for c in changed if c.isalnum()] == [c for c in text if c.isalnum()]


def test_ocr_groups_are_normalized_and_of_their_script():
    for script, groups in ocr.GROUPS.items():
        for group in groups.split("|"):
            members = group.split(" ")
            assert len(members) == len(set(members)) >= 2
            for member in members:
                assert normalize(member) == member
                found = {script_of_character(c) for c in member}
                assert found <= {script, COMMON, INHERITED}, (script, member)
                assert member.isdecimal() or len(clusters_of(member)) <= 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("modern", "modem"),
        ("clean", "dean"),
        ("cat", "eat"),
        ("ביתר", "ביתד"),
        ("土", "士"),
        ("บ", "ป"),
    ],
)
def test_ocr_known_text_has_known_readings(text, expected):
    assert expected in texts_of("ocr", text, seeds=12)


def test_confusable_rare_look_alikes_are_letters_in_one_group():
    table = rare_look_alikes()
    assert len(table) > 1000
    for letter, others in table.items():
        assert letter.isalpha()
        assert letter not in others
        assert unicodedata.is_normalized("NFKC", letter)
    assert set(map(script_of_character, (*table, *LOOK_ALIKES))) <= set(SCRIPTS)


@pytest.mark.parametrize(
    ("text", "after"),
    [("ɓata", "bata"), ("Đà Nẵng", "Da Nẵng"), ("қала", "кала"), ("ọkọ̀", "oko")],
)
def test_diacritics_word_typed_without_its_marks(text, after):
    assert after in texts_of("diacritics", text)


@UNICODE_14
def test_diacritics_scripts_are_those_of_all_marks_that_can_be_lost():
    blocks = (range(0x300, 0x2000), range(0xA600, 0xAC00), range(0x10A00, 0x12000))
    marks = (chr(code) for block in (*blocks, range(0x1E900, 0x1E960)) for code in block)
    owners = {script_of_character(c) for c in marks if unicodedata.combining(c) in diacritics.LOST}
    known = {*diacritics.COMPOSED, *diacritics.ADDED, *diacritics.NUKTAS, *owners}
    assert known - {COMMON, INHERITED} == set(diacritics.SCRIPTS)
    assert len(diacritics.SCRIPTS) == len(set(diacritics.SCRIPTS))
