from itertools import pairwise

import pytest

from app.text.dictionaries import Entry
from app.text.lexicon import Lexicon
from app.text.perturbations.context import Context
from app.text.perturbations.edits import apply_edits
from app.text.perturbations.family import lacking, why_not
from app.text.perturbations.passage import Passage, clusters_of
from app.text.perturbations.registry import FAMILIES, proposals
from app.text.perturbations.units import is_unspaced, units_of

from .perturbation_texts import TEXTS

WORDS = Lexicon.of(
    [
        Entry("eng_Latn", "water", "swh_Latn", "maji"),
        Entry("eng_Latn", "water", "fra_Latn", "eau"),
        Entry("eng_Latn", "water", "tha_Thai", "น้ำ"),
        Entry("eng_Latn", "drinking water", "swh_Latn", "maji ya kunywa"),
        Entry("eng_Latn", "river", "swh_Latn", "mto"),
        Entry("eng_Latn", "stream", "swh_Latn", "mto"),
        Entry("eng_Latn", "big", "eng_Latn", "large"),
        Entry("eng_Latn", "stream", "swh_Latn", "kijito"),
        Entry("eng_Latn", "eat", "swh_Latn", "kula"),
        Entry("eng_Latn", "eat", "swh_Latn", "la"),
    ]
)
EVERY_TEXT = pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))


def texts_of(name, text, **known):
    found = proposals(FAMILIES[name], Passage.of(text), 0, Context(**known))
    return {apply_edits(text, [proposal.edit]) for proposal in found}


def units(text):
    return [text[start:end] for start, end in units_of(Passage.of(text))]


@EVERY_TEXT
def test_units_are_in_order_and_cut_no_cluster(text):
    spans = units_of(Passage.of(text))
    starts = {0}
    for cluster in clusters_of(text):
        starts.add(max(starts) + len(cluster))
    assert spans
    assert all(start < end for start, end in spans)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert {offset for span in spans for offset in span} <= starts


@EVERY_TEXT
def test_units_leave_out_nothing_but_what_stands_between_words(text):
    left = text
    for start, end in reversed(units_of(Passage.of(text))):
        left = left[:start] + left[end:]
    assert not any(character.isalpha() for character in left)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("l'eau, s'il vous plaît", ["l'eau", "s'il", "vous", "plaît"]),
        ("把河水变成", ["把河", "水变", "成"]),
        ("パンをカウ", ["パン", "を", "カウ"]),
        ("コーヒー", ["コーヒー"]),
        ("แม่น้ำเย็น", ["แม่น้ำ", "เย็น"]),
        ("မြစ်ရေ", ["မြစ်", "ရေ"]),
        ("ཆུ་གཙང", ["ཆུ", "གཙང"]),
        ("12 buckets", ["buckets"]),
    ],
)
def test_units_of_known_texts(text, expected):
    assert units(text) == expected


def test_is_unspaced_tells_scripts_without_spaces():
    assert is_unspaced("水")
    assert is_unspaced("ーa")
    assert not is_unspaced("water")


def test_word_order_swaps_words_at_most_two_apart():
    assert texts_of("word_order", "maji ya mto") == {"ya maji mto", "maji mto ya", "mto ya maji"}


def test_word_order_of_a_word_alone_is_not_applicable():
    assert texts_of("word_order", "maji") == set()


@EVERY_TEXT
def test_word_order_keeps_all_characters(text):
    for changed in texts_of("word_order", text):
        assert sorted(changed) == sorted(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("maji ya mto?", {"ya mto?", "maji mto?", "maji ya?"}),
        ("ཆུ་གཙང་མ", {"གཙང་མ", "ཆུ་མ", "ཆུ་གཙང"}),
        ("maji", set()),
        ("把河水变", {"水变", "把河"}),
    ],
)
def test_word_deletion_takes_what_parts_the_word_along(text, expected):
    assert texts_of("word_deletion", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("maji ya", {"maji maji ya", "maji ya ya"}),
        ("把河水变", {"把河把河水变", "把河水变水变"}),
        ("水", {"水水"}),
        ("ཆུ་མ", {"ཆུ་ཆུ་མ", "ཆུ་མ་མ"}),
    ],
)
def test_word_repetition_parts_words_as_the_text_does(text, expected):
    assert texts_of("word_repetition", text) == expected


def test_code_switch_replaces_words_by_their_translations():
    found = texts_of("code_switch", "Water of the river", lang="eng_Latn", lexicon=WORDS)
    assert found == {
        "Maji of the river",
        "Eau of the river",
        "น้ำ of the river",
        "Water of the mto",
    }


def test_code_switch_to_wanted_languages_alone():
    known = {"lang": "eng_Latn", "lexicon": WORDS, "switch_to": frozenset({"fra_Latn"})}
    assert texts_of("code_switch", "water of the river", **known) == {"eau of the river"}


def test_code_switch_takes_the_longest_phrase():
    found = texts_of("code_switch", "drinking water", lang="eng_Latn", lexicon=WORDS)
    assert found == {"maji ya kunywa"}


def test_code_switch_in_a_script_without_spaces_finds_words():
    found = texts_of("code_switch", "น้ำ", lang="tha_Thai", lexicon=WORDS)
    assert found == {"water"}


@pytest.mark.parametrize("lang", [None, "deu_Latn"])
def test_code_switch_without_the_language_is_not_applicable(lang):
    assert texts_of("code_switch", "water", lang=lang, lexicon=WORDS) == set()


def test_code_switch_names_what_it_lacks():
    family = FAMILIES["code_switch"]
    assert lacking(family, Context()) == ("lang", "dictionary")
    assert why_not(family, Context(lang="swh_Latn"), 0) == "code_switch needs a dictionary."
    known = Context(lang="deu_Latn", lexicon=WORDS)
    assert "none of its words" in why_not(family, known, 0)


def test_synonym_of_its_own_language_comes_from_the_dictionary():
    assert texts_of("synonym", "a big house", lang="eng_Latn", lexicon=WORDS) == {"a large house"}


def test_synonym_of_another_language_shares_an_english_word():
    found = texts_of("synonym", "samaki wa mto", lang="swh_Latn", lexicon=WORDS)
    assert found == {"samaki wa kijito"}


def test_token_neighbor_takes_the_words_that_it_is_given():
    near = {"maji": ("bahari", "mto"), "ya": ()}
    found = texts_of("token_neighbor", "maji ya", token_neighbors=lambda word: near[word])
    assert found == {"bahari ya", "mto ya"}


def test_token_neighbor_without_an_encoder_is_not_applicable():
    assert texts_of("token_neighbor", "maji ya") == set()
    assert "neighbors of words" in why_not(FAMILIES["token_neighbor"], Context(), 0)


def test_edits_that_add_more_than_there_is_room_for_are_left_out():
    text = "water of the river"
    known = {"lang": "swh_Latn", "lexicon": WORDS}
    assert texts_of("code_switch", "la", **known) == {"eat"}
    assert texts_of("code_switch", "la", most_added=0, **known) == set()
    for changed in texts_of("word_repetition", text, most_added=4):
        assert len(changed) - len(text) <= 4
    assert len(texts_of("word_repetition", text, most_added=4)) == 2
