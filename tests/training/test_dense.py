"""Dense layers after pooling: computed, read from folders, trained and saved."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModel, PreTrainedTokenizerFast

from training.assembly import first_encoder, load_encoder
from training.checkpoint import CheckpointError, DenseLayer, EncoderConfig, load_checkpoint
from training.config import TrainConfig
from training.dense import ACTIVATIONS, Dense, open_dense
from training.folders import open_folder
from training.loop import train
from training.model import TransformerEncoder, as_encode
from training.vocabulary import first_vocabulary, vocabulary_of

TEXTS = ("Mwagilia mahindi jioni.", "Water the maize in the evening, when the sun is low.", "Dada")
Pretrained = Callable[[str], Path]


def configure(config: TrainConfig, folder: Path, **tables: dict[str, Any]) -> TrainConfig:
    tree = config.model_dump()
    shape = {"kind": "transformer", "dim": 12, "max_tokens": 32, "backbone": str(folder)}
    tree["encoder"] = shape | tables.pop("encoder", {})
    tree["tokenizer"] = {"source": "backbone"}
    tree["optim"] |= {"steps": 2, "lr": 1e-3, "warmup": 0}
    return TrainConfig.model_validate({**tree, **{k: tree[k] | v for k, v in tables.items()}})


def reference(folder: Path) -> np.ndarray:
    """Encode by the library's body and tokenizer, pooling and layers written out."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    inputs = tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    with torch.inference_mode():
        states = AutoModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None].float()
        pooled = (states * mask).sum(1) / mask.sum(1)
        first = load_file(folder / "2_Dense" / "model.safetensors")
        second = load_file(folder / "3_Dense" / "model.safetensors")
        pooled = torch.relu(pooled @ first["linear.weight"].T + first["linear.bias"])
        pooled = torch.tanh(pooled @ second["linear.weight"].T)
    return functional.normalize(pooled, dim=-1).numpy()


@pytest.fixture
def layer(pretrained: Pretrained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained("dense") / "2_Dense", tmp_path / "2_Dense"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"outputs": 1, "activation": "Identity"}, [[-4.5]]),
        ({"outputs": 1, "activation": "ReLU"}, [[0.0]]),
        ({"outputs": 1, "activation": "Identity", "bias": False}, [[-5.0]]),
        ({"outputs": 2, "activation": "ReLU", "residual": True}, [[1.0, -3.0]]),
        ({"outputs": 1, "activation": "Identity", "residual": True}, [[2.5]]),
    ],
)
def test_dense_computes_what_its_description_says(
    options: dict[str, Any], expected: list[list[float]]
) -> None:
    dense = Dense(DenseLayer(inputs=2, **options))
    with torch.no_grad():
        dense.linear.weight[:] = torch.tensor([1.0, 2.0])
        if dense.linear.bias is not None:
            dense.linear.bias[:] = 0.5
        if dense.residual is not None:
            dense.residual.weight[:] = torch.tensor([[1.0, -2.0]])
        assert dense(torch.tensor([[1.0, -3.0]])).tolist() == expected


@pytest.mark.parametrize("kind", sorted(set(ACTIVATIONS) - {"Identity"}))
def test_dense_activation_is_torchs_function(kind: str) -> None:
    name = {"LeakyReLU": "leaky_relu"}.get(kind, kind.lower())
    values = torch.linspace(-2, 2, 9)[:, None]
    dense = Dense(DenseLayer(inputs=1, outputs=1, bias=False, activation=kind))
    torch.nn.init.ones_(dense.linear.weight)
    function = getattr(functional, name, None) or getattr(torch, name)
    assert torch.allclose(dense(values), function(values))


def test_encoder_config_with_layers_that_do_not_join_is_refused() -> None:
    layers = [{"inputs": 4, "outputs": 3}, {"inputs": 3, "outputs": 2}]
    shape = {"kind": "transformer", "vocab_size": 9, "max_tokens": 9, "pad_id": 0, "dense": layers}
    assert EncoderConfig.model_validate({**shape, "dim": 2}).dense[1].outputs == 2
    with pytest.raises(ValueError, match="gives 2 dimensions: expected 3"):
        EncoderConfig.model_validate({**shape, "dim": 3})


