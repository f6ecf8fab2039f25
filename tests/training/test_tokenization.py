import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from training.corpus import load_bitext, select_corpora
from training.tokenization import (
    PAD_ID,
    PAD_TOKEN,
    UNK_ID,
    UNK_TOKEN,
    build_normalizer,
    build_pre_tokenizer,
    build_tokenizer,
    compile_charsmap,
    romanize_character,
    sample_texts,
)

TEXTS = ["one dog and two cats", "Один пёс и две кошки", "the dogs ran", "12 dogs (and 1 cat)"] * 9


@pytest.mark.parametrize(
    ("character", "expected"),
    [
        ("A", "a"),
        ("ж", "zh"),
        ("é", "e"),
        ("ọ", "o"),
        ("ɓ", "b"),
        ("ب", "b"),
        ("ا", "a"),
        ("ع", ""),
        ("ُ", ""),
        ("न", "n"),
        ("中", "中"),
        ("\u200b", ""),
        ("\u202e", ""),
        ("\u00a0", " "),
        ("\n", " "),
        ("’", "'"),
        ("٣", "3"),
    ],
)
def test_romanize_character_writes_plain_lower_case(character: str, expected: str) -> None:
    assert romanize_character(character) == expected


def test_build_normalizer_applies_the_same_table() -> None:
    normalizer = build_normalizer(romanize=True)
    assert normalizer.normalize_str("Привет, 中国 ẸKỌ́") == "privet, 中国 eko"
    plain = build_normalizer(romanize=False)
    assert plain.normalize_str("Привет ẸKỌ́") == "привет ẹkọ́"


@pytest.mark.parametrize("rule", [("", "a"), ("a", "b\0")])
def test_compile_charsmap_bad_rule_is_refused(rule: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="got rule"):
        compile_charsmap(dict([rule]))


def test_build_tokenizer_starts_each_piece_with_the_word_mark() -> None:
    tokenizer = build_tokenizer(TEXTS, 120, romanize=False)
    assert tokenizer.token_to_id(PAD_TOKEN) == PAD_ID
    assert tokenizer.token_to_id(UNK_TOKEN) == UNK_ID
    assert tokenizer.encode("dogs").ids == tokenizer.encode("(dogs").ids[1:]
    assert "".join(tokenizer.encode("Dog and cats").tokens) == "\u2581dog\u2581and\u2581cats"


def test_build_tokenizer_romanized_shares_tokens_between_scripts() -> None:
    tokenizer = build_tokenizer(TEXTS, 120, romanize=True)
    assert tokenizer.encode("кот").ids == tokenizer.encode("kot").ids


def test_build_tokenizer_file_has_no_padding_or_truncation(tmp_path: Path) -> None:
    tokenizer = build_tokenizer(TEXTS, 120, romanize=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    stored = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert stored["padding"] is None
    assert stored["truncation"] is None
    again = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert again.encode("two dogs").ids == tokenizer.encode("two dogs").ids


def test_sample_texts_is_of_the_wanted_size_and_all_languages(data: Path) -> None:
    bitext = load_bitext(data, select_corpora(["nllb-seed"], shippable=True))
    sample = sample_texts(bitext, 4000, seed=1)
    assert 4000 <= sum(map(len, sample)) < 4000 + 4 * 100
    assert any("а" <= letter <= "я" for text in sample for letter in text)
    assert sample == sample_texts(bitext, 4000, seed=1)
    assert sample != sample_texts(bitext, 4000, seed=2)


def test_sample_texts_of_small_languages_repeat_at_most_ten_times(data: Path) -> None:
    bitext = load_bitext(data, select_corpora(["nllb-seed"], shippable=True))
    sample = sample_texts(bitext, 10_000_000, seed=1)
    assert max(sample.count(text) for text in set(sample)) == 10


def test_build_pre_tokenizer_keeps_marks_but_question_marks() -> None:
    pieces = build_pre_tokenizer().pre_tokenize_str("a?b (c) x=1 ok?! 2024\u5e74")
    assert [piece for piece, _ in pieces] == [
        "\u2581" + part
        for part in ("a", "b", "(", "c", ")", "x", "=", "1", "ok", "!", "2024", "\u5e74")
    ]
