"""Dictionaries built from corpora of labels and words."""

import gzip
from pathlib import Path

import pytest

from app.text.dictionaries import Entry, read_entries
from app.text.lexicon import Lexicon
from training.data.lexicons import Built, build_lexicon, read_word_pairs
from training.registry import CorpusError


def built(tmp_path: Path, *pairs: Entry, most: int = 4) -> tuple[list[Entry], Built]:
    out = tmp_path / "words.tsv"
    outcome = build_lexicon(pairs, out, ["From a test: CC0"], most=most)
    return list(read_entries(out)), outcome


def eng(word: str, lang: str, other: str) -> Entry:
    return Entry("eng_Latn", word, lang, other)


def test_build_lexicon_takes_the_capitals_of_titles_away(tmp_path: Path) -> None:
    entries, _ = built(
        tmp_path,
        eng("Railway Station", "nld_Latn", "Treinstation"),
        eng("ATM", "deu_Latn", "Geldautomat"),
        eng("HOSPITAL", "tur_Latn", "Işık İli"),
    )
    assert entries == [
        eng("railway station", "nld_Latn", "treinstation"),
        eng("ATM", "deu_Latn", "Geldautomat"),
        eng("hospital", "tur_Latn", "ışık ili"),
    ]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        (eng("a of the", "fra_Latn", "mot"), "function word"),
        (eng("in company", "fra_Latn", "ensemble"), "function word"),
        (eng("one two three four", "fra_Latn", "mot"), "too long"),
        (eng("word", "zho_Hans", "一二三四五六七八九"), "too long"),
        (eng("volume (liters)", "fra_Latn", "volume"), "not words alone"),
        (eng("route 66", "fra_Latn", "route"), "not words alone"),
        (eng("word", "fra_Latn", ""), "not words alone"),
        (eng("word", "rus_Cyrl", "word"), "another script"),
        (eng("word", "rus_Cyrl", "cлово"), "another script"),  # a Latin c
        (eng("Hotel", "fra_Latn", "hotel"), "same word"),
        (eng("word", "kw_Latn", "ger"), "language code malformed"),
    ],
)
def test_build_lexicon_leaves_out_what_is_no_word(tmp_path: Path, pair: Entry, reason: str) -> None:
    entries, outcome = built(tmp_path, pair, eng("water", "fra_Latn", "eau"))
    assert entries == [eng("water", "fra_Latn", "eau")]
    assert outcome.skipped == {reason: 1}


def test_build_lexicon_keeps_words_of_all_scripts(tmp_path: Path) -> None:
    pairs = [
        eng("hospital", "tha_Thai", "โรงพยาบาล"),
        eng("ice cream", "jpn_Jpan", "アイスクリーム"),
        eng("water", "hin_Deva", "पानी"),
        eng("house", "kor_Hang", "집"),
        eng("small-pox", "urd_Arab", "جدری"),
        eng("water basin", "ita_Latn", "specchio d'acqua"),
    ]
    entries, outcome = built(tmp_path, *pairs)
    assert entries == pairs
    assert outcome.skipped == {}
    assert outcome.sizes["eng_Latn"] == 6


def test_build_lexicon_keeps_the_most_frequent_neighbors_then_the_most_particular(
    tmp_path: Path,
) -> None:
    rivals = [eng("light", "fra_Latn", word) for word in ("feu", "léger", "clair", "lumière")]
    entries, outcome = built(
        tmp_path,
        *rivals,
        eng("Light", "fra_Latn", "lumière"),  # twice
        eng("fire", "fra_Latn", "feu"),  # has another neighbor
        most=3,
    )
    found = [entry.word_b for entry in entries if entry.word_a == "light"]
    assert found == ["léger", "clair", "lumière"]
    assert outcome.skipped == {"repeated": 1, "too many neighbors": 1}


def test_build_lexicon_counts_neighbors_in_each_language_apart(tmp_path: Path) -> None:
    pairs = [eng("water", "fra_Latn", "eau"), eng("water", "deu_Latn", "Wasser")]
    assert built(tmp_path, *pairs, most=1)[0] == pairs


def test_build_lexicon_writes_notes_and_the_same_bytes_again(tmp_path: Path) -> None:
    out = tmp_path / "words.tsv.gz"
    pair = eng("water", "fra_Latn", "eau")
    build_lexicon([pair], out, ["From a test: CC0"])
    first = out.read_bytes()
    build_lexicon([pair], out, ["From a test: CC0"])
    assert out.read_bytes() == first
    assert gzip.decompress(first).decode().splitlines()[1] == "# From a test: CC0"
    assert Lexicon.load([out]).lookup("eau", "fra_Latn") == (("water", "eng_Latn"),)


def test_build_lexicon_without_a_word_fails_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no words in these corpora"):
        built(tmp_path, eng("!", "fra_Latn", "?"))
    assert list(tmp_path.iterdir()) == []


def test_read_word_pairs_takes_tabs_or_the_first_space(tmp_path: Path) -> None:
    path = tmp_path / "en-fr.txt"
    path.write_text("water eau\nrailway station\tgare\n")
    assert list(read_word_pairs(path, "eng_Latn", "fra_Latn")) == [
        eng("water", "fra_Latn", "eau"),
        eng("railway station", "fra_Latn", "gare"),
    ]
    with pytest.raises(CorpusError, match=r"cannot read the word list .*none\.txt"):
        list(read_word_pairs(tmp_path / "none.txt", "eng_Latn", "fra_Latn"))
