import json
import time
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as Engine
from tokenizers import models, normalizers, pre_tokenizers, processors

from app.artifact import Manifest, load_manifest
from app.encoder.excerpt import is_visible
from app.encoder.tokenizer import MOST_WINDOWS, Tokenizer
from app.errors import ArtifactError, InvalidInputError, TooLargeError

MAX_TOKENS = 64
UNKNOWN = 1


@pytest.fixture(scope="module")
def manifest(tiny_artifact: Path) -> Manifest:
    return load_manifest(tiny_artifact)


@pytest.fixture(scope="module")
def tokenizer(tiny_tokenizer: Engine, manifest: Manifest) -> Tokenizer:
    return Tokenizer(tiny_tokenizer.to_str().encode(), manifest)


def word_tokenizer() -> Engine:
    """One token a word; [CLS] before and [SEP] after each text."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefgh"]
    engine = Engine(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="[UNK]"))
    engine.normalizer = normalizers.NFKC()
    engine.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    engine.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return engine


def opened(engine: Engine, manifest: Manifest) -> Tokenizer:
    return Tokenizer(engine.to_str().encode(), manifest)


def test_tokenize_gives_the_engines_ids(tokenizer: Tokenizer, tiny_tokenizer: Engine) -> None:
    text = "The doctor comes to the village."

    (row,) = tokenizer.tokenize([text], "query")

    assert row.ids == tiny_tokenizer.encode(text).ids
    assert not row.truncated


def test_tokenize_file_with_padding_and_truncation_ignores_both(manifest: Manifest) -> None:
    engine = word_tokenizer()
    engine.enable_padding(length=128)
    engine.enable_truncation(4)

    (row,) = opened(engine, manifest).tokenize(["a b c d e f"], "query")

    assert row.ids == [2, 4, 5, 6, 7, 8, 9, 3]


def test_tokenize_long_text_is_cut_between_the_special_tokens(manifest: Manifest) -> None:
    tokenizer = opened(word_tokenizer(), manifest)
    exact, longer = " ".join("a" * (MAX_TOKENS - 2)), " ".join("a" * (MAX_TOKENS - 1))

    rows = tokenizer.tokenize([exact, longer], "query")

    assert [row.truncated for row in rows] == [False, True]
    assert rows[0].ids == rows[1].ids == [2, *[4] * (MAX_TOKENS - 2), 3]


def test_tokenize_long_text_equals_the_whole_text_cut(
    tokenizer: Tokenizer, tiny_tokenizer: Engine
) -> None:
    text = "Where is the nearest hospital, and who sells fish at the market? " * 40

    (row,) = tokenizer.tokenize([text], "document")

    assert row.ids == tiny_tokenizer.encode(text.strip()).ids[:MAX_TOKENS]
    assert row.truncated


def test_tokenize_long_words_that_fill_few_tokens_are_read_on(manifest: Manifest) -> None:
    # 12 characters a token, so the first look at 4 a token does not see them all.
    text = " ".join(["a" + 10 * "\u200b" + "b"] * 40)

    (row,) = opened(word_tokenizer(), manifest).tokenize([text], "query")

    assert len(row.ids) == 40 + 2
    assert not row.truncated


def test_tokenize_without_truncation_refuses_a_long_text_by_its_number(
    tokenizer: Tokenizer,
) -> None:
    with pytest.raises(TooLargeError, match=r"inputs\[11\] has more than 64 tokens"):
        tokenizer.tokenize(["short", "word " * 200], "query", truncate=False, first=10)


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u200d", "\ufe0f", "\u2066\u2069", "\u3164"])
def test_tokenize_text_that_shows_nothing_is_refused(tokenizer: Tokenizer, text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"inputs\[1\]"):
        tokenizer.tokenize(["fine", text], "query")


def test_tokenize_lone_surrogate_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match=r"inputs\[0\].*surrogate"):
        tokenizer.tokenize(["a\ud800"], "query")


@pytest.mark.parametrize("text", ["🦒", "\u0301", "𒀀", "\U000e0041x", "\ue000"])
def test_tokenize_visible_text_always_has_a_token(tokenizer: Tokenizer, text: str) -> None:
    (row,) = tokenizer.tokenize([text], "query")

    assert row.ids


def test_tokenize_text_without_tokens_gets_the_unknown_one(manifest: Manifest) -> None:
    engine = word_tokenizer()
    engine.normalizer = normalizers.Replace("🦒", "")
    engine.post_processor = processors.TemplateProcessing(single="$A", special_tokens=[])

    (row,) = opened(engine, manifest).tokenize(["🦒"], "query")

    assert row.ids == [UNKNOWN]


def test_tokenize_prompt_goes_before_the_text_of_its_type(manifest: Manifest) -> None:
    prompted = manifest.model_copy(
        update={"prompts": manifest.prompts.model_copy(update={"query": "h g "})}
    )
    tokenizer = opened(word_tokenizer(), prompted)

    (query,) = tokenizer.tokenize(["a"], "query")
    (document,) = tokenizer.tokenize(["a"], "document")

    assert query.ids == [2, 11, 10, 4, 3]
    assert document.ids == [2, 4, 3]
    with pytest.raises(InvalidInputError):
        tokenizer.tokenize([" "], "query")


@pytest.mark.parametrize(
    "unit",
    [
        pytest.param("\ufdfa", id="unfolds into 18"),
        pytest.param("\u0301\u0327", id="marks that must be sorted"),
        pytest.param("a\u0301\u0327\u0316", id="letters under marks"),
        pytest.param("\U0001f3f4", id="emoji"),
        pytest.param("\u1112\u1161\u11ab", id="composes"),
        pytest.param("的", id="no space"),
        pytest.param(" \u200b", id="nearly nothing"),
        pytest.param("word ", id="ordinary"),
    ],
)
def test_tokenize_endless_text_costs_little(tokenizer: Tokenizer, unit: str) -> None:
    # In full, the first would take more than a second and the second more than ten.
    text = "b" + unit * (100_000 // len(unit))
    started = time.process_time()

    (row,) = tokenizer.tokenize([text], "query")

    assert time.process_time() - started < 0.2
    assert row.truncated
    assert len(row.ids) <= MAX_TOKENS


def test_tokenize_endless_text_with_a_lone_surrogate_at_its_end_is_refused(
    tokenizer: Tokenizer,
) -> None:
    with pytest.raises(InvalidInputError, match="surrogate"):
        tokenizer.tokenize(["word " * 10_000 + "\udfff"], "query")


def test_tokenize_endless_white_space_is_not_what_is_cut(tokenizer: Tokenizer) -> None:
    (spaced,) = tokenizer.tokenize(["fish" + " \n\t" * 50_000 + "maize"], "query")
    (plain,) = tokenizer.tokenize(["fish maize"], "query")

    assert spaced == plain


def test_tokenizer_broken_file_is_refused(manifest: Manifest) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: got a file"):
        Tokenizer(b"{}", manifest)


def test_tokenizer_ids_beyond_the_table_are_refused(
    tiny_tokenizer: Engine, manifest: Manifest
) -> None:
    small = manifest.model_copy(update={"vocab_size": 10})

    with pytest.raises(ArtifactError, match="expected ids below"):
        opened(tiny_tokenizer, small)


def test_tokenizer_unigram_unknown_token_is_found(manifest: Manifest) -> None:
    engine = Engine(models.Unigram([("[PAD]", 0.0), ("a", -1.0), ("[UNK]", -9.0)], unk_id=2))
    engine.normalizer = normalizers.Replace("x", "")
    assert json.loads(engine.to_str())["model"]["unk_id"] == 2

    (row,) = opened(engine, manifest).tokenize(["x"], "query")

    assert row.ids == [2]


def test_is_visible_over_all_of_unicode_splits_as_the_standard_does() -> None:
    shown = np.array([is_visible(chr(code)) for code in range(0x3000)])

    assert shown[ord("a")]
    assert shown[0x0600]  # a format character that is printed before digits
    hidden = [0x09, 0x20, 0x7F, 0xA0, 0xAD, 0x34F, 0x200B, 0x200F, 0x2028, 0x202E, 0x2060, 0x206F]
    assert not shown[hidden].any()
    assert shown[[0xAE, 0x350, 0x2010, 0x202F + 1, 0x2070]].all()


def test_windows_cover_the_text_and_each_begins_with_the_prompt(manifest: Manifest) -> None:
    prompted = manifest.model_copy(
        update={"max_tokens": 6, "prompts": manifest.prompts.model_copy(update={"query": "h g "})}
    )
    tokenizer = opened(word_tokenizer(), prompted)

    plain, asked = (tokenizer.windows(["a b c d e"], kind)[0] for kind in ("document", "query"))

    a, b, c, d, e, g, h = (4 + "abcdefgh".index(letter) for letter in "abcdegh")
    assert plain.rows == [[2, a, b, c, d, 3], [2, e, 3]]
    assert plain.weights == [4, 1]
    assert asked.rows == [[2, h, g, a, b, 3], [2, h, g, c, d, 3], [2, h, g, e, 3]]
    assert asked.weights == [2, 2, 1]


def test_windows_short_text_is_what_tokenize_gives(tokenizer: Tokenizer) -> None:
    text = "The doctor comes to the village."

    (windows,) = tokenizer.windows([text], "query")

    assert windows.rows == [tokenizer.tokenize([text], "query")[0].ids]
    assert not windows.truncated


def test_windows_too_many_are_refused_by_number(manifest: Manifest) -> None:
    tokenizer = opened(word_tokenizer(), manifest.model_copy(update={"max_tokens": 4}))

    (most,) = tokenizer.windows(["a b " * MOST_WINDOWS], "query")

    assert len(most.rows) == MOST_WINDOWS
    for text in ("a b " * MOST_WINDOWS + "c", "a" * 10**6):
        with pytest.raises(TooLargeError, match=r"inputs\[7\] fills more than 256 windows"):
            tokenizer.windows(["a", text], "query", first=6)


def test_windows_empty_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match=r"inputs\[1\]"):
        tokenizer.windows(["a", " "], "query")


def test_wrap_puts_special_tokens_around_ids_that_have_none(manifest: Manifest) -> None:
    tokenizer = opened(word_tokenizer(), manifest)

    rows = tokenizer.wrap([[4, 5], [2, 4, 5, 3], [2], [4, 3]])

    assert [row.ids for row in rows] == [[2, 4, 5, 3], [2, 4, 5, 3], [2, 2, 3], [2, 4, 3, 3]]
