from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, pre_tokenizers

from training import initialization
from training.corpus import Bitext, load_bitext, select_corpora
from training.initialization import SCALE, bag_matrix, initial_table, word_rows
from training.tokens import TokenTable, tokenize_texts


def fake_teacher(words: Sequence[str], *, batch_size: int = 64) -> NDArray[np.float32]:
    """A fixed random unit vector for each word."""
    rows = [np.random.default_rng(list(word.encode())).normal(size=384) for word in words]
    vectors = np.array(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(autouse=True)
def _teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(initialization, "encode_teacher", fake_teacher)


@pytest.fixture(scope="module")
def bitext(data: Path) -> Bitext:
    return load_bitext(data, select_corpora(["nllb-seed"], shippable=True))


@pytest.fixture(scope="module")
def tokenizer(bitext: Bitext) -> Tokenizer:
    """Whole words, with the mark of a word's start."""
    words = sorted({word for text in bitext.texts.to_pylist() for word in text.split()})
    vocabulary = {"[PAD]": 0, "[UNK]": 1} | {f"\u2581{w}": i + 2 for i, w in enumerate(words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    return made


def id_of(tokenizer: Tokenizer, word: str) -> int:
    return tokenizer.get_vocab()[f"\u2581{word}"]


def words_of(bitext: Bitext, lang: str) -> list[str]:
    texts = bitext.texts.to_pylist()
    rows = np.flatnonzero(bitext.lang_b == bitext.langs.index(lang))
    return [word for row in rows for word in texts[bitext.text_b[row]].split()]


def test_initial_table_translations_start_near_their_english_words(
    bitext: Bitext, tokenizer: Tokenizer
) -> None:
    tokens = tokenize_texts(tokenizer, bitext.texts.to_pylist(), 0)
    table = initial_table(bitext, tokens, tokenizer, seed=0)
    texts = bitext.texts.to_pylist()
    french = np.flatnonzero(bitext.lang_b == bitext.langs.index("fra_Latn"))
    pairs = {
        (e, f)
        for row in french
        for e, f in zip(
            texts[bitext.text_a[row]].split(), texts[bitext.text_b[row]].split(), strict=True
        )
    }
    english = [id_of(tokenizer, e) for e, _ in pairs]
    other = [id_of(tokenizer, f) for _, f in pairs]
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    cosines = unit[other] @ unit[english].T
    assert table.shape == (tokenizer.get_vocab_size(), 384)
    assert (cosines.argmax(axis=1) == np.arange(len(pairs))).mean() > 0.25  # chance is 1 of 60


def test_initial_table_is_the_same_in_chunks(
    bitext: Bitext, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = tokenize_texts(tokenizer, bitext.texts.to_pylist(), 0)
    whole = initial_table(bitext, tokens, tokenizer, seed=0)
    monkeypatch.setattr(initialization, "CHUNK", 7)
    assert initial_table(bitext, tokens, tokenizer, seed=0) == pytest.approx(whole, abs=1e-5)


def test_initial_table_depends_on_the_seed(bitext: Bitext, tokenizer: Tokenizer) -> None:
    tokens = tokenize_texts(tokenizer, bitext.texts.to_pylist(), 0)
    first, again, other = (initial_table(bitext, tokens, tokenizer, seed=s) for s in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_word_rows_rarer_words_are_longer(tokenizer: Tokenizer, bitext: Bitext) -> None:
    names = sorted(set(words_of(bitext, "fra_Latn")))[:3]
    counts = dict(zip(names, (1_000_000, 1000, 10), strict=True))
    table, filled = word_rows(tokenizer, counts)
    ids = [id_of(tokenizer, name) for name in names]
    norms = np.linalg.norm(table[ids], axis=1)
    assert sorted(np.flatnonzero(filled)) == sorted(ids)
    assert norms[0] < norms[1] < norms[2] <= 1.0 < 1 / SCALE


def test_word_rows_without_english_words_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="no English word"):
        word_rows(tokenizer, {"absent": 100})


def test_bag_matrix_counts_tokens() -> None:
    tokens = TokenTable(np.array([2, 2, 3, 1], np.int32), np.array([0, 3, 4]), pad_id=0)
    matrix = bag_matrix(tokens, np.array([1, 0]), 4)
    assert matrix.toarray().tolist() == [[0, 1, 0, 0], [0, 0, 2, 1]]
