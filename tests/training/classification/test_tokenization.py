import pytest
from tokenizers import Tokenizer, models, processors

from training.checkpoint import CheckpointError
from training.classification.config import BackboneSection
from training.classification.model import second_sentence
from training.classification.tokenization import PairTokenizer, learned_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    section = BackboneSection(max_tokens=8, vocab_size=256, romanize=False)
    return learned_tokenizer(section, ["big cat", "old dog"] * 3)


def test_learned_tokenizer_writes_pairs_as_bert_does(tokenizer: PairTokenizer) -> None:
    block = tokenizer.encode(["big cat", "dog"], ["old dog", "cat"])
    assert block.attention_mask.tolist() == [[1] * 7, [1] * 5 + [0] * 2]
    tokens = Tokenizer.from_str(tokenizer.saved)
    names = [tokens.id_to_token(index) for index in block.input_ids[1].tolist()]
    assert names[:5] == ["[CLS]", "\u2581dog", "[SEP]", "\u2581cat", "[SEP]"]
    assert names[5:] == ["[PAD]"] * 2
    assert tokenizer.special_ids == [0, 2, 3]


def test_encode_cuts_the_longer_sentence(tokenizer: PairTokenizer) -> None:
    row = tokenizer.encode(["big cat big cat big cat"], ["old"]).input_ids[0].tolist()
    kept = Tokenizer.from_str(tokenizer.saved).decode(row, skip_special_tokens=False)
    assert len(row) == 8
    assert kept.split("[SEP]")[1].strip(" \u2581") == "old"


def test_second_sentence_agrees_with_token_types(tokenizer: PairTokenizer) -> None:
    pair = Tokenizer.from_str(tokenizer.saved).encode("big cat", "old dog")
    block = tokenizer.encode(["big cat"], ["old dog"])
    assert second_sentence(block.input_ids, tokenizer.end_id)[0].long().tolist() == pair.type_ids


def test_pair_tokenizer_without_types_has_no_end() -> None:
    tokens = Tokenizer(models.WordLevel({"a": 0, "<s>": 1, "</s>": 2, "<pad>": 3}, unk_token="a"))
    tokens.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    tokenizer = PairTokenizer(tokens, pad_id=3, max_tokens=8)
    assert tokenizer.end_id is None
    assert tokenizer.encode(["a"], ["a"]).input_ids.tolist() == [[1, 0, 2, 2, 0, 2]]


def test_pair_tokenizer_without_template_is_refused() -> None:
    tokens = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(CheckpointError, match="no special tokens before and after a pair"):
        PairTokenizer(tokens, pad_id=0, max_tokens=8)
