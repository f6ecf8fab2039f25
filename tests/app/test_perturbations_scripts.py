import pytest

from app.text.normalize import normalize
from app.text.perturbations.context import Context
from app.text.perturbations.edits import apply_edits
from app.text.perturbations.family import lacking, why_not
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import FAMILIES, proposals
from app.text.perturbations.romanize import knows, romanize, spell
from app.text.perturbations.scripts import NATIVE, SECOND
from app.text.script import SCRIPTS, script_of, script_of_character

from .perturbation_texts import TEXTS


def texts_of(name, text, lang=None):
    found = proposals(FAMILIES[name], Passage.of(text), 0, Context(lang=lang))
    return [apply_edits(text, [proposal.edit]) for proposal in found]


@pytest.mark.parametrize(
    ("word", "latin"),
    [
        ("Москва", "Moskva"),
        ("ελλάδα", "ellada"),
        ("नमस्ते", "namaste"),
        ("नदी", "nadi"),
        ("पानी", "pani"),
        ("தமிழ்", "tamizh"),
        ("ನೀರು", "niru"),
        ("தண்ணீர்", "tannir"),
        ("কর", "kor"),
        ("ከተማ", "ketema"),
        ("ⴰⵎⴰⵏ", "aman"),
        ("きょうと", "kyouto"),
        ("がっこう", "gakkou"),
        ("しゃしん", "shashin"),
        ("コーヒー", "kohi"),
        ("한국", "hanguk"),
        ("서울", "seoul"),
        ("北京", "beijing"),
        ("เขา", "khea"),
        ("მდინარე", "mdinare"),
        ("water", "water"),
    ],
)
def test_romanize_known_word_has_known_spelling(word, latin):
    assert romanize(word) == latin


def test_romanize_brief_leaves_out_weak_vowels():
    assert romanize("कमला") == "kamala"
    assert romanize("कमला", brief=True) == "kamla"


@pytest.mark.parametrize(
    ("word", "script", "spelled"),
    [
        ("voda", "Cyrl", "вода"),
        ("zdravo", "Cyrl", "здраво"),
        ("namaste", "Deva", "नमस्ते"),
        ("kaise", "Deva", "कैसे"),
        ("maji", "Arab", "ماجي"),
        ("sakura", "Hira", "さくら"),
        ("kyouto", "Hira", "きょうと"),
        ("selam", "Ethi", "ሠላም"),
        ("aman", "Tfng", "ⴰⵎⴰⵏ"),
        ("nero", "Grek", "νερο"),
        ("naïve", "Cyrl", "наиве"),
        ("x7", "Cyrl", ""),
        ("water", "Hani", ""),
    ],
)
def test_spell_known_word_has_known_spelling(word, script, spelled):
    assert spell(word, script) == spelled


@pytest.mark.parametrize("script", [s for s in NATIVE if s in TEXTS])
def test_romanization_writes_the_whole_text_in_latin_letters(script):
    found = texts_of("romanization", TEXTS[script])
    assert found
    for text in found:
        assert script_of(text) == "Latn"
        assert normalize(text) == text
        assert {script_of_character(c) for c in text if c.isalpha()} == {"Latn"}


def test_romanization_types_punctuation_on_the_latin_keyboard():
    assert texts_of("romanization", "أين الماء؟") == ["ayn alma?"]
    assert texts_of("romanization", "ཆུ་གཙང་མ།")[0] == "chu gtsng m."


def test_romanization_of_latin_text_is_not_applicable():
    assert texts_of("romanization", TEXTS["Latn"]) == []
    assert "It acts on Cyrl, Grek" in why_not(FAMILIES["romanization"], Context(), 0)


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        ("gde je voda", "srp_Latn", "где је вода"),
        ("suv qayerda", "uzn_Latn", "сув кайерда"),
        ("namaste", "hin_Deva", "नमस्ते"),
        ("aman", "kab_Latn", "ⴰⵎⴰⵏ"),
    ],
)
def test_native_script_brings_latin_letters_to_the_other_script(text, lang, expected):
    (found,) = texts_of("native_script", text, lang)
    assert script_of(found) == script_of(expected)
    assert found.split()[0] == expected.split()[0]


def test_native_script_without_lang_says_so():
    assert texts_of("native_script", "gde je voda") == []
    assert lacking(FAMILIES["native_script"], Context()) == ("lang",)
    reason = why_not(FAMILIES["native_script"], Context(), 0)
    assert reason == "native_script needs the lang of the query."


def test_native_script_of_a_language_without_another_one_is_not_applicable():
    assert texts_of("native_script", "wie komme ich zum Fluss", "deu_Latn") == []
    reason = why_not(FAMILIES["native_script"], Context(lang="deu_Latn"), 0)
    assert "must have another script" in reason


def test_mixed_script_writes_words_halves_and_letters_in_latin():
    found = texts_of("mixed_script", "чистая вода")
    assert {"chistaya вода", "чистая voda", "чистая воda", "чистая вoда"} <= set(found)
    assert all(script != "" for script in map(script_of, found))


def test_mixed_script_brings_latin_words_to_the_script_around_them():
    found = texts_of("mixed_script", "вода kola")
    assert "вода кола" in found


def test_mixed_script_of_latin_text_needs_a_lang_with_another_script():
    assert texts_of("mixed_script", "gde je voda") == []
    assert "gde je вода" in texts_of("mixed_script", "gde je voda", "srp_Latn")


def test_second_scripts_are_known_and_can_be_spelled():
    for script in SECOND.values():
        assert script in SCRIPTS
        assert knows(script)
        assert spell("kala", script)


def test_native_scripts_can_be_romanized():
    assert all(map(knows, NATIVE))
