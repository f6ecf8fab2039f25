"""Dictionaries on disk, and the lexicon that is read from them."""

import gzip
import pickle
from pathlib import Path

import pytest

from app.errors import InvalidInputError
from app.text.dictionaries import Entry, fold, read_entries
from app.text.lexicon import Lexicon

LINES = (
    "# animals",
    "eng_Latn\tdog\tdeu_Latn\tHund",
    "",
    "eng_Latn\tdog\tswh_Latn\tmbwa",
    "eng_Latn\tguide dog\tdeu_Latn\tBlindenhund",
    "eng_Latn\tdog\teng_Latn\thound",
    "eng_Latn\tbank\tdeu_Latn\tBank",
    "eng_Latn\tbank\tswh_Latn\tukingo",
)


def write(path: Path, lines: tuple[str, ...] = LINES) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def lexicon(tmp_path: Path) -> Lexicon:
    return Lexicon.load([write(tmp_path / "words.tsv")])


def test_lookup_finds_translations_and_synonyms_in_order_of_the_file(lexicon: Lexicon) -> None:
    assert lexicon.lookup("dog", "eng_Latn") == (
        ("Hund", "deu_Latn"),
        ("mbwa", "swh_Latn"),
        ("hound", "eng_Latn"),
    )


def test_lookup_reads_a_line_in_both_directions(lexicon: Lexicon) -> None:
    assert lexicon.lookup("mbwa", "swh_Latn") == (("dog", "eng_Latn"),)
    assert lexicon.lookup("hound", "eng_Latn") == (("dog", "eng_Latn"),)


def test_lookup_knows_no_case_and_returns_the_spelling_of_the_file(lexicon: Lexicon) -> None:
    assert lexicon.lookup("DOG", "eng_Latn") == lexicon.lookup("dog", "eng_Latn")
    assert lexicon.lookup("hund", "deu_Latn") == (("dog", "eng_Latn"),)


def test_lookup_of_several_words_folds_the_space_between(lexicon: Lexicon) -> None:
    assert lexicon.lookup("Guide \u00a0dog", "eng_Latn") == (("Blindenhund", "deu_Latn"),)


@pytest.mark.parametrize(
    ("word", "lang"),
    [
        ("cat", "eng_Latn"),
        ("dog", "deu_Latn"),
        ("dog", "zul_Latn"),
        ("", "eng_Latn"),
        ("\ud800", "eng_Latn"),
    ],
)
def test_lookup_of_what_is_unknown_is_empty(lexicon: Lexicon, word: str, lang: str) -> None:
    assert lexicon.lookup(word, lang) == ()


def test_lookup_through_a_language_joins_its_words_neighbors(lexicon: Lexicon) -> None:
    assert lexicon.lookup("mbwa", "swh_Latn", through="eng_Latn") == (
        ("dog", "eng_Latn"),
        ("Hund", "deu_Latn"),
        ("hound", "eng_Latn"),
    )
    assert lexicon.lookup("mbwa", "swh_Latn", through="deu_Latn") == (("dog", "eng_Latn"),)


def test_lexicon_tells_languages_sizes_entries_and_the_longest(lexicon: Lexicon) -> None:
    assert lexicon.languages == ("deu_Latn", "eng_Latn", "swh_Latn")
    assert lexicon.sizes == {"deu_Latn": 3, "eng_Latn": 4, "swh_Latn": 2}
    assert lexicon.entries == 6
    assert lexicon.longest("eng_Latn") == (2, len("guide dog"))
    assert lexicon.longest("zul_Latn") == (0, 0)


def test_load_merges_what_stands_twice_in_any_direction_case_or_file(tmp_path: Path) -> None:
    first = write(tmp_path / "a.tsv", (LINES[1], LINES[1]))
    second = write(tmp_path / "b.tsv", ("deu_Latn\thund\teng_Latn\tDog",))
    lexicon = Lexicon.load([first, second])
    assert lexicon.entries == 1
    assert lexicon.lookup("dog", "eng_Latn") == (("Hund", "deu_Latn"),)


