"""Which bodies are taken, and how the others are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.backbones import (
    counts_from_padding,
    describe_backbone,
    most_tokens,
    read_backbone,
    rebuild_backbone,
)
from training.checkpoint import CheckpointError

Pretrained = Callable[[str], Path]


def copy(source: Path, folder: Path) -> Path:
    shutil.copytree(source, folder)
    return folder


def save_library_model(folder: Path, name: str, **layout: Any) -> Path:
    import transformers

    config = getattr(transformers, f"{name}Config")(vocab_size=50, **layout)
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("GPT2", {"n_embd": 16, "n_layer": 1, "n_head": 2}, r"\(gpt2\) is a decoder"),
        (
            "T5",
            {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2},
            r"\(t5\) is an encoder with a decoder",
        ),
        (
            "Canine",
            {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
            r"\(canine\)",
        ),
    ],
)
def test_read_backbone_that_is_no_encoder_of_tokens_is_named_and_refused(
    name: str, layout: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_backbone(save_library_model(tmp_path / name, name, **layout))


def test_read_backbone_of_an_unknown_architecture_runs_none_of_its_code(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    folder = copy(pretrained("bert"), tmp_path / "own")
    described = json.loads((folder / "config.json").read_text())
    described |= {"model_type": "own", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}}
    (folder / "config.json").write_text(json.dumps(described))
    (folder / "evil.py").write_text("raise SystemExit('was run')")
    with pytest.raises(CheckpointError, match=r"auto_map: evil\.C, evil\.M.*no code of a folder"):
        read_backbone(folder)
    del described["auto_map"]
    (folder / "config.json").write_text(json.dumps(described))
    with pytest.raises(CheckpointError, match="cannot read the backbone"):
        read_backbone(folder)


def test_read_backbone_with_pickled_weights_says_how_to_convert(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    folder = copy(pretrained("bert"), tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin, a pickle.*save_pretrained"):
        read_backbone(folder)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(CheckpointError, match=r"no model\.safetensors"):
        read_backbone(folder)


def test_read_backbone_that_lacks_weights_is_refused(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    folder = copy(pretrained("bert"), tmp_path / "less")
    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layer.1.output.dense.weight"))
    del weights[lost]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights.*output\.dense\.weight"):
        read_backbone(folder)


def test_read_backbone_in_half_precision_is_trained_in_float32(
    pretrained: Pretrained, tmp_path: Path
) -> None:
    folder = copy(pretrained("bert"), tmp_path / "half")
    weights = {k: v.half() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, "dtype": "float16"}))
    backbone = read_backbone(folder)
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.float32}
    rebuilt = rebuild_backbone(describe_backbone(backbone), backbone.state_dict())
    assert {parameter.dtype for parameter in rebuilt.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("kind", "counts"), [("bert", False), ("xlm-roberta", True), ("mpnet", True), ("xlm", False)]
)
def test_most_tokens_leaves_the_positions_before_the_first_out(
    kind: str, counts: bool, pretrained: Pretrained
) -> None:
    backbone = read_backbone(pretrained(kind))
    assert counts_from_padding(backbone) == counts
    most = most_tokens(backbone)
    assert most == 40
    table = backbone.get_input_embeddings().weight
    for tokens, fits in ((most, True), (most + 1, False)):
        block = {
            "inputs_embeds": table[:1].expand(tokens, -1)[None],
            "attention_mask": torch.ones(1, tokens, dtype=torch.int64),
        }
        if fits:
            assert backbone(**block).last_hidden_state.shape[1] == tokens
        else:
            with pytest.raises((IndexError, RuntimeError)):
                backbone(**block)


def test_rebuild_backbone_without_an_architecture_is_refused() -> None:
    with pytest.raises(CheckpointError, match="makes no transformer"):
        rebuild_backbone({}, [])
