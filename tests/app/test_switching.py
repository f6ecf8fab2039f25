"""Known words in a text of any script, and how their replacements are written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.text.dictionaries import Entry
from app.text.lexicon import Lexicon
from app.text.perturbations.edits import apply_edits
from app.text.perturbations.passage import clusters_of
from app.text.switching import Occurrence, Switches, write_switch

ENTRIES = (
    Entry("eng_Latn", "railway station", "deu_Latn", "Bahnhof"),
    Entry("eng_Latn", "railway", "zho_Hans", "铁路"),
    Entry("eng_Latn", "station", "swh_Latn", "kituo"),
    Entry("eng_Latn", "small-pox", "swh_Latn", "ndui"),
    Entry("eng_Latn", "pox", "swh_Latn", "tetekuwanga"),
    Entry("eng_Latn", "don't", "fra_Latn", "ne"),
    Entry("eng_Latn", "don", "spa_Latn", "señor"),
    Entry("eng_Latn", "school", "zho_Hans", "学校"),
    Entry("eng_Latn", "school", "tha_Thai", "โรงเรียน"),
    Entry("eng_Latn", "big", "zho_Hans", "大"),
    Entry("eng_Latn", "crow", "tha_Thai", "กา"),
    Entry("eng_Latn", "water", "hin_Deva", "पानी"),
    Entry("eng_Latn", "water", "tur_Latn", "su"),
)
NASTY = (
    Entry("eng_Latn", "a", "xxx_Deva", "\u093e\u0915"),  # begins with a vowel sign
    Entry("eng_Latn", "b", "xxx_Deva", "क्"),  # ends in a virama
    Entry("eng_Latn", "c", "xxx_Latn", "x\u200d"),  # ends in a joiner
    Entry("eng_Latn", "d", "xxx_Kore", "\u1161"),  # a medial jamo alone
    Entry("eng_Latn", "e", "xxx_Arab", "\u0600"),  # a mark that takes in what follows
    Entry("eng_Latn", "f", "xxx_Latn", "\U0001f1e9"),  # half a flag
    Entry("eng_Latn", "क", "eng_Latn", "ka"),
    Entry("eng_Latn", "가", "eng_Latn", "나"),
)


@pytest.fixture(scope="module")
def switches() -> Switches:
    return Switches(Lexicon.of(ENTRIES))


def known(switches: Switches, text: str, lang: str) -> list[str]:
    return [text[found.start : found.end] for found in switches.occurrences(text, lang)]


def first_word(switches: Switches, found: Occurrence) -> str:
    return switches.lexicon.word(found.neighbors[0])[0]


def rewritten(switches: Switches, text: str, lang: str) -> str:
    """The text with the first neighbor of each known word."""
    edits = [
        write_switch(text, found, first_word(switches, found))
        for found in switches.occurrences(text, lang)
    ]
    return apply_edits(text, [edit for edit in edits if edit])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The railway station.", ["railway station"]),
        ("RAILWAY  Station", ["RAILWAY  Station"]),
        ("railway, station", ["railway", "station"]),
        ("(station)/railway", ["station", "railway"]),
        ("stations; railways", []),
        ("small-pox, small pox", ["small-pox", "pox"]),
        ("I don't; I don’t; Don Juan", ["don't", "don’t", "Don"]),
        ("", []),
        ("... !", []),
    ],
)
def test_occurrences_are_the_longest_known_phrases(
    switches: Switches, text: str, words: list[str]
) -> None:
    assert known(switches, text, "eng_Latn") == words


@pytest.mark.parametrize(
    ("text", "lang", "words"),
    [
        ("我去学校学习，学校！", "zho_Hans", ["学校", "学校"]),
        ("大学生", "zho_Hans", []),  # a single character is no word within a line
        ("大，学生", "zho_Hans", ["大"]),  # but it is one between marks
        ("iPhone学校", "zho_Hans", ["学校"]),
        ("ฉันไปโรงเรียน", "tha_Thai", ["โรงเรียน"]),
        ("การบ้าน", "tha_Thai", []),
        ("กา", "tha_Thai", ["กา"]),
        ("मुझे पानी, चाहिए", "hin_Deva", ["पानी"]),
        ("학교", "kor_Hang", []),
    ],
)
def test_occurrences_in_other_scripts(
    switches: Switches, text: str, lang: str, words: list[str]
) -> None:
    assert known(switches, text, lang) == words


def test_occurrences_have_neighbors_of_the_wanted_languages_alone() -> None:
    switches = Switches(Lexicon.of(ENTRIES), languages=("swh_Latn",))
    (found,) = switches.occurrences("railway station", "eng_Latn")
    words = [switches.lexicon.word(number) for number in found.neighbors]
    assert (found.start, words) == (8, [("kituo", "swh_Latn")])


def test_occurrences_through_a_language_reach_beyond_it() -> None:
    switches = Switches(Lexicon.of(ENTRIES), languages=("tur_Latn",), through="eng_Latn")
    (found,) = switches.occurrences("पानी", "hin_Deva")
    assert [switches.lexicon.word(number) for number in found.neighbors] == [("su", "tur_Latn")]


@pytest.mark.parametrize(
    ("text", "lang", "expected"),
    [
        ("“Railway station”, he said.", "eng_Latn", "“Bahnhof”, he said."),
        ("Station & STATION", "eng_Latn", "Kituo & Kituo"),
        ("At school: water", "eng_Latn", "At 学校: पानी"),
        ("我去学校学习", "zho_Hans", "我去 school 学习"),
        ("学校", "zho_Hans", "school"),
        ("iPhone学校。", "zho_Hans", "iPhone school。"),
        ("पानी।", "hin_Deva", "water।"),
    ],
)
def test_write_switch_keeps_capitals_marks_and_words_apart(
    switches: Switches, text: str, lang: str, expected: str
) -> None:
    assert rewritten(switches, text, lang) == expected


def test_write_switch_keeps_a_word_that_has_no_capital_of_one_letter() -> None:
    switches = Switches(Lexicon.of([Entry("eng_Latn", "now", "afr_Latn", "ŉ")]))
    assert rewritten(switches, "Now", "eng_Latn") == "ŉ"


@settings(deadline=None, max_examples=60)
@given(
    st.text(st.sampled_from("abcdefabcdef किक् 가각\u0301\u200d\u093f\U0001f1e9ᄀ\u0600’-大学"))
    | st.text()
)
def test_switches_cut_and_join_no_grapheme_cluster(text: str) -> None:
    switches = Switches(Lexicon.of((*ENTRIES, *NASTY)))
    expected: list[str] = []
    done = 0
    edits = []
    for found in switches.occurrences(text, "eng_Latn"):
        edit = write_switch(text, found, first_word(switches, found))
        if edit is None:
            continue
        edits.append(edit)
        expected += (*clusters_of(text[done : edit.start]), *clusters_of(edit.after))
        done = edit.end
        assert sum(map(len, clusters_of(text)[: len(clusters_of(text[: edit.start]))])) == (
            edit.start
        )
    expected += clusters_of(text[done:])
    assert clusters_of(apply_edits(text, edits)) == expected
