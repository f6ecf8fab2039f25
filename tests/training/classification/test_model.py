from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from training.checkpoint import (
    CheckpointError,
    EncoderConfig,
    Snapshot,
    load_checkpoint,
    save_checkpoint,
)
from training.classification.config import BackboneSection
from training.classification.model import PairClassifier, classifier_of, new_classifier
from training.classification.storage import load_snapshot
from training.classification.tasks import PAWSX, XNLI
from training.classification.tokenization import (
    PairTokenizer,
    backbone_tokenizer,
    learned_tokenizer,
)

SECTION = BackboneSection(max_tokens=16, dim=16, vocab_size=256, romanize=False)
FIRST, SECOND = ["big cat", "dog"], ["old dog", "big old cat"]


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    return learned_tokenizer(SECTION, ["big cat", "old dog"] * 3)


@pytest.fixture
def bert(tmp_path: Path, tokenizer: PairTokenizer) -> Path:
    """A pretrained backbone as transformers saves it, pooling layer and all."""
    torch.manual_seed(1)
    layout = BertConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
        pad_token_id=tokenizer.pad_id,
    )
    BertModel(layout).save_pretrained(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer.json").write_text(tokenizer.saved)
    return tmp_path / "bert"


def scores(model: PairClassifier, tokenizer: PairTokenizer) -> torch.Tensor:
    block = tokenizer.encode(FIRST, SECOND)
    with torch.no_grad():
        return model.eval()(block.input_ids, block.attention_mask)


def snapshot_of(model: PairClassifier, tokenizer: PairTokenizer) -> Snapshot:
    return Snapshot(tokenizer.saved, model.config, model.state_dict(), {}, {}, {"step": 1})


@pytest.mark.parametrize("task", [PAWSX, XNLI], ids=lambda task: task.name)
def test_new_classifier_has_a_score_for_each_class(task, tokenizer: PairTokenizer) -> None:
    model = new_classifier(SECTION, task, tokenizer)
    assert scores(model, tokenizer).shape == (2, len(task.labels))
    assert model.config.labels == task.labels


def test_classifier_scores_a_pair_alone_as_in_a_batch(tokenizer: PairTokenizer) -> None:
    model = new_classifier(SECTION, PAWSX, tokenizer).eval()
    together = scores(model, tokenizer)
    for row in range(2):
        block = tokenizer.encode(FIRST[row : row + 1], SECOND[row : row + 1])
        with torch.no_grad():
            alone = model(block.input_ids, block.attention_mask)
        assert torch.allclose(alone[0], together[row], atol=1e-6)


def test_classifier_on_a_backbone_computes_what_transformers_does(bert: Path) -> None:
    """States with token types, and the pooling layer, are those of the saved model."""
    section = BackboneSection(backbone=str(bert), max_tokens=16)
    tokenizer = backbone_tokenizer(section)
    model = new_classifier(section, PAWSX, tokenizer).eval()
    with torch.no_grad():
        model.scores.weight.copy_(torch.eye(16)[:2])
    block = tokenizer.encode(FIRST, SECOND)
    found = [Tokenizer.from_str(tokenizer.saved).encode(a, b) for a, b in zip(FIRST, SECOND)]  # noqa: B905
    width = block.input_ids.shape[1]
    types = torch.tensor([[*one.type_ids, *[1] * (width - len(one))] for one in found])
    assert bool(types.any())
    with torch.no_grad():
        expected = BertModel.from_pretrained(bert).eval()(
            input_ids=block.input_ids, attention_mask=block.attention_mask, token_type_ids=types
        )
    assert torch.allclose(scores(model, tokenizer), expected.pooler_output[:, :2], atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"max_tokens": 32}, "16 positions"), ({"backbone": "absent"}, "absent")],
)
def test_new_classifier_backbone_that_does_not_fit_is_refused(
    bert: Path, changes: dict, message: str
) -> None:
    section = BackboneSection(**({"backbone": str(bert), "max_tokens": 16} | changes))
    with pytest.raises(CheckpointError, match=message):
        new_classifier(section, PAWSX, backbone_tokenizer(section))


def test_classifier_of_a_saved_checkpoint_scores_alike(
    tmp_path: Path, tokenizer: PairTokenizer
) -> None:
    model = new_classifier(SECTION, XNLI, tokenizer)
    save_checkpoint(tmp_path, snapshot_of(model, tokenizer))
    before = load_snapshot(tmp_path)
    assert before.config == model.config
    assert torch.equal(scores(classifier_of(before), tokenizer), scores(model, tokenizer))


def test_load_checkpoint_takes_no_classifier_for_an_encoder(
    tmp_path: Path, tokenizer: PairTokenizer
) -> None:
    model = new_classifier(SECTION, XNLI, tokenizer)
    save_checkpoint(tmp_path, snapshot_of(model, tokenizer))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        load_checkpoint(tmp_path)


def test_load_snapshot_takes_no_encoder_for_a_classifier(
    tmp_path: Path, tokenizer: PairTokenizer
) -> None:
    config = EncoderConfig(kind="static", dim=2, vocab_size=3, max_tokens=4, pad_id=0)
    save_checkpoint(tmp_path, Snapshot(tokenizer.saved, config, {}, {}, {}, {}))
    with pytest.raises(CheckpointError, match=r"not a classifier's checkpoint \(task"):
        load_snapshot(tmp_path)
