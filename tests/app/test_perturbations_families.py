import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.text.normalize import normalize
from app.text.perturbations.confusable import LOOK_ALIKES
from app.text.perturbations.edits import apply_edits, fits
from app.text.perturbations.passage import Passage, clusters_of
from app.text.perturbations.registry import (
    ANY_SCRIPT,
    FAMILIES,
    family_of,
    perturb,
    proposals,
)
from app.text.script import COMMON, INHERITED, script_of, script_of_character

from .perturbation_texts import ANYTHING, LANGS, MIXED, TEXTS, full_context

EVERY = pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
EVERY_TEXT = pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))


LANG = st.sampled_from([None, *LANGS.values()])


def edits_of(name, text, seed=0, lang=None):
    context = full_context(lang)
    return [p.edit for p in proposals(FAMILIES[name], Passage.of(text), seed, context)]


def test_sample_texts_are_normalized_and_of_their_script():
    assert len(TEXTS) >= 30
    for script, text in TEXTS.items():
        assert normalize(text) == text
        assert script_of(text) == script


@EVERY
@settings(deadline=None)
@given(text=st.one_of(ANYTHING, MIXED), seed=st.integers(0, 3), lang=LANG)
def test_proposals_of_any_text_replay_and_change_what_is_searched(family, text, seed, lang):
    for edit in edits_of(family.name, text, seed, lang):
        assert text[edit.start : edit.end] == edit.before != edit.after
        if not family.reports_undone:
            assert normalize(apply_edits(text, [edit])) != normalize(text)


@EVERY
@settings(deadline=None)
@given(text=st.one_of(ANYTHING, MIXED), lang=LANG)
def test_proposals_of_any_text_keep_to_cluster_boundaries(family, text, lang):
    boundaries = {match.start() for match in regex.finditer(r"\X", text)} | {len(text)}
    for edit in edits_of(family.name, text, 0, lang):
        assert {edit.start, edit.end} <= boundaries


@EVERY
@EVERY_TEXT
def test_proposals_are_determined_by_seed_and_text(family, text):
    first = edits_of(family.name, text, 3, "swh_Latn")
    assert first == edits_of(family.name, text, 3, "swh_Latn")
    assert len(set(first)) == len(first)
    if len(first) > 8:
        assert first != edits_of(family.name, text, 4, "swh_Latn")


@EVERY
@EVERY_TEXT
def test_proposals_exist_only_where_the_family_says_it_acts(family, text):
    acts = family.scripts == ANY_SCRIPT or Passage.of(text).scripts & set(family.scripts)
    if not acts:
        assert edits_of(family.name, text) == []


@pytest.mark.parametrize("name", ["typo", "invisible", "spacing", "bidi", "punctuation"])
@EVERY_TEXT
def test_families_for_any_script_apply_to_every_script(name, text):
    assert len(edits_of(name, text)) >= 2


@EVERY_TEXT
def test_typo_new_letters_are_of_the_script_of_the_word(text):
    for edit in edits_of("typo", text):
        old = {script_of_character(c) for c in text} | {COMMON, INHERITED}
        assert {script_of_character(c) for c in edit.after} <= old


@EVERY_TEXT
def test_typo_leaves_all_other_clusters_whole(text):
    for edit in edits_of("typo", text):
        parts = (text[: edit.start], edit.after, text[edit.end :])
        expected = [cluster for part in parts for cluster in clusters_of(part)]
        assert clusters_of("".join(parts)) == expected


@EVERY_TEXT
def test_typo_has_every_kind_of_slip(text):
    edits = edits_of("typo", text)
    assert any(not edit.after for edit in edits)
    assert any(not edit.before and edit.after in text for edit in edits)
    assert any(len(edit.after) == len(edit.before) > 0 for edit in edits)
    swapped = [e for e in edits if e.before and sorted(e.before) == sorted(e.after)]
    assert swapped


def test_typo_in_devanagari_never_has_a_latin_letter():
    for edit in edits_of("typo", TEXTS["Deva"]):
        assert not any("LATIN" in unicodedata.name(c) for c in edit.after)


