import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from training.config import ConfigError
from training.tokens import (
    Frame,
    TokenTable,
    find_frame,
    find_prompt,
    tokenize_texts,
)


def words() -> Tokenizer:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "a": 2, "b": 3, "c": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def test_tokenize_texts_keeps_every_text_in_order() -> None:
    table = tokenize_texts(words(), ["a b", "c", "b z a"], pad_id=0)
    assert table.ids.tolist() == [2, 3, 4, 3, 1, 2]
    assert table.offsets.tolist() == [0, 2, 3, 6]
    assert table.lengths.tolist() == [2, 1, 3]


def test_tokenize_texts_without_tokens_gets_one_pad() -> None:
    table = tokenize_texts(words(), ["", "a"], pad_id=0)
    assert table.ids.tolist() == [0, 2]
    assert table.lengths.tolist() == [1, 1]


def test_gather_pads_spans_on_the_right() -> None:
    table = TokenTable(np.arange(10, 20, dtype=np.int32), np.array([0, 10]), pad_id=0)
    ids, mask = table.gather(np.array([0, 7]), np.array([3, 1]))
    assert ids.tolist() == [[10, 11, 12], [17, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]


def framed() -> Tokenizer:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "a": 4, "The": 5, "q": 6, ":": 7}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def test_find_frame_tells_special_tokens_from_the_text() -> None:
    assert find_frame(framed()) == Frame((2,), (3,))
    assert find_frame(words()) == Frame()


def test_gather_puts_special_tokens_around_whole_texts_as_the_tokenizer_does() -> None:
    texts = ["a The a q", "q", "a zzz"]
    table = tokenize_texts(framed(), texts, pad_id=0)
    ids, mask = table.gather(table.offsets[:-1], table.lengths)
    for row, text in enumerate(texts):
        expected = framed().encode(text).ids
        assert ids[row][: mask[row].sum()].tolist() == expected
        assert not ids[row][mask[row].sum() :].any()
    assert table.lengths.tolist() == [4, 1, 2]
    assert table.room(5) == 3


def test_gather_with_a_role_puts_its_prompt_before_each_crop() -> None:
    table = tokenize_texts(framed(), ["a The a q"], pad_id=0, prompts={"query": "q: "})
    starts, lengths = np.array([1, 0]), np.array([2, 1])
    ids, mask = table.gather(starts, lengths, "query")
    assert ids.tolist() == [[2, 6, 7, 5, 4, 3], [2, 6, 7, 4, 3, 0]]
    assert mask.sum(axis=1).tolist() == [6, 5]
    assert table.gather(starts, lengths, "document")[0].tolist() == [[2, 5, 4, 3], [2, 4, 3, 0]]
    assert table.room(8) == 4


def test_find_prompt_that_melts_into_the_text_is_refused() -> None:
    tokenizer = framed()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert find_prompt(tokenizer, "q a ") == (6, 4)
    with pytest.raises(ConfigError, match="'q-'"):
        find_prompt(tokenizer, "q-")
