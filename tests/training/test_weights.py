"""Whole, plain models: what a folder may hold, and what it must."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from training.backbones import read_backbone
from training.checkpoint import CheckpointError

Pretrained = Callable[[str], Path]


@pytest.fixture
def body(pretrained: Pretrained, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pretrained("bert"), tmp_path / "body"))


def rewrite(body: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(body / "model.safetensors")
    change(weights)
    save_file(weights, body / "model.safetensors", {"format": "pt"})


def shard(body: Path) -> dict[str, str]:
    """Put the weights into two files and an index."""
    weights = load_file(body / "model.safetensors")
    (body / "model.safetensors").unlink()
    names = sorted(weights)
    halves = {"model-00001-of-00002": names[::2], "model-00002-of-00002": names[1::2]}
    for name, part in halves.items():
        save_file({n: weights[n] for n in part}, body / f"{name}.safetensors", {"format": "pt"})
    placed = {n: f"{name}.safetensors" for name, part in halves.items() for n in part}
    write_index(body, placed)
    return placed


def write_index(body: Path, placed: dict[str, str]) -> None:
    index = {"metadata": {"total_size": 0}, "weight_map": placed}
    (body / "model.safetensors.index.json").write_text(json.dumps(index))


def test_read_backbone_in_several_files_is_the_same(body: Path, pretrained: Pretrained) -> None:
    shard(body)
    found = read_backbone(body).state_dict()
    expected = read_backbone(pretrained("bert")).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "model.bin"])
def test_read_backbone_with_a_part_elsewhere_is_refused(name: str, body: Path) -> None:
    placed = shard(body)
    write_index(body, {**placed, next(iter(placed)): name})
    with pytest.raises(CheckpointError, match="expected a safetensors file beside it"):
        read_backbone(body)


def test_read_backbone_with_a_part_missing_is_refused(body: Path) -> None:
    shard(body)
    (body / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-00002.safetensors, which is not there"):
        read_backbone(body)
    write_index(body, {})
    with pytest.raises(CheckpointError, match="has no weight_map"):
        read_backbone(body)


def test_read_backbone_with_more_layers_than_it_says_is_refused(body: Path) -> None:
    described = json.loads((body / "config.json").read_text())
    (body / "config.json").write_text(json.dumps({**described, "num_hidden_layers": 1}))
    with pytest.raises(CheckpointError, match=r"layer\.1\..*that its config\.json has no place"):
        read_backbone(body)


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_read_backbone_leaves_heads_and_counted_tables_out(prefix: str, body: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        for name in list(weights):
            weights[prefix + name] = weights.pop(name)
        weights["cls.predictions.bias"] = torch.zeros(3)
        weights[f"{prefix}pooler.dense.bias"] = torch.zeros(16)
        weights[f"{prefix}embeddings.position_ids"] = torch.arange(40)[None]

    rewrite(body, change)
    assert read_backbone(body).config.model_type == "bert"


def test_read_backbone_with_weights_that_are_no_numbers_is_refused(body: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["encoder.layer.0.output.dense.weight"][0, 0] = torch.inf

    rewrite(body, change)
    with pytest.raises(
        CheckpointError, match=r"layer\.0\.output\.dense\.weight that are not finite"
    ):
        read_backbone(body)


def test_read_backbone_with_weights_of_another_shape_is_refused(body: Path) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["encoder.layer.0.output.dense.weight"] = torch.zeros(16, 31)

    rewrite(body, change)
    with pytest.raises(CheckpointError, match="cannot read the backbone"):
        read_backbone(body)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("adapter_config.json", {"peft_type": "LORA"}, r"an adapter.*merge_and_unload"),
        ("config.json", {"quantization_config": {"bits": 4}}, "has quantization_config"),
        ("config.json", {"auto_map": {"AutoModel": "own.Model"}}, r"auto_map: own\.Model"),
    ],
)
def test_read_backbone_that_is_not_whole_and_plain_is_refused(
    name: str, content: dict[str, Any], message: str, body: Path
) -> None:
    described = json.loads((body / name).read_text()) if (body / name).exists() else {}
    (body / name).write_text(json.dumps({**described, **content}))
    with pytest.raises(CheckpointError, match=message):
        read_backbone(body)
