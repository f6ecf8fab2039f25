"""A checkpoint on disk: safetensors and JSON only, complete or absent, never half.

    tokenizer.json        Hugging Face tokenizers file
    model.safetensors     the encoder's weights
    config.json           ``EncoderConfig``
    run.json              how it was made: resolved configuration, corpora, figures
    state.safetensors     optimizer and averages, to resume
    state.json            step and the state's scalars
    manifest.json         names, bytes and sha256 of the others

A save writes a whole new checkpoint into a folder beside the files, renames that folder (now the
save is decided), and only then replaces the files one by one, the manifest last. A process killed
at any moment leaves the old checkpoint, the new one, or a decided save that ``recover`` completes.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

FORMAT_VERSION = 1
TOKENIZER, MODEL, CONFIG, RUN = "tokenizer.json", "model.safetensors", "config.json", "run.json"
STATE, STATE_JSON, MANIFEST = "state.safetensors", "state.json", "manifest.json"
FILES = (TOKENIZER, MODEL, CONFIG, RUN, STATE, STATE_JSON)
BEST = "best"  # folder of the best checkpoint of a run, within that of the last one
_WRITING, _DECIDED = ".checkpoint-writing", ".checkpoint-decided"


class CheckpointError(ValueError):
    """A checkpoint is missing, incomplete or changed; the message says which file, in one line."""


class DenseLayer(BaseModel):
    """A layer between pooling and unit length: out = activation(W x + b), plus x if residual."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: int = Field(ge=1)
    outputs: int = Field(ge=1)
    bias: bool = True
    activation: str = Field(default="Tanh", description="class of torch.nn; see training.dense")
    residual: bool = Field(default=False, description="x goes through a matrix if sizes differ")


class EncoderConfig(BaseModel):
    """What is needed, beside weights and tokenizer, to run an encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["static", "transformer"]
    dim: int = Field(ge=1, description="of a vector")
    vocab_size: int = Field(ge=2)
    max_tokens: int = Field(ge=1)
    pad_id: int = Field(ge=0)
    pooling: Literal["mean", "cls", "last"] = "mean"
    prompts: dict[str, str] = Field(default_factory=lambda: {"query": "", "document": ""})
    backbone: dict[str, Any] | None = Field(default=None, description="transformers configuration")
    dense: tuple[DenseLayer, ...] = Field(default=(), description="after pooling, in order")
    grams: bool = Field(default=False, description="a static one with rows of n-grams too")

    @model_validator(mode="after")
    def _check_dense(self) -> Self:
        wanted = [*(layer.inputs for layer in self.dense[1:]), self.dim]
        for layer, dim in zip(self.dense, wanted, strict=False):
            if layer.outputs != dim:
                raise ValueError(f"a dense layer gives {layer.outputs} dimensions: expected {dim}")
        return self


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a checkpoint holds.

    Attributes:
        tokenizer: Text of ``tokenizer.json``.
        config: Of the encoder.
        weights: The encoder's weights.
        run: How it was made, JSON values only.
        state: Tensors to resume from.
        progress: Scalars to resume from, JSON values only.
    """

    tokenizer: str
    config: EncoderConfig
    weights: Mapping[str, torch.Tensor]
    run: Mapping[str, Any]
    state: Mapping[str, torch.Tensor]
    progress: Mapping[str, Any]


def save_checkpoint(folder: Path, snapshot: Snapshot) -> None:
    """Write a checkpoint, replacing the one before it in one step.

    Raises:
        CheckpointError: If it cannot be written, to a full disk, say; the one before it stays.
    """
    recover(folder)
    writing = folder / _WRITING
    shutil.rmtree(writing, ignore_errors=True)
    try:
        writing.mkdir(parents=True)
        _write_files(writing, snapshot)
        writing.rename(folder / _DECIDED)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(writing, ignore_errors=True)  # gives its space back
        kept = (
            "the one before it is intact" if (folder / MANIFEST).exists() else "there is none yet"
        )
        raise CheckpointError(
            f"cannot write a checkpoint to {folder}: {error}; {kept}: make room, then continue "
            "with --resume"
        ) from error
    recover(folder)


def _write_files(folder: Path, snapshot: Snapshot) -> None:
    (folder / TOKENIZER).write_text(snapshot.tokenizer, encoding="utf-8")
    _write_json(folder / CONFIG, snapshot.config.model_dump())
    _write_json(folder / RUN, snapshot.run)
    _write_json(folder / STATE_JSON, snapshot.progress)
    save_file(_storable(snapshot.weights), folder / MODEL)
    save_file(_storable(snapshot.state), folder / STATE)
    manifest = {
        "format_version": FORMAT_VERSION,
        "files": {name: _fingerprint(folder / name) for name in FILES},
    }
    _write_json(folder / MANIFEST, manifest)
    for name in (*FILES, MANIFEST):
        _sync(folder / name)


def recover(folder: Path) -> None:
    """Complete a decided save that was interrupted; drop one that was not decided."""
    decided = folder / _DECIDED
    if decided.is_dir():
        # From here until its own manifest is moved, the folder holds no checkpoint.
        if (decided / MANIFEST).exists():
            (folder / MANIFEST).unlink(missing_ok=True)
        for name in (*FILES, MANIFEST):
            if (decided / name).exists():
                (decided / name).replace(folder / name)
        _sync(folder)
        shutil.rmtree(decided)
    shutil.rmtree(folder / _WRITING, ignore_errors=True)


def verify_checkpoint(folder: Path) -> None:
    """Check that a checkpoint is complete and unchanged.

    Raises:
        CheckpointError: If the manifest or a file is missing, or a file is not as written.
    """
    if not (folder / MANIFEST).is_file():
        raise CheckpointError(f"no checkpoint at {folder}: expected a {MANIFEST} there")
    manifest = _read_json(folder / MANIFEST)
    if manifest.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder / MANIFEST} has format_version {manifest.get('format_version')!r}: expected "
            f"{FORMAT_VERSION}; use the version of the project that wrote it"
        )
    for name in FILES:
        stated = manifest.get("files", {}).get(name)
        if not (folder / name).is_file() or _fingerprint(folder / name) != stated:
            raise CheckpointError(f"{folder / name} is missing or was changed after it was written")


def load_checkpoint(folder: Path) -> Snapshot:
    """Read a checkpoint after checking every file.

    Raises:
        CheckpointError: If it is not there, incomplete, changed or malformed.
    """
    verify_checkpoint(folder)
    return Snapshot(
        tokenizer=(folder / TOKENIZER).read_text(encoding="utf-8"),
        config=load_encoder_config(folder),
        weights=load_file(folder / MODEL),
        run=_read_json(folder / RUN),
        state=load_file(folder / STATE),
        progress=_read_json(folder / STATE_JSON),
    )


def load_encoder_config(folder: Path) -> EncoderConfig:
    """Read ``config.json``.

    Raises:
        CheckpointError: If it is missing or not an encoder's configuration.
    """
    try:
        return EncoderConfig.model_validate(_read_json(folder / CONFIG))
    except ValidationError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error.errors()[0]['msg']}") from error


def _storable(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _fingerprint(path: Path) -> dict[str, str | int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} holds a {type(value).__name__}: expected a JSON object")
    return value


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
