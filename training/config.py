"""What a training run is made of, read once from TOML and frozen.

Each table of the file is one model here; an unknown or misspelt key is refused by name. The
resolved configuration is stored in the checkpoint, so a checkpoint tells how it was made and a
resumed run cannot silently become another one.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ValidationError, model_validator

from training.rules import problems_of
from training.tables import (
    AdversarialSection,
    AugmentationSection,
    BatchesSection,
    CorporaSection,
    DistillationSection,
    EncoderSection,
    LossSection,
    OptimSection,
    RunSection,
    Section,
    SmoothingSection,
    TokenizerSection,
)

Config = TypeVar("Config", bound=BaseModel)


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which key and why, in one line."""


class TrainConfig(Section):
    """A whole run."""

    run: RunSection
    tokenizer: TokenizerSection
    encoder: EncoderSection
    corpora: CorporaSection
    batches: BatchesSection
    loss: LossSection = LossSection()
    adversarial: AdversarialSection = AdversarialSection()
    smoothing: SmoothingSection = SmoothingSection()
    augmentation: AugmentationSection = AugmentationSection()
    distillation: DistillationSection = DistillationSection()
    optim: OptimSection

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if problems := problems_of(self):
            raise ValueError("; ".join(problems))
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
    return read_config(TrainConfig, path, overrides)


def read_config(model: type[Config], path: Path, overrides: Sequence[str] = ()) -> Config:
    """Do what ``load_config`` does, for any model of a configuration.

    Raises:
        ConfigError: As ``load_config``.
    """
    try:
        tree: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the configuration {path}: {error}") from error
    for override in overrides:
        _apply_override(tree, override)
    try:
        return model.model_validate(tree)
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
