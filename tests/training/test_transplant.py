"""Rows of a new vocabulary, with old tables whose rows can be told by eye."""

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from training.transplant import Spelling, find_spelling, transplant_rows

DIM = 4


def new_tokenizer(tokens: list[str]) -> Tokenizer:
    vocabulary = {token: index for index, token in enumerate(["[PAD]", "[UNK]", *tokens])}
    return Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))


def old_tokenizer(kind: str, pieces: list[str]) -> Tokenizer:
    special = ["[UNK]", "[PAD]"]
    vocabulary = {token: index for index, token in enumerate([*special, *pieces])}
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    elif kind == "unigram":
        scores = [(token, -float(index)) for token, index in vocabulary.items()]
        tokenizer = Tokenizer(models.Unigram(scores, unk_id=0))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    elif kind == "suffix":
        tokenizer = Tokenizer(
            models.BPE(vocabulary, [], unk_token="[UNK]", end_of_word_suffix="</w>")
        )
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    else:
        tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.add_special_tokens(special)
    return tokenizer


def table_of(tokenizer: Tokenizer) -> torch.Tensor:
    """Row i is (i, i, i, i)."""
    size = tokenizer.get_vocab_size()
    return torch.arange(size, dtype=torch.float32)[:, None].expand(size, DIM)


def transplanted(kind: str, pieces: list[str], tokens: list[str]) -> tuple[torch.Tensor, dict]:
    old, new = old_tokenizer(kind, pieces), new_tokenizer(tokens)
    rows, counts = transplant_rows(new, old, table_of(old), {0: 1, 1: 0}, seed=3)
    return rows, dict(counts)


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        # The word, its inside piece, and two letters of which another word is made.
        ("wordpiece", ["water", "##ing", "m", "##a"]),
        ("unigram", ["\u2581water", "ing", "\u2581m", "a"]),
        ("bytes", ["\u0120water", "ing", "\u0120", "m", "a"]),
        ("suffix", ["water</w>", "ing", "m", "a</w>"]),
    ],
)
def test_transplant_rows_takes_the_same_token_else_the_mean_of_its_pieces(
    kind: str, pieces: list[str]
) -> None:
    rows, counts = transplanted(kind, pieces, ["\u2581water", "ing", "\u2581ma", "\u2581\u044b"])
    index = {piece: 2 + place for place, piece in enumerate(pieces)}
    assert rows[0].tolist() == [1.0] * DIM  # padding to padding
    assert rows[1].tolist() == [0.0] * DIM  # unknown to unknown
    assert rows[2].tolist() == [index[pieces[0]]] * DIM
    assert rows[3].tolist() == [index["##ing" if kind == "wordpiece" else "ing"]] * DIM
    parts = pieces[2:]
    mean = sum(index[part] for part in parts) / len(parts)
    assert rows[4].tolist() == pytest.approx([mean] * DIM)
    # Nothing of the last word is known, though the mark that starts it may be.
    assert counts == {"special": 2, "same": 2, "pieces": 1, "drawn": 1}


def test_transplant_rows_inside_a_word_uses_pieces_from_inside_words() -> None:
    rows, _ = transplanted("wordpiece", ["m", "a", "##m", "##a"], ["ma"])
    assert rows[2].tolist() == pytest.approx([4.5] * DIM)


def test_transplant_rows_looks_pieces_up_as_the_old_tokenizer_normalizes_them() -> None:
    rows, counts = transplanted("wordpiece", ["ma", "##ji"], ["\u2581MAJI"])
    assert rows[2].tolist() == pytest.approx([2.5] * DIM)
    assert counts["pieces"] == 1


def test_transplant_rows_draws_the_rest_like_the_old_rows_and_by_the_seed() -> None:
    old = old_tokenizer("wordpiece", ["a"])
    table = torch.randn(4000, DIM, generator=torch.Generator().manual_seed(0)) * 3 + 5
    new = new_tokenizer([f"\u2581\u044b{index}" for index in range(2000)])
    rows, counts = transplant_rows(new, old, table, {0: 1, 1: 0}, seed=1)
    assert counts["drawn"] == 2000
    assert rows[2:].mean(dim=0).tolist() == pytest.approx([5.0] * DIM, abs=0.4)
    assert rows[2:].std(dim=0).tolist() == pytest.approx([3.0] * DIM, abs=0.3)
    again, _ = transplant_rows(new, old, table, {0: 1, 1: 0}, seed=1)
    other, _ = transplant_rows(new, old, table, {0: 1, 1: 0}, seed=2)
    assert torch.equal(rows, again)
    assert not torch.equal(rows, other)


def test_transplant_rows_of_the_same_vocabulary_are_the_same_rows() -> None:
    pieces = ["\u2581water", "ing", "\u2581m", "a"]
    rows, counts = transplanted("unigram", pieces, pieces)
    assert rows[2:].tolist() == [[2.0] * DIM, [3.0] * DIM, [4.0] * DIM, [5.0] * DIM]
    assert counts["same"] == 4


@pytest.mark.parametrize(
    ("kind", "spelling"),
    [
        ("wordpiece", Spelling(inside="##")),
        ("unigram", Spelling(start="\u2581")),
        ("bytes", Spelling(start="\u0120", bytes=True)),
        ("suffix", Spelling(end="</w>")),
    ],
)
def test_find_spelling_tells_how_words_are_marked(kind: str, spelling: Spelling) -> None:
    assert find_spelling(old_tokenizer(kind, ["a"])) == spelling
