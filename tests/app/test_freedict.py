import gzip

import pytest

from app.errors import InvalidInputError
from app.text.dictionaries import Entry
from app.text.freedict import read_freedict
from app.text.lexicon import Lexicon, load_lexicon
from app.text.mounted import find_dictionaries, read_dictionary

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
DEFINITIONS = {
    "00databaseinfo": "A dictionary for tests\n",
    "hii": "hii /hˈii/ <pron, dem prox, agr: 4,9>\n\nthis, these\n",
    "hakuna": (
        "hakuna /x/ <v, infl, agr: 17>\n\nthere is not\n; there are not\n   See also: {wa na}\n\n"
    ),
    "nairobi": (
        "Nairobi <n>\n1. Nairobi (city), capital\n      “An example, indented”\n2. [old] camp\n"
    ),
    "maji": "maji <n> (pl: {maji})\nwater~body; a very long explanation of what it means\n",
}


def number(value):
    digits = _DIGITS[value % 64]
    while value := value // 64:
        digits = _DIGITS[value % 64] + digits
    return digits


def write(folder, name="freedict-swh-eng", definitions=DEFINITIONS, packed=True):
    """Write a dictionary as dictd has it; returns its index."""
    text, lines = b"", []
    for word, definition in definitions.items():
        encoded = definition.encode()
        lines.append(f"{word}\t{number(len(text))}\t{number(len(encoded))}\n")
        text += encoded
    index = folder / f"{name}.index"
    index.write_text("".join(sorted(lines)), encoding="utf-8")
    if packed:
        (folder / f"{name}.dict.dz").write_bytes(gzip.compress(text))
    else:
        (folder / f"{name}.dict").write_bytes(text)
    return index


@pytest.mark.parametrize("packed", [True, False])
def test_read_freedict_yields_short_translations_of_each_headword(tmp_path, packed):
    entries = set(read_freedict(write(tmp_path, packed=packed)))
    pairs = {(entry.word_a, entry.word_b) for entry in entries}
    assert {(entry.lang_a, entry.lang_b) for entry in entries} == {("swh_Latn", "eng_Latn")}
    assert pairs == {
        ("hii", "this"),
        ("hii", "these"),
        ("hakuna", "there is not"),
        ("hakuna", "there are not"),
        ("Nairobi", "Nairobi"),
        ("Nairobi", "capital"),
        ("Nairobi", "camp"),
        ("maji", "water body"),
    }


def test_read_freedict_far_places_are_read(tmp_path):
    many = {f"neno{n}": f"neno{n}\nword{n}\n" for n in range(5000)}
    entries = list(read_freedict(write(tmp_path, definitions=many)))
    assert Entry("swh_Latn", "neno4999", "eng_Latn", "word4999") in entries
    assert len(entries) == 5000


@pytest.mark.parametrize(
    ("name", "words", "langs"),
    [
        ("eng-hin", {"water": "water\nपानी\n"}, ("eng_Latn", "hin_Deva")),
        ("freedict-ara-eng", {"ماء": "ماء\nwater\n"}, ("arb_Arab", "eng_Latn")),
        ("freedict-eng-jpn", {"water": "water\n水, みず, お水\n"}, ("eng_Latn", "jpn_Jpan")),
        ("freedict-ckb-kmr", {"av": "av\nav, aw\n"}, ("ckb_Latn", "kmr_Latn")),
    ],
)
def test_read_freedict_languages_have_the_script_of_their_words(tmp_path, name, words, langs):
    entries = list(read_freedict(write(tmp_path, name, words)))
    assert {(entry.lang_a, entry.lang_b) for entry in entries} == {langs}


def test_read_freedict_without_languages_in_the_name_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"words\.index does not name its languages"):
        list(read_freedict(write(tmp_path, "words")))


@pytest.mark.parametrize("break_it", ["missing", "no gzip", "no number", "no tabs"])
def test_read_freedict_broken_files_are_refused_by_name(tmp_path, break_it):
    index = write(tmp_path)
    packed = index.with_suffix(".dict.dz")
    if break_it == "missing":
        packed.unlink()
    elif break_it == "no gzip":
        packed.write_bytes(b"plain")
    elif break_it == "no number":
        index.write_text("maji\t!\tB\n", encoding="utf-8")
    else:
        index.write_text("maji A B\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"cannot read the dictionary .*swh-eng\.index"):
        list(read_freedict(index))


def test_find_dictionaries_of_a_folder_are_those_with_a_known_ending(tmp_path):
    write(tmp_path)
    (tmp_path / "own.tsv").write_text("eng_Latn\tbig\teng_Latn\tlarge\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    names = [path.name for path in find_dictionaries(tmp_path)]
    assert names == ["freedict-swh-eng.index", "own.tsv"]
    assert find_dictionaries(tmp_path / "own.tsv") == (tmp_path / "own.tsv",)


@pytest.mark.parametrize("name", ["nowhere", "notes.txt", "."])
def test_find_dictionaries_where_none_is_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("nothing", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="has no dictionary"):
        find_dictionaries(tmp_path / name)


def test_lexicon_of_mixed_dictionaries_has_the_words_of_all(tmp_path):
    write(tmp_path)
    (tmp_path / "own.tsv").write_text("eng_Latn\tbig\teng_Latn\tlarge\n", encoding="utf-8")
    lexicon = Lexicon.load(find_dictionaries(tmp_path))
    assert lexicon.lookup("BIG", "eng_Latn") == (("large", "eng_Latn"),)
    assert ("this", "eng_Latn") in lexicon.lookup("hii", "swh_Latn")
    assert list(read_dictionary(tmp_path / "own.tsv")) == [
        Entry("eng_Latn", "big", "eng_Latn", "large")
    ]


def test_load_lexicon_adds_the_mounted_to_those_that_come_along(tmp_path):
    (tmp_path / "own.tsv").write_text("eng_Latn\tbig\teng_Latn\tlarge\n", encoding="utf-8")
    small, more = load_lexicon(), load_lexicon(tmp_path)
    assert load_lexicon() is small
    assert more.entries == small.entries + 1
    assert ("large", "eng_Latn") in more.lookup("big", "eng_Latn")
    assert ("mto", "swh_Latn") in small.lookup("river", "eng_Latn")
    assert len(small.languages) >= 100
