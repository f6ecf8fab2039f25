import unicodedata

import pytest

from app.text.perturbations.composing import slips
from app.text.perturbations.context import Context
from app.text.perturbations.keyboards import KEYS, is_mark, keyboard_of
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import FAMILIES, proposals
from app.text.script import script_of_character
from app.text.tables import read_table

from .perturbation_texts import TEXTS

TABLE = read_table("keyboards")


def keyboard(lang, script):
    found = keyboard_of(lang, script)
    assert found is not None
    return found


def substitutes(text, lang=None, seeds=20):
    """What the letters of a text are mistaken for, over some seeds."""
    context = Context(lang=lang)
    found = set()
    for seed in range(seeds):
        for proposal in proposals(FAMILIES["typo"], Passage.of(text), seed, context):
            edit = proposal.edit
            if edit.before and len(edit.after) == len(edit.before) == 1:
                found.add((edit.before, edit.after))
    return found


def test_typo_has_keyboards_for_at_least_30_scripts():
    typed = {
        script
        for script in TABLE["scripts"]
        if any(not is_mark(c) and near for c, near in keyboard(None, script).around.items())
    }
    assert len(typed) >= 30
    assert typed == set(TABLE["scripts"])


def test_typo_in_at_least_30_scripts_mistakes_letters_for_neighbors_on_their_keyboard():
    found = set()
    for script, text in TEXTS.items():
        near = keyboard_of(None, script)
        pairs = substitutes(text, seeds=2) if near else ()
        if near and any(after in near.around.get(before, "") for before, after in pairs):
            found.add(script)
    assert len(found) >= 30


@pytest.mark.parametrize(
    ("lang", "script", "letter", "near"),
    [
        (None, "Latn", "g", "fhtyvb"),
        ("rus_Cyrl", "Cyrl", "п", "аренми"),
        ("ukr_Cyrl", "Cyrl", "і", "цуичвф"),
        ("hin_Deva", "Deva", "क", "रतगदसख"),
        ("arb_Arab", "Arab", "ب", "يليقفرؤ"),
        ("fra_Latn", "Latn", "q", "aszw"),
        ("deu_Latn", "Latn", "y", "xas"),
        ("ell_Grek", "Grek", "α", "σςζ"),
    ],
)
def test_keyboard_of_a_language_has_its_neighbors(lang, script, letter, near):
    around = keyboard(lang, script).around[letter]
    assert set(around) & set(near)
    assert letter not in around
    assert len(set(around)) == len(around)


def test_keyboard_of_french_is_azerty_and_of_english_is_qwerty():
    assert "z" in keyboard("fra_Latn", "Latn").around["a"]
    assert "z" in keyboard("eng_Latn", "Latn").around["a"]
    assert "e" in keyboard("fra_Latn", "Latn").around["z"]
    assert "e" not in keyboard("eng_Latn", "Latn").around["z"]


@pytest.mark.parametrize(
    ("lang", "name"),
    [
        ("fra_Latn", "fr"),
        ("deu_Latn", "de"),
        ("yor_Latn", "ng(yoruba)"),
        ("pes_Arab", "ir"),
        ("xyz_Latn", "us"),
        (None, "us"),
        ("ckb_Arab", "ir(ku_ara)"),
    ],
)
def test_keyboard_of_a_language_is_its_own_or_the_usual_one(lang, name):
    assert keyboard(lang, lang[4:] if lang else "Latn").name == name


def test_keyboard_of_a_script_without_one_is_none():
    assert keyboard_of("zho_Hans", "Hani") is None
    assert keyboard_of(None, "Egyp") is None


def test_keyboard_neighbors_touch_both_ways_but_for_those_behind_altgr():
    for script in TABLE["scripts"]:
        found = keyboard(None, script)
        layout = TABLE["layouts"][found.name]
        for character in (layout["plain"] + layout.get("shift", "")).replace(" ", ""):
            assert all(character in found.around[other] for other in found.around[character])


