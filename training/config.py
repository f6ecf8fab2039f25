"""What a training run is made of, read once from TOML and frozen.

Each table of the file is one model here; an unknown or misspelt key is refused by name. The
resolved configuration is stored in the checkpoint, so a checkpoint tells how it was made and a
resumed run cannot silently become another one.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

TEACHER_DIM = 384


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which key and why, in one line."""


class Section(BaseModel):
    """A table of the file: frozen, and no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerSection(Section):
    """The vocabulary, learned from a sample that favors small languages."""

    vocab_size: int = Field(ge=256, le=1_000_000, description="tokens, [PAD] and [UNK] included")
    sample_characters: int = Field(default=20_000_000, ge=10_000, description="text to learn from")
    romanize: bool = Field(default=True, description="write all scripts but Chinese in Latin")


class EncoderSection(Section):
    """The network from tokens to a unit vector."""

    kind: Literal["static", "transformer"]
    dim: int = Field(ge=8, le=4096, description="of a vector; a transformer's hidden size")
    max_tokens: int = Field(ge=8, le=8192, description="longer texts are cut")
    layers: int = Field(default=2, ge=1, le=48, description="of a new transformer")
    heads: int = Field(default=2, ge=1, le=64, description="of a new transformer")
    teacher_table: bool = Field(default=False, description="start a static one from the teacher")
    backbone: str = Field(default="", description="folder of a pretrained transformer, or new")


class CorporaSection(Section):
    """What is read, and how often each language and corpus is drawn."""

    shippable: bool = Field(default=False, description="refuse corpora not fit for an artifact")
    weights: dict[str, float] = Field(min_length=1, description="corpus -> weight of its pairs")
    languages: tuple[str, ...] = Field(default=(), description="only these; empty: all")
    language_exponent: float = Field(default=0.5, ge=0.0, le=1.0, description="of a bucket's size")


class BatchesSection(Section):
    """How pairs become batches (hybrid batches: cross-lingual or in one language)."""

    pairs: int = Field(ge=2, le=65_536, description="in a batch")
    cross_probability: float = Field(default=0.5, ge=0.0, le=1.0, description="cross-lingual share")
    single_corpus: float = Field(default=0.0, ge=0.0, le=1.0, description="share from one corpus")
    pivot_free: float = Field(default=0.3, ge=0.0, le=1.0, description="X-Y pairs without pivot")
    neighbor_probability: float = Field(default=0.3, ge=0.0, le=1.0, description="in mono batches")


class LossSection(Section):
    """What is minimized."""

    temperature: float = Field(default=0.05, gt=0.0, le=1.0)
    symmetric: bool = True
    distillation: float = Field(default=0.0, ge=0.0, description="weight; 0: no teacher")
    teacher_texts: int = Field(default=12_000, ge=1, description="texts the teacher encodes")
    epsilon: float = Field(default=0.0, ge=0.0, description="adversarial radius; 0: none")
    epsilon_relative: bool = Field(default=True, description="in units of the mean token norm")
    adversarial_weight: float = Field(default=0.5, ge=0.0, le=1.0, description="clean: the rest")


class OptimSection(Section):
    """Adam by row (static) or AdamW (transformer); linear warm-up, then a cosine."""

    steps: int = Field(ge=1)
    lr: float = Field(gt=0.0)
    warmup: int = Field(default=0, ge=0, description="steps")
    weight_decay: float = Field(default=0.0, ge=0.0)
    clip_norm: float = Field(default=1.0, gt=0.0, description="of a transformer's gradient")
    ema: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="decay of averaged weights; 0: none"
    )


class RunSection(Section):
    """What surrounds the training proper."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0, description="of the CPU; 0: torch's choice")
    save_every: int = Field(default=0, ge=0, description="steps; 0: only at the end")
    evaluate_every: int = Field(default=0, ge=0, description="steps; 0: never")


class TrainConfig(Section):
    """A whole run."""

    run: RunSection
    tokenizer: TokenizerSection
    encoder: EncoderSection
    corpora: CorporaSection
    batches: BatchesSection
    loss: LossSection
    optim: OptimSection

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if self.encoder.kind == "transformer" and self.encoder.dim % self.encoder.heads:
            raise ValueError(
                f"encoder.dim {self.encoder.dim} is not a multiple of encoder.heads "
                f"{self.encoder.heads}"
            )
        if self.encoder.kind == "static" and self.encoder.backbone:
            raise ValueError("encoder.backbone needs encoder.kind = 'transformer'")
        if self.encoder.kind == "static" and self.optim.weight_decay:
            raise ValueError("optim.weight_decay needs encoder.kind = 'transformer'")
        if self.encoder.kind == "transformer" and self.encoder.teacher_table:
            raise ValueError("encoder.teacher_table needs encoder.kind = 'static'")
        taught = self.encoder.teacher_table or self.loss.distillation
        if taught and self.encoder.dim != TEACHER_DIM:
            raise ValueError(f"the teacher's vectors need encoder.dim = {TEACHER_DIM}")
        return self


def load_config(path: Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a TOML file, apply ``table.key=value`` overrides and validate.

    Args:
        path: The TOML file.
        overrides: Such as ``optim.lr=3e-5``; the value is TOML, or else a bare string.

    Raises:
        ConfigError: If the file cannot be read, an override is malformed, or a key or value is
            not allowed.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    for override in overrides:
        _apply_override(tree, override)
    try:
        return TrainConfig.model_validate(tree)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'configuration'}: {item['msg']}"
            for item in error.errors()
        )
        raise ConfigError(f"{path}: {problems}") from error


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or len(parts) < 2 or not all(parts):
        raise ConfigError(f"got --set {override!r}: expected table.key=value, as in optim.lr=3e-5")
    node = tree
    for part in parts[:-1]:
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise ConfigError(f"got --set {override!r}: {part!r} is a value, not a table")
    node[parts[-1]] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # an unquoted string, such as a name or a path
