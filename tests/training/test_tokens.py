import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from training.tokens import TokenTable, tokenize_texts


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
