"""Weights of many texts at once are those of each alone, bit by bit, whatever the texts."""

import random
import sys

import pytest
import regex

from app.retrieval import lexical, words
from app.retrieval.lexical import Sparse, document_weights, weights_of

LETTERS = (
    "abcXYZ09 \n\t-_./:@+#',`’‑",
    "ñéọ̀ɗƙßæİıi̇ſ",
    "\u0300\u0301\u0307\u0323\u0338\u3099\u20e3<=>",
    "ไทยກຂမြန်မខ",
    "漢字かなカナー々ﾊﾟ㍿",
    "كِتَابٌ\u200c\u200d\u0640\u200bیکہ",
    "हिन्दी॒१२٣٤๑๒",
    "\U00011720\U00011721\U00016ff0\U000e0100\ud800\udfff",
    "ஃ\u0b82ൟ\u1a20\u1a55\ua9c0\ua984\u1b05\u1b34",
    "ሐሰዐ①½Ⅷㅎ한",
)


def random_texts(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        pools = rng.sample(LETTERS, rng.randint(1, 4))
        texts.append(
            "".join(
                rng.choice(rng.choice(pools))
                if rng.random() < 0.93
                else chr(rng.randrange(sys.maxunicode + 1))
                for _ in range(rng.randint(0, 40))
            )
        )
    return texts


@pytest.mark.parametrize("at_once", [4, 256])
def test_weights_of_random_texts_are_those_of_each_alone(at_once: int) -> None:
    texts = random_texts(at_once, 2_000)
    found: list[Sparse] = []
    for first in range(0, len(texts), at_once):
        found += weights_of(texts[first : first + at_once])
    assert found == list(map(document_weights, texts))


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_weights_of_few_texts_keep_their_order(count: int) -> None:
    texts = ["Rain, rain bus", "", "AB-12.7 C++ ọ̀nà", "东京都 水", "... 🙂"][:count]
    assert weights_of(texts) == list(map(document_weights, texts))


def test_weights_of_long_texts_in_parts_are_those_of_each_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = random_texts(7, 100)
    monkeypatch.setattr(lexical, "_AT_ONCE_CHARS", 50)
    assert weights_of(texts) == list(map(document_weights, texts))


def test_weights_of_forget_the_oldest_words(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[str, tuple[int, ...]] = {}
    monkeypatch.setattr(lexical, "_known", known)
    monkeypatch.setattr(lexical, "_REMEMBERED_WORDS", 40)
    for first in range(0, 400, 10):
        texts = [f"w{number} ọ̀{number} {'x' * 100}" for number in range(first, first + 10)]
        assert weights_of(texts) == list(map(document_weights, texts))
        assert len(known) <= 40
    assert "w399" in known
    assert "w0" not in known
    assert not any(len(word) > 64 for word in known)


def test_simplify_drops_what_unicode_calls_ignorable_and_the_tatweel() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    expected = regex.findall(r"[\p{Default_Ignorable_Code_Point}\u0640]", every)
    assert "".join(words._IGNORED.findall(every)) == "".join(expected)
