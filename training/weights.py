"""Whether a folder's files are a whole, plain model: weights in safetensors, and nothing to run.

transformers draws weights that a folder lacks at random and leaves out those it has no place for,
both with no more than a warning. Here the first is refused, and the second as far as they belong to
the body (heads and pooling layers on top of it do not).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.checkpoint import CheckpointError
from training.modules import read_json

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
# Tables of numbers 0, 1, 2, ... that older versions saved and no version needs.
_COUNTED = re.compile(r"(^|\.)(position_ids|token_type_ids|rotary_emb\.inv_freq)$")


def require_plain(path: Path) -> None:
    """Check that a model needs no code, no other model and no unpacking.

    Raises:
        CheckpointError: If it does.
    """
    if (path / "adapter_config.json").is_file():
        raise CheckpointError(
            f"{path} holds an adapter (adapter_config.json): expected a whole model; merge it into "
            "its base with merge_and_unload() of peft and save that"
        )
    if not (path / "config.json").is_file():
        return  # the library says so better
    described = read_json(path / "config.json")
    if code := described.get("auto_map"):
        named = ", ".join(map(str, code.values())) if isinstance(code, dict) else str(code)
        raise CheckpointError(
            f"{path / 'config.json'} names code of the folder's own (auto_map: {named}): expected "
            "an architecture of transformers itself, for no code of a folder is run. If "
            f"transformers has this one ({described.get('model_type')}) by now, load it there, "
            "compare its vectors and save it again: the new config.json has no auto_map"
        )
    if described.get("quantization_config"):
        raise CheckpointError(
            f"{path / 'config.json'} has quantization_config: expected weights as they were "
            "trained; export makes 8 bits itself"
        )


def require_safetensors(path: Path) -> None:
    """Check that there are weights, in one file or in those that an index lists.

    Raises:
        CheckpointError: If they are absent, pickled, or said to lie outside the folder.
    """
    if (path / WEIGHTS).is_file():
        return
    if (path / INDEX).is_file():
        _require_shards(path)
        return
    pickled = sorted(found.name for found in path.glob("pytorch_model*.bin"))
    if pickled:
        raise CheckpointError(
            f"{path} holds its weights in {pickled[0]}, a pickle, which can run code: expected "
            f"{WEIGHTS}. If you trust it, convert it with AutoModel.from_pretrained(FOLDER)"
            ".save_pretrained(FOLDER) of transformers"
        )
    raise CheckpointError(f"cannot read the backbone {path}: no {WEIGHTS} there")


def _require_shards(path: Path) -> None:
    placed = read_json(path / INDEX).get("weight_map")
    if not isinstance(placed, dict) or not placed:
        raise CheckpointError(f"{path / INDEX} has no weight_map: expected which weight is where")
    for name in sorted({str(name) for name in placed.values()}):
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise CheckpointError(
                f"{path / INDEX} names {name!r}: expected a safetensors file beside it"
            )
        if not (path / name).is_file():
            raise CheckpointError(
                f"{path / INDEX} names {name}, which is not there: expected all parts of the "
                "weights; download the folder again"
            )


def require_all(path: Path, backbone: Any, report: Mapping[str, Any]) -> None:
    """Check what the library reports of loading: each weight of the body came from the folder.

    Args:
        path: Of the folder.
        backbone: As loaded.
        report: The library's ``output_loading_info``.

    Raises:
        CheckpointError: If a weight is missing, has no place in the body, or is no number.
    """
    kind = type(backbone).__name__
    if missing := sorted(report["missing_keys"]):
        raise CheckpointError(
            f"the backbone {path} lacks {len(missing)} weights, {missing[0]} among them: expected "
            f"all of a {kind}"
        )
    parts = {name for name, _ in backbone.named_children()} - {"pooler"}
    prefix = f"{backbone.base_model_prefix}."
    spare = sorted(
        name
        for name in report["unexpected_keys"]
        if name.removeprefix(prefix).partition(".")[0] in parts and not _COUNTED.search(name)
    )
    if spare:
        raise CheckpointError(
            f"the backbone {path} holds {len(spare)} weights, {spare[0]} among them, that its "
            f"config.json has no place for: expected those of a {kind} as it says; is the number "
            "of layers right?"
        )
    for name, weight in backbone.state_dict().items():
        if not torch.isfinite(weight).all():
            raise CheckpointError(
                f"the backbone {path} has weights in {name} that are not finite: expected numbers"
            )