def test_keyboard_letter_behind_altgr_is_near_the_plain_one_of_its_key():
    # Togo's layout has it on the key of r, beside that of ɖ.
    around = keyboard("ewe_Latn", "Latn").around
    assert {"r", "ɖ"} <= set(around["ɛ"])
    assert "ɛ" not in around["r"]


@pytest.mark.parametrize(
    ("lang", "letters"),
    [("hau_Latn", "ɗ"), ("yor_Latn", "ẹọṣ"), ("ibo_Latn", "ịọụ"), ("bam_Latn", "ɛɔŋ")],
)
def test_keyboard_has_the_letters_that_its_language_adds(lang, letters):
    assert set(letters) <= set(keyboard(lang, "Latn").around)


def test_table_layouts_have_a_character_or_a_space_for_each_key():
    for layout in TABLE["layouts"].values():
        for level in (value for key, value in layout.items() if key != "script"):
            assert len(level) == len(KEYS)
            assert all(c == " " or unicodedata.category(c)[0] in "LM" for c in level)


def test_table_names_only_layouts_that_it_has():
    for target in (TABLE["languages"], TABLE["scripts"]):
        for code, name in target.items():
            assert TABLE["layouts"][name]["script"] == code[-4:]


def test_typo_in_french_and_english_differs_by_keyboard():
    assert ("a", "q") in substitutes("a", "fra_Latn") & substitutes("a", "eng_Latn")
    assert ("q", "a") in substitutes("q", "fra_Latn")
    assert ("z", "e") in substitutes("z", "fra_Latn")
    assert ("z", "e") not in substitutes("z", "eng_Latn")


def test_typo_in_devanagari_mistakes_vowel_signs_within_their_cluster():
    after = {
        p.edit.after
        for seed in range(20)
        for p in proposals(FAMILIES["typo"], Passage.of("कि"), seed)
    }
    changed = {a for a in after if len(a) == 2 and a[0] == "क" and a[1] != "ि"}
    assert changed
    assert all(is_mark(a[1]) for a in changed)


def test_typo_in_yoruba_mistakes_letters_with_marks_for_plain_neighbors():
    context = Context(lang="yor_Latn")
    after = {
        p.edit.after
        for seed in range(20)
        for p in proposals(FAMILIES["typo"], Passage.of("ọ̀"), seed, context)
        if p.edit.before
    }
    assert after
    assert after <= set(keyboard("yor_Latn", "Latn").around["ọ"])


def test_typo_in_hiragana_mistakes_letters_for_hiragana_on_neighboring_keys():
    near = keyboard(None, "Hira").around["カ"]
    found = {after for before, after in substitutes("か") if before == "か"}
    assert found
    assert found <= {chr(ord(c) - 0x60) for c in near}


def test_slips_in_chinese_are_frequent_homophones():
    assert "城" in slips("成", "Hani")
    assert "成" not in slips("成", "Hani")
    assert all(script_of_character(c) == "Hani" for c in slips("成", "Hani"))


def test_slips_in_chinese_characters_are_those_of_their_writing():
    assert "时" in slips("实", "Hani")
    assert "時" in slips("實", "Hani")
    assert "时" not in slips("實", "Hani")
    assert "時" in slips("実", "Hani", "Jpan")
    assert "时" not in slips("実", "Hani", "Jpan")


def test_slips_in_korean_change_one_jamo_to_its_neighbor():
    # ㄱ lies between ㄷ and ㅅ, ㅏ between ㅓ and ㅣ; Shift makes ㄲ.
    assert set(slips("가", "Hang")) >= {"다", "사", "까", "거", "기"}
    assert "나" not in slips("가", "Hang")


def test_slips_in_ethiopic_change_the_vowel():
    assert slips("መ", "Ethi") == ("ሙ", "ሚ", "ማ", "ሜ", "ም", "ሞ")


def test_slips_in_scripts_typed_by_keys_are_none():
    assert slips("a", "Latn") == ()
