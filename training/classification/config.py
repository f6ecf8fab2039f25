"""What a run of sentence-pair classification is made of, in the manner of ``TrainConfig``.

The defaults are the recipe of the authors' repository of robust training (Huang et al. 2021,
https://arxiv.org/abs/2104.08645): AdamW at 2e-5 without weight decay, linear decay without
warm-up, gradients clipped at 1, 32 pairs in a batch, 128 tokens, the checkpoint chosen by
accuracy on the English development set.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from training.classification.tasks import ENGLISH, TASKS
from training.config import AdversarialSection, Section, SmoothingSection, read_config


class DataSection(Section):
    """Which task, where its files lie, and the languages to train on."""

    task: Literal["pawsx", "xnli"]
    folder: str = Field(min_length=1, description="with the files as published, or XTREME's")
    train_languages: tuple[str, ...] = Field(default=(ENGLISH,), min_length=1)
    dev_languages: tuple[str, ...] = Field(
        default=(ENGLISH,), min_length=1, description="whose mean accuracy chooses the checkpoint"
    )


class BackboneSection(Section):
    """The transformer under the classification head."""

    backbone: str = Field(default="", description="folder of a pretrained transformer; empty: new")
    max_tokens: int = Field(default=128, ge=8, le=8192, description="of a pair; longer ones cut")
    dropout: float = Field(default=0.1, ge=0.0, lt=1.0, description="of head and new transformer")
    dim: int = Field(default=64, ge=8, le=4096, description="of a new transformer")
    layers: int = Field(default=2, ge=1, le=48, description="of a new transformer")
    heads: int = Field(default=2, ge=1, le=64, description="of a new transformer")
    vocab_size: int = Field(default=8000, ge=256, le=1_000_000, description="of a new one")
    romanize: bool = Field(default=True, description="vocabulary of a new one: all in Latin")


class PairBatchesSection(Section):
    """How many pairs a step sees, and how many at a time."""

    pairs: int = Field(default=32, ge=1, le=65_536, description="in a batch")
    chunk: int = Field(default=0, ge=0, description="pairs encoded at a time, twice each; 0: all")


class SynonymSection(Section):
    """Words replaced by their neighbors in the training set, once and for all (RS-DA)."""

    dictionaries: tuple[str, ...] = Field(default=(), description="files of words")
    copies: int = Field(default=0, ge=0, le=1000, description="in place of each pair; 0: none")


class PairOptimSection(Section):
    """AdamW, linear decay to zero without warm-up."""

    epochs: int = Field(ge=1, le=1000, description="over all copies of the training set")
    lr: float = Field(default=2e-5, gt=0.0)
    weight_decay: float = Field(default=0.0, ge=0.0, description="of matrices")
    clip_norm: float = Field(default=1.0, gt=0.0)


class PairRunSection(Section):
    """What surrounds the training proper."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    seed: int = Field(default=0, ge=0)
    threads: int = Field(default=0, ge=0, description="of the CPU; 0: torch's choice")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="of autocast")
    evaluate_every: int = Field(default=500, ge=1, description="steps; the last one counts too")
    save_every: int = Field(default=0, ge=0, description="steps, to resume from; 0: at the end")
    log_every: int = Field(default=50, ge=1, description="steps between lines of log.jsonl")


class PairConfig(Section):
    """A whole run."""

    run: PairRunSection
    data: DataSection
    encoder: BackboneSection = BackboneSection()
    batches: PairBatchesSection = PairBatchesSection()
    adversarial: AdversarialSection = AdversarialSection()
    smoothing: SmoothingSection = SmoothingSection()
    augmentation: SynonymSection = SynonymSection()
    optim: PairOptimSection

    @model_validator(mode="after")
    def _check_shape(self) -> Self:
        if problems := [message for wrong, message in self._rules() if wrong]:
            raise ValueError("; ".join(problems))
        return self

    def _idle_keys(self) -> Iterator[tuple[bool, str]]:
        """Refuse keys that would do nothing."""
        adversarial, smoothing = self.adversarial, self.smoothing
        for name, section, switch in (
            ("adversarial", adversarial, "method"),
            ("smoothing", smoothing, "noise"),
        ):
            idle = _changed(section, set(type(section).model_fields) - {switch})
            yield (
                getattr(section, switch) == "none" and bool(idle),
                f"{name}.{f', {name}.'.join(sorted(idle))}: no effect with {name}.{switch} = "
                "'none'",
            )
        idle = _changed(adversarial, ("steps", "step_size", "start"))
        yield (
            adversarial.method == "fgm" and bool(idle),
            f"adversarial.{', adversarial.'.join(idle)}: of pgd and freelb; fgm takes one step of "
            "the radius",
        )

    @property
    def clean_weight(self) -> float:
        """Weight of the loss without noise: what adversary and smoothing leave."""
        noisy = self.adversarial.weight if self.adversarial.method != "none" else 0.0
        noisy += self.smoothing.weight if self.smoothing.noise != "none" else 0.0
        left = 1.0 - noisy
        return left if abs(left) > 1e-9 else 0.0

    def _rules(self) -> Iterator[tuple[bool, str]]:
        encoder, languages = self.encoder, TASKS[self.data.task].languages
        for key in ("train_languages", "dev_languages"):
            unknown = sorted(set(getattr(self.data, key)) - set(languages))
            yield (
                bool(unknown),
                f"data.{key}: {self.data.task} has no {', '.join(unknown)}: expected some of "
                f"{', '.join(languages)}",
            )
        yield (
            not encoder.backbone and encoder.dim % encoder.heads != 0,
            f"encoder.dim {encoder.dim} is not a multiple of encoder.heads {encoder.heads}",
        )
        new_only = _changed(encoder, ("dim", "layers", "heads", "vocab_size", "romanize"))
        yield (
            bool(encoder.backbone and new_only),
            f"encoder.{', encoder.'.join(new_only)}: only without encoder.backbone, which brings "
            "its own",
        )
        yield (
            self.clean_weight < -1e-9,
            "adversarial.weight and smoothing.weight add up to more than 1: the clean loss gets "
            "what they leave",
        )
        yield from self._idle_keys()
        yield (
            bool(self.augmentation.copies) != bool(self.augmentation.dictionaries),
            "augmentation.copies and augmentation.dictionaries need one another",
        )


def _changed(section: Section, keys: Iterable[str]) -> list[str]:
    """List the keys that have another value than their default."""
    fields = type(section).model_fields
    return [key for key in keys if getattr(section, key) != fields[key].get_default()]


def load_pair_config(path: Path, overrides: Sequence[str] = ()) -> PairConfig:
    """Read a TOML file, apply ``table.key=value`` overrides and validate.

    Raises:
        ConfigError: If the file cannot be read, an override is malformed, or a key or value is
            not allowed.
    """
    return read_config(PairConfig, path, overrides)