def test_load_reads_gzip_a_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbfeng_Latn\tdog\tdeu_Latn\tHund\r\n"))
    assert list(read_entries(path)) == [Entry("eng_Latn", "dog", "deu_Latn", "Hund")]


def test_lexicon_of_nothing_knows_nothing() -> None:
    lexicon = Lexicon.of([])
    assert (lexicon.languages, lexicon.entries) == ((), 0)
    assert lexicon.lookup("dog", "eng_Latn") == ()


def test_lexicon_survives_the_way_to_another_process(lexicon: Lexicon) -> None:
    again = pickle.loads(pickle.dumps(lexicon))
    assert again.lookup("dog", "eng_Latn") == lexicon.lookup("dog", "eng_Latn")


def test_lookup_agrees_with_a_dict_on_many_words() -> None:
    entries = [
        Entry("eng_Latn", f"word{number % 701}", "swh_Latn", f"neno{number}")
        for number in range(3000)
    ]
    lexicon = Lexicon.of(entries)
    expected: dict[str, list[tuple[str, str]]] = {}
    for entry in entries:
        expected.setdefault(entry.word_a, []).append((entry.word_b, entry.lang_b))
    for word, neighbors in expected.items():
        assert list(lexicon.lookup(word, "eng_Latn")) == neighbors
    for entry in entries:
        assert lexicon.lookup(entry.word_b, "swh_Latn") == ((entry.word_a, "eng_Latn"),)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"eng_Latn\tdog\tdeu_Latn", "3 columns; expected 4"),
        (b"eng_Latn dog deu_Latn Hund", "1 columns; expected 4"),
        (b"en\tdog\tdeu_Latn\tHund", "lang 'en' is malformed"),
        (b"eng_Abcd\tdog\tdeu_Latn\tHund", "the script of 'eng_Abcd' is unknown"),
        (b"eng_Latn\t \tdeu_Latn\tHund", "column 2 has nothing but white space"),
        (b"eng_Latn\tdog\tdeu_Latn\t", "column 4 is empty"),
        (b"eng_Latn\tdog\tdeu_Latn\tH\xfcnd", "not UTF-8"),
        (b"eng_Latn\tdog\teng_Latn\tDog", "'dog' stands for itself"),
    ],
)
def test_load_line_that_is_none_is_refused_with_file_and_line(
    tmp_path: Path, line: bytes, complaint: str
) -> None:
    path = tmp_path / "words.tsv"
    path.write_bytes(b"# one\neng_Latn\tcat\tdeu_Latn\tKatze\n" + line + b"\n")
    with pytest.raises(InvalidInputError) as refused:
        Lexicon.load([path])
    assert refused.value.message.startswith(f"{path}, line 3: ")
    assert complaint in refused.value.message


def test_load_file_that_is_missing_or_no_gzip_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot read the dictionary .*none\.tsv"):
        Lexicon.load([tmp_path / "none.tsv"])
    with pytest.raises(InvalidInputError, match=r"cannot read the dictionary .*plain\.tsv"):
        Lexicon.load([write(tmp_path / "plain.tsv.gz")])
    whole = gzip.compress("\n".join(LINES).encode())
    (tmp_path / "cut.tsv.gz").write_bytes(whole[:-12])
    with pytest.raises(InvalidInputError, match=r"cannot read the dictionary .*cut\.tsv"):
        Lexicon.load([tmp_path / "cut.tsv.gz"])


def test_fold_joins_spellings_of_one_word() -> None:
    assert fold("L\u2019Eau") == fold("l'eau") == "l'eau"
    assert fold("STRASSE") == fold("straße")
    assert fold("Cafe\u0301") == fold("CAF\u00c9") == "caf\u00e9"
    assert fold("\u0390") == fold(fold("\u0390"))