def test_typo_in_latin_mistakes_letters_for_their_neighbors_on_the_keyboard():
    edits = [e for e in edits_of("typo", "g") if e.before == "g"]
    assert edits
    assert {e.after for e in edits} <= set("ftyhbv")


def test_typo_in_hangul_changes_one_jamo():
    changed = [e for e in edits_of("typo", "강물") if e.before == "강" and len(e.after) == 1]
    changed = [e for e in changed if e.after not in "강물"]
    for edit in changed:
        before, after = (ord(syllable) - ord("가") for syllable in (edit.before, edit.after))
        jamo = [(code // 588, code % 588 // 28, code % 28) for code in (before, after)]
        assert sum(a != b for a, b in zip(*jamo, strict=True)) == 1
    assert changed


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("é", "e"),
        ("ế", "ê"),
        ("ế", "é"),
        ("й", "и"),
        ("έ", "ε"),
        ("أ", "ا"),
        ("بَ", "ب"),
        ("ड़", "ड"),
        ("น้", "น"),
        ("が", "か"),
        ("e", "é"),
        ("ا", "اَ"),
    ],
)
def test_diacritics_known_letter_has_known_change(text, after):
    seeds = range(40)
    assert after in {edit.after for seed in seeds for edit in edits_of("diacritics", text, seed)}


@pytest.mark.parametrize("text", ["கி", "ति", "ក្ត", "ሰ", "水", "한"])
def test_diacritics_vowel_signs_and_syllables_are_not_touched(text):
    assert edits_of("diacritics", text) == []


def test_confusable_table_is_symmetric_and_changes_code_points():
    for letter, others in LOOK_ALIKES.items():
        assert letter not in others
        assert all(letter in LOOK_ALIKES[other] for other in others)
        assert unicodedata.is_normalized("NFC", letter)


def test_confusable_devanagari_is_not_applicable():
    assert edits_of("confusable", TEXTS["Deva"]) == []


def test_invisible_inserts_format_characters_alone():
    for text in TEXTS.values():
        for edit in edits_of("invisible", text):
            assert not edit.before
            assert unicodedata.category(edit.after) == "Cf"


@pytest.mark.parametrize("script", ["Deva", "Arab", "Mong", "Taml"])
def test_invisible_where_letters_join_has_no_joiners(script):
    added = {edit.after for seed in range(9) for edit in edits_of("invisible", TEXTS[script], seed)}
    assert added
    assert not added & {"\u200c", "\u200d"}


@EVERY_TEXT
def test_case_changes_nothing_but_case(text):
    for edit in edits_of("case", text):
        assert edit.before.casefold() == edit.after.casefold()


@EVERY_TEXT
def test_spacing_changes_nothing_but_spaces(text):
    for edit in edits_of("spacing", text):
        assert (edit.before, edit.after) in {("", " "), (" ", "")}


@EVERY
@EVERY_TEXT
def test_perturb_within_budget_replays(family, text):
    for edits in range(4):
        perturbed, done = perturb(text, family, edits, seed=1)
        assert len(done) <= edits
        assert apply_edits(text, done) == perturbed
        assert all(fits(edit, [e for e in done if e != edit]) for edit in done)
        assert (perturbed == text) == (not done)


def test_proposals_of_several_words_touch_all_of_them_first():
    passage = Passage.of(TEXTS["Latn"])
    first = proposals(FAMILIES["typo"], passage, 0)[: len(passage.words)]
    assert {proposal.word for proposal in first} == set(range(len(passage.words)))


def test_passage_burmese_vowel_sign_stays_with_its_consonant():
    assert [c.text for c in Passage.of("လာ").clusters] == ["လာ"]


def test_passage_words_are_runs_of_letters():
    words = Passage.of("Don't  stop, ok? 12").words
    assert ["".join(c.text for c in word) for word in words] == ["Don", "t", "stop", "ok"]


def test_passage_hangul_fillers_are_no_letters():
    assert [len(word) for word in Passage.of("a\u3164 b\u115f").words] == [1, 1]


def test_family_of_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidInputError, match=r"'typos' is unknown.*typo, diacritics"):
        family_of("typos")