def test_open_folder_reads_dense_layers_in_order(pretrained: Pretrained) -> None:
    layers = [part.layer for part in open_folder(pretrained("dense")).dense]
    assert layers == [
        DenseLayer(inputs=16, outputs=24, activation="ReLU"),
        DenseLayer(inputs=24, outputs=12, activation="Tanh", bias=False),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation_function": "torch.nn.modules.activation.RReLU"}, "'RReLU': expected one of"),
        ({"activation_function": "evil.Tanh"}, r"'evil\.Tanh'.*no code of a folder is run"),
        ({"module_input_name": "token_embeddings"}, "layers on tokens are not supported"),
        ({"gate": True}, "has gate: expected"),
        ({"in_features": 0}, "describes no dense layer: inputs"),
    ],
)
def test_open_dense_with_what_is_not_followed_names_it(
    changes: dict[str, Any], message: str, layer: Path
) -> None:
    change(layer / "config.json", **changes)
    with pytest.raises(CheckpointError, match=message):
        open_dense(layer)


def test_open_dense_without_an_activation_takes_the_librarys(layer: Path) -> None:
    described = json.loads((layer / "config.json").read_text())
    del described["activation_function"]
    (layer / "config.json").write_text(json.dumps(described))
    assert open_dense(layer).layer.activation == "Tanh"


def test_dense_weights_that_do_not_fit_are_refused(layer: Path) -> None:
    opened = open_dense(layer)
    weights = opened.weights()
    save_file({"linear.weight": weights["linear.weight"]}, layer / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"expected linear\.bias \(24,\), linear\.weight"):
        opened.weights()
    broken = {**weights, "linear.bias": torch.full((24,), torch.nan)}
    save_file(broken, layer / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"linear\.bias that are not finite"):
        opened.weights()
    (layer / "model.safetensors").rename(layer / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle"):
        opened.weights()
    (layer / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match="cannot read the dense layer"):
        opened.weights()


def test_train_on_a_backbone_with_dense_layers_goes_on_with_them(
    pretrained: Pretrained,
    config: TrainConfig,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    folder = pretrained("dense")
    noise = {"noise": "gaussian", "at": "states"}
    config = configure(config, folder, smoothing=noise, loss={"matryoshka": [4]})
    nothing: Any = None  # a folder's own vocabulary reads no corpora
    vocabulary = first_vocabulary(config, nothing)
    before = first_encoder(config, vocabulary)
    assert isinstance(before, TransformerEncoder)
    assert (before.config.dim, before.state_dim) == (12, 16)
    expected = reference(folder)
    assert as_encode(before, vocabulary.tokenizer)(TEXTS) == pytest.approx(expected, abs=2e-6)

    train(config, tmp_path, resume=False)

    after = load_encoder(tmp_path)
    snapshot = load_checkpoint(tmp_path)
    vectors = as_encode(after, vocabulary_of(snapshot).tokenizer)(TEXTS)
    assert vectors.shape == (3, 12)
    assert 1e-5 < np.abs(vectors - expected).max() < 0.5
    old = before.state_dict()["dense.0.linear.weight"]
    assert not torch.equal(snapshot.weights["dense.0.linear.weight"], old)
    again = configure(config, folder).model_dump()
    again["encoder"] |= {"backbone": "", "start": str(tmp_path)}
    again["tokenizer"] = {"source": "start"}
    started = first_encoder(TrainConfig.model_validate(again), vocabulary_of(snapshot))
    assert np.array_equal(as_encode(started, vocabulary.tokenizer)(TEXTS), vectors)


def test_first_encoder_with_dense_layers_needs_their_dimension(
    pretrained: Pretrained, config: TrainConfig
) -> None:
    config = configure(config, pretrained("dense"), encoder={"dim": 16})
    nothing: Any = None
    vocabulary = first_vocabulary(config, nothing)
    with pytest.raises(CheckpointError, match=r"dense layers make 12.*set encoder.dim = 12"):
        first_encoder(config, vocabulary)


def test_first_encoder_with_dense_layers_has_no_states_for_transport(
    pretrained: Pretrained, config: TrainConfig
) -> None:
    config = configure(config, pretrained("dense"))
    distillation = config.distillation.model_copy(update={"transport": 1.0})
    config = config.model_copy(update={"distillation": distillation})
    nothing: Any = None
    with pytest.raises(
        CheckpointError, match=r"states of 16 dimensions.*distillation.transport = 0"
    ):
        first_encoder(config, first_vocabulary(config, nothing))


def test_first_encoder_with_dense_layers_of_another_body_is_refused(
    pretrained: Pretrained, config: TrainConfig, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(pretrained("dense"), tmp_path / "mixed"))
    change(folder / "2_Dense" / "config.json", in_features=8)
    config = configure(config, folder)
    nothing: Any = None
    with pytest.raises(CheckpointError, match=r"takes 8 dimensions, the body .* gives 16"):
        first_encoder(config, first_vocabulary(config, nothing))
