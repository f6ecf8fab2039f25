from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from training.config import TrainConfig
from training.corpus import Bitext, load_bitext, select_corpora
from training.links import find_links
from training.phrases import PHRASES, add_phrases, whole_pairs
from training.preparation import prepare
from training.tokenization import build_tokenizer
from training.tokens import TokenTable, tokenize_texts

ENGLISH = ("the cat sleeps", "the dog sleeps", "a cat runs", "a dog runs", "the cat runs")
# Word by word, in the opposite order: sleeps = dort, runs = court.
WORDS = {"the": "le", "a": "un", "cat": "chat", "dog": "chien", "sleeps": "dort", "runs": "court"}


def translated(text: str) -> str:
    return " ".join(WORDS[word] for word in reversed(text.split()))


@pytest.fixture
def tokenizer() -> Tokenizer:
    texts = [*ENGLISH, *map(translated, ENGLISH)] * 20
    return build_tokenizer(texts, 200, romanize=False)


def pairs_of(tokenizer: Tokenizer) -> tuple[TokenTable, np.ndarray, np.ndarray]:
    texts = [*ENGLISH, *map(translated, ENGLISH)]
    tokens = tokenize_texts(tokenizer, texts, 0)
    rows = np.tile(np.arange(len(ENGLISH)), 30)
    return tokens, rows, rows + len(ENGLISH)


def names(tokens: TokenTable, tokenizer: Tokenizer, text: int, place: int) -> str:
    found = tokenizer.id_to_token(int(tokens.ids[tokens.offsets[text] + place]))
    return str(found).strip("▁")


def test_links_join_each_word_with_its_translation_whatever_the_order(tokenizer: Tokenizer) -> None:
    tokens, source, target = pairs_of(tokenizer)
    links = find_links(tokens, source, target, np.random.default_rng(0))
    assert len(links.pairs) == len(source) * 3
    for pair, left, right in zip(links.pairs, links.source, links.target, strict=True):
        word = names(tokens, tokenizer, int(source[pair]), left)
        assert names(tokens, tokenizer, int(target[pair]), right) == WORDS[word]


def test_links_of_texts_that_are_too_long_are_none(tokenizer: Tokenizer) -> None:
    tokens = tokenize_texts(tokenizer, ["the cat " * 40, "le chat " * 40], 0)
    links = find_links(tokens, np.array([0]), np.array([1]), np.random.default_rng(0))
    assert len(links.pairs) == 0


@pytest.fixture
def bitext(data: Path) -> Bitext:
    return load_bitext(data, select_corpora(["nllb-seed", "wikipedia-app"], shippable=True))


def phrased(
    bitext: Bitext, monkeypatch: pytest.MonkeyPatch
) -> tuple[Bitext, TokenTable, Tokenizer]:
    monkeypatch.setattr("training.phrases.LEAST_PAIRS", 80)
    tokenizer = build_tokenizer(bitext.texts.to_pylist() * 5, 1500, romanize=False)
    tokens = tokenize_texts(tokenizer, bitext.texts.to_pylist(), 0)
    return *add_phrases(bitext, tokens, tokenizer, seed=0), tokenizer


def test_phrases_are_translations_word_by_word(
    bitext: Bitext, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer, _, _ = phrased(bitext, monkeypatch)
    new = np.flatnonzero(~whole_pairs(longer))
    # The corpora's sentences are invented word by word, so a dictionary can be read off them.
    known: dict[tuple[str, str], str] = {}
    for row in range(len(bitext)):
        left, right = (longer.texts[int(t[row])].as_py() for t in (longer.text_a, longer.text_b))
        lang = longer.langs[longer.lang_b[row]]
        for word, other in zip(left.split(), right.split(), strict=True):
            known[lang, word] = other
    right_ones = 0
    for row in new:
        left, right = (longer.texts[int(t[row])].as_py() for t in (longer.text_a, longer.text_b))
        lang = longer.langs[longer.lang_b[row]]
        right_ones += [known.get((lang, word)) for word in left.split()] == right.split()
        assert 1 <= len(left.split()) <= 6
    assert len(new) > 300
    assert right_ones > 0.9 * len(new)


def test_phrases_stand_after_what_was_there_with_their_tokens(
    bitext: Bitext, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer, tokens, tokenizer = phrased(bitext, monkeypatch)
    count = len(bitext)
    assert np.array_equal(longer.text_a[:count], bitext.text_a)
    assert longer.texts.slice(0, len(bitext.texts)).equals(bitext.texts)
    assert longer.corpora[-1].name == PHRASES
    assert longer.corpora[-1].shippable
    again = tokenize_texts(tokenizer, longer.texts.to_pylist(), 0)
    assert np.array_equal(again.ids, tokens.ids)
    assert np.array_equal(again.offsets, tokens.offsets)
    pairs = set(zip(longer.text_a[count:], longer.text_b[count:], strict=True))
    assert len(pairs) <= len(longer) - count
    assert len(set(longer.texts.to_pylist()[len(bitext.texts) :])) == len(longer.texts) - len(
        bitext.texts
    )


def test_phrases_of_languages_with_few_pairs_are_none(bitext: Bitext) -> None:
    tokenizer = build_tokenizer(bitext.texts.to_pylist(), 400, romanize=False)
    tokens = tokenize_texts(tokenizer, bitext.texts.to_pylist(), 0)
    assert add_phrases(bitext, tokens, tokenizer, seed=0) == (bitext, tokens)


def test_phrases_of_an_own_file_are_not_cut(
    bitext: Bitext, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tuple(replace(corpus, path="faq.parquet") for corpus in bitext.corpora)
    longer, _, _ = phrased(replace(bitext, corpora=own), monkeypatch)
    assert len(longer) == len(bitext)


def configured(config: TrainConfig, **corpora: object) -> TrainConfig:
    raw = config.model_dump()
    return TrainConfig.model_validate({**raw, "corpora": {**raw["corpora"], **corpora}})


def test_phrases_are_drawn_by_their_weight(
    data: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    monkeypatch.setattr("training.phrases.LEAST_PAIRS", 80)
    raw = config.model_dump()
    raw["batches"] |= {"cross_probability": 1.0, "pairs": 64}
    material = prepare(configured(TrainConfig.model_validate(raw), phrases=4.5))
    uses = material.batches.uses(100)
    drawn = sum(use.drawn for use in uses if use.corpus == PHRASES)
    # 4.5 of 1.0 + 0.5 + 4.5.
    assert drawn / sum(use.drawn for use in uses) == pytest.approx(0.75, abs=0.02)


def test_phrases_without_batches_in_two_languages_are_refused(config: TrainConfig) -> None:
    raw = config.model_dump()
    raw["batches"]["cross_probability"] = 0.0
    with pytest.raises(ValueError, match="cross_probability above 0"):
        configured(TrainConfig.model_validate(raw), phrases=1.0)


def test_phrases_beside_an_own_file_of_that_name_are_refused(config: TrainConfig) -> None:
    weights = {**config.corpora.weights, PHRASES: 1.0}
    with pytest.raises(ValueError, match="rename it"):
        configured(config, phrases=1.0, weights=weights, files={PHRASES: "mine.parquet"})
