"""Documents in passages: how long, cut where, and every letter in one of them."""

import random
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import regex
from numpy.typing import NDArray

from app.encoder.encoder import TextEncoder
from app.errors import TooLargeError
from app.settings import DEFAULT_ARTIFACT
from app.windows import Windows, split_documents

DEMO = Path(DEFAULT_ARTIFACT).parent / "demo" / "documents.jsonl"


def word_starts(texts: Sequence[str]) -> list[NDArray[np.intp]]:
    """A tokenizer whose tokens are runs of at most four characters of a word."""
    return [
        np.array([match.start() for match in regex.finditer(r"\S{1,4}", text)], np.intp)
        for text in texts
    ]


def passages(text: str, tokens: int, stride: int) -> list[str]:
    spans = split_documents([text], Windows(tokens, stride), word_starts)[0]
    return [text[start:end] for start, end in spans]


def test_split_short_text_is_one_passage_with_its_blanks() -> None:
    assert passages("  a b \n", 4, 4) == ["  a b \n"]


def test_split_windows_end_at_words_and_overlap_by_the_stride() -> None:
    text = " ".join("abcdefghijklmnopqrst")
    assert passages(text, 8, 8) == ["a b c d e f g h", "i j k l m n o p", "q r s t"]
    assert passages(text, 8, 6) == ["a b c d e f g h", "g h i j k l m n", "m n o p q r s t"]


def test_split_windows_prefer_the_end_of_a_sentence() -> None:
    text = "a b c d e f. g h i j k l m n. o p"
    assert passages(text, 8, 8) == ["a b c d e f.", "g h i j k l m n.", "o p"]
    assert passages("a b. c d e f g h i j k l", 8, 8)[0] == "a b. c d e f g h"  # too early


def test_split_windows_that_overlap_begin_with_a_sentence_if_one_is_near() -> None:
    text = "a b c d e. f g h i j k l m n o p q r s t"
    assert passages(text, 8, 6)[:2] == ["a b c d e. f g h", "f g h i j k l m"]
    text = "a b. c d e f g h i j k l"
    assert passages(text, 8, 6)[1] == "g h i j k l"  # too far back


def test_split_scripts_without_spaces_are_cut_between_letters() -> None:
    text = unicodedata.normalize("NFD", "がぎぐげご") * 20
    parts = passages(text, 8, 8)
    assert "".join(parts) == text
    assert all(not unicodedata.combining(part[0]) for part in parts)
    assert max(len(unicodedata.normalize("NFC", part)) for part in parts) <= 32


def test_split_spans_index_the_text_before_normalization() -> None:
    text = "\x00cafe\u0301 \t\n au\x07 lait  " * 5
    parts = passages(text, 4, 4)
    assert all(part == part.strip() for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.strip().split())


def test_split_letter_longer_than_a_window_is_a_passage_of_its_own() -> None:
    text = "x " * 9 + "e" + "\u0301" * 200 + " y" * 9
    parts = passages(text, 8, 8)
    assert "e" + "\u0301" * 200 in parts


def test_split_leaves_out_what_nobody_sees() -> None:
    text = "\u200b" * 100 + " word " + "\u200b" * 100
    assert [part.strip("\u200b \n") for part in passages(text, 8, 8)] == ["word"]


def test_split_refuses_too_many_passages_by_name() -> None:
    with pytest.raises(TooLargeError, match=r"lines\[1\] has 1250 passages of 8 tokens"):
        split_documents(["a", "x " * 10_000], Windows(8, 8), word_starts, "lines")


@pytest.fixture(scope="module")
def encoder() -> Iterator[TextEncoder]:
    opened = TextEncoder.open(DEFAULT_ARTIFACT, device="cpu")
    yield opened
    opened.close()


def test_split_with_the_default_encoder_loses_no_letter_and_cuts_none(encoder: TextEncoder) -> None:
    lines = DEMO.read_text("utf-8").splitlines()
    rng = random.Random(0)
    texts = ["\r\n".join(rng.sample(lines, 12)) for _ in range(12)]
    windows = Windows(64, 48)
    found = split_documents(texts, windows, encoder.token_starts)
    for text, spans in zip(texts, found, strict=True):
        covered = {place for start, end in spans for place in range(start, end)}
        assert all(text[n].isspace() for n in range(len(text)) if n not in covered)
        assert spans == sorted(spans)
        counts = [len(one) for one in encoder.token_starts([text[a:b] for a, b in spans])]
        assert max(counts) <= windows.tokens + 8
        assert min(counts[:-1]) >= windows.tokens // 2
    whole = [
        text[start:end] for text, spans in zip(texts, found, strict=True) for start, end in spans
    ]
    assert not any(encoder.encode(whole, "document").truncated)


def test_document_room_leaves_place_for_special_tokens(encoder: TextEncoder) -> None:
    assert 0 < encoder.document_room < encoder.manifest.max_tokens
