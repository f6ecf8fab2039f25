"""What a training run is made of, read once from TOML and frozen.

Each table of the file is one model here; an unknown or misspelt key is refused by name. The
resolved configuration is stored in the checkpoint, so a checkpoint tells how it was made and a
resumed run cannot silently become another one.
"""

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from training.selection import FLORES, metric_problem

TEACHER_DIM = 384
Config = TypeVar("Config", bound=BaseModel)


class ConfigError(ValueError):
    """The configuration cannot be used; the message says which key and why, in one line."""


class Section(BaseModel):
    """A table of the file: frozen, and no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TokenizerSection(Section):
    """Where the vocabulary comes from; a learned one favors small languages."""

    source: Literal["learn", "backbone", "start"] = "learn"
    vocab_size: int = Field(default=32_000, ge=256, le=1_000_000, description="of a learned one")
    sample_characters: int = Field(default=20_000_000, ge=10_000, description="text to learn from")
    romanize: bool = Field(default=True, description="write all scripts but Chinese in Latin")


class EncoderSection(Section):
    """The network from tokens to a unit vector."""

    kind: Literal["static", "transformer"]
    dim: int = Field(ge=8, le=4096, description="of a vector; a transformer's hidden size")
    max_tokens: int = Field(ge=8, le=8192, description="longer texts are cut")
    pooling: Literal["mean", "cls", "last"] = Field(default="mean", description="of a transformer")
    layers: int = Field(default=2, ge=1, le=48, description="of a new transformer")
    heads: int = Field(default=2, ge=1, le=64, description="of a new transformer")
    teacher_table: bool = Field(default=False, description="start a static one from the teacher")
    backbone: str = Field(default="", description="folder of a pretrained transformer, or new")
    start: str = Field(default="", description="checkpoint to take the first weights from")
    prompts: dict[Literal["query", "document"], str] = Field(
        default_factory=dict, description="put before texts; empty: those of backbone or start"
    )


class CorporaSection(Section):
    """What is read, and how often each language and corpus is drawn."""

    shippable: bool = Field(default=False, description="refuse corpora not fit for an artifact")
    weights: dict[str, float] = Field(min_length=1, description="corpus -> weight of its pairs")
    files: dict[str, str] = Field(default_factory=dict, description="own corpus -> Parquet file")
    languages: tuple[str, ...] = Field(default=(), description="only these; empty: all")
    language_exponent: float = Field(
        default=0.5, ge=0.0, le=1.0, description="of a bucket's size; 0: uniform, 1: by size"
    )


class BatchesSection(Section):
    """How pairs become batches (hybrid batches: cross-lingual or in one language)."""

    pairs: int = Field(ge=2, le=65_536, description="in a batch, over all processes")
    chunk: int = Field(default=0, ge=0, description="texts encoded at a time, cached; 0: all")
    cross_probability: float = Field(default=0.5, ge=0.0, le=1.0, description="cross-lingual share")
    single_corpus: float = Field(default=0.0, ge=0.0, le=1.0, description="share from one corpus")
    pivot_free: float = Field(default=0.3, ge=0.0, le=1.0, description="X-Y pairs without pivot")
    neighbor_probability: float = Field(default=0.3, ge=0.0, le=1.0, description="in mono batches")
    hard_negatives: int = Field(default=0, ge=0, le=64, description="of each query")
    mine_every: int = Field(default=0, ge=0, description="steps; 0: only negatives that are given")
    mine_pool: int = Field(default=20_000, ge=2, description="documents that are mined among")


class LossSection(Section):
    """The contrastive loss."""

    temperature: float = Field(default=0.05, gt=0.0, le=1.0)
    learn_temperature: bool = Field(default=False, description="start from ``temperature``")
    symmetric: bool = True
    matryoshka: tuple[int, ...] = Field(default=(), description="leading dimensions also trained")


class AdversarialSection(Section):
    """Worst-case noise on token embeddings."""

    method: Literal["none", "fgm", "pgd", "freelb"] = "none"
    norm: Literal["token", "sequence", "max"] = Field(
        default="token", description="L2 at each token, Frobenius of a text, or L-infinity"
    )
    epsilon: float = Field(default=0.1, gt=0.0, description="radius")
    relative: bool = Field(default=True, description="radius in units of the mean token norm")
    steps: int = Field(default=2, ge=1, le=64, description="of pgd and freelb")
    step_size: float = Field(default=0.5, gt=0.0, description="in units of the radius")
    start: float = Field(default=0.5, ge=0.0, le=1.0, description="first noise, of the radius")
    weight: float = Field(default=0.5, gt=0.0, le=1.0, description="of the loss under noise")


class SmoothingSection(Section):
    """Random noise on token embeddings or last states (RS-RP)."""

    noise: Literal["none", "gaussian", "uniform"] = "none"
    sigma: float = Field(default=0.1, gt=0.0, description="standard deviation of an entry")
    relative: bool = Field(default=True, description="of the noise's norm, in mean token norms")
    copies: int = Field(default=1, ge=1, le=64, description="noisy passes, averaged")
    at: Literal["embeddings", "states"] = "embeddings"
    weight: float = Field(default=0.5, gt=0.0, le=1.0, description="of the loss under noise")


class AugmentationSection(Section):
    """Words replaced by synonyms or translations (RS-DA), and typos."""

    dictionaries: tuple[str, ...] = Field(default=(), description="files of words")
    sentence_probability: float = Field(default=0.0, ge=0.0, le=1.0, description="of a text")
    word_probability: float = Field(default=0.3, ge=0.0, le=1.0, description="of its known words")
    typo_probability: float = Field(default=0.0, ge=0.0, le=1.0, description="of a query")
    typo_edits: int = Field(default=1, ge=1, le=16, description="in such a query")
    self_teaching: float = Field(
        default=0.0, ge=0.0, description="weight of KL(clean, with typos); 0: train on typos alone"
    )


class DistillationSection(Section):
    """Learning from an English teacher."""

    pooled: float = Field(default=0.0, ge=0.0, description="weight on vectors; 0: none")
    transport: float = Field(default=0.0, ge=0.0, description="weight on token states; 0: none")
    solver: Literal["ipot", "sinkhorn"] = "ipot"
    regularization: float = Field(
        default=0.0, ge=0.0, description="of the solver; 0: 0.5 for ipot, 0.05 for sinkhorn"
    )
    iterations: int = Field(default=50, ge=1, le=10_000, description="of the solver")
    transport_pairs: int = Field(
        default=64, ge=1, description="of a step, whose English the teacher reads"
    )
    teacher: str = Field(default="", description="folder; empty: all-MiniLM-L6-v2")
    teacher_texts: int = Field(default=12_000, ge=1, description="texts encoded beforehand")


class OptimSection(Section):
    """Adam by row (static) or AdamW (transformer); linear warm-up, then a schedule."""

    steps: int = Field(ge=1)
    lr: float = Field(gt=0.0)
    warmup: int = Field(default=0, ge=0, description="steps")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
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
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = Field(default="fp32", description="of autocast")
    save_every: int = Field(default=0, ge=0, description="steps; 0: only at the end")
    evaluate_every: int = Field(default=0, ge=0, description="steps; 0: never")
    metric: str = Field(default=FLORES, description="that best and patience go by, or loss")
    patience: int = Field(default=0, ge=0, description="evaluations without gain; 0: never stop")
    log_every: int = Field(default=10, ge=1, description="steps between lines of log.jsonl")
    tensorboard: bool = False


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
        problems = [
            message
            for wrong, message in (
                *self._run_rules(),
                *self._encoder_rules(),
                *self._loss_rules(),
                *self._batch_rules(),
            )
            if wrong
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _run_rules(self) -> Iterator[tuple[bool, str]]:
        run = self.run
        problem = metric_problem(run.metric)
        yield bool(problem), str(problem)
        yield (
            not run.evaluate_every and run.metric != FLORES,
            "run.metric needs run.evaluate_every above 0",
        )
        yield (
            not run.evaluate_every and bool(run.patience),
            "run.patience needs run.evaluate_every above 0",
        )

    def _encoder_rules(self) -> Iterator[tuple[bool, str]]:
        encoder, source = self.encoder, self.tokenizer.source
        new = encoder.kind == "transformer" and not encoder.backbone and not encoder.start
        yield (
            new and encoder.dim % encoder.heads != 0,
            f"encoder.dim {encoder.dim} is not a multiple of encoder.heads {encoder.heads}",
        )
        yield (
            encoder.kind != "transformer" and bool(encoder.backbone),
            "encoder.backbone needs encoder.kind = 'transformer'",
        )
        yield (
            encoder.kind != "transformer" and encoder.pooling != "mean",
            f"encoder.pooling = '{encoder.pooling}' needs encoder.kind = 'transformer'",
        )
        yield (
            encoder.kind != "transformer" and bool(encoder.prompts),
            "encoder.prompts needs encoder.kind = 'transformer'",
        )
        for key in ("layers", "heads"):
            yield (
                not new and _is_set(encoder, key),
                f"encoder.{key} is of a new transformer: leave it out for a static encoder, and "
                "with encoder.backbone or encoder.start",
            )
        for key in ("vocab_size", "sample_characters", "romanize"):
            yield (
                source != "learn" and _is_set(self.tokenizer, key),
                f"tokenizer.{key} is of a learned vocabulary: leave it out, or set "
                "tokenizer.source = 'learn'",
            )
        yield (
            encoder.kind == "static" and bool(self.optim.weight_decay),
            "optim.weight_decay needs encoder.kind = 'transformer'",
        )
        yield (
            encoder.kind != "static" and encoder.teacher_table,
            "encoder.teacher_table needs encoder.kind = 'static'",
        )
        yield (
            bool(encoder.start and (encoder.backbone or encoder.teacher_table)),
            "encoder.start excludes encoder.backbone and encoder.teacher_table",
        )
        yield (
            source == "backbone" and not encoder.backbone,
            "tokenizer.source = 'backbone' needs encoder.backbone",
        )
        yield (
            (source == "start") != bool(encoder.start),
            "encoder.start and tokenizer.source = 'start' need one another",
        )

    def _batch_rules(self) -> Iterator[tuple[bool, str]]:
        corpora, batches = self.corpora, self.batches
        unweighted = sorted(set(corpora.files) - set(corpora.weights))
        yield (
            bool(unweighted),
            f"corpora.files: {', '.join(unweighted)} would not be read: give each a weight in "
            "corpora.weights",
        )
        yield (
            any(weight <= 0 for weight in corpora.weights.values()),
            "corpora.weights must be above 0: leave out a corpus that is not to be read",
        )
        yield (
            bool(batches.mine_every) and not batches.hard_negatives,
            "batches.mine_every needs batches.hard_negatives above 0",
        )
        yield (
            not batches.mine_every and _is_set(batches, "mine_pool"),
            "batches.mine_pool needs batches.mine_every above 0",
        )
        augmentation = self.augmentation
        for key, needed in (
            ("word_probability", "sentence_probability"),
            ("typo_edits", "typo_probability"),
        ):
            yield (
                _is_set(augmentation, key) and not getattr(augmentation, needed),
                f"augmentation.{key} needs augmentation.{needed} above 0",
            )

    def _loss_rules(self) -> Iterator[tuple[bool, str]]:
        encoder, distillation = self.encoder, self.distillation
        taught = encoder.teacher_table or distillation.pooled or distillation.transport
        yield (
            bool(taught) and not distillation.teacher and encoder.dim != TEACHER_DIM,
            f"the teacher's vectors need encoder.dim = {TEACHER_DIM}",
        )
        distilled = bool(distillation.pooled or distillation.transport)
        yield (
            distilled and not self.batches.cross_probability,
            "distillation needs batches.cross_probability above 0: pairs in one language have no "
            "English that says the same",
        )
        yield (
            bool(distillation.teacher) and not distilled,
            "distillation.teacher needs distillation.pooled or distillation.transport above 0",
        )
        yield (
            bool(distillation.teacher) and encoder.teacher_table,
            "encoder.teacher_table starts from the packaged teacher: leave distillation.teacher "
            "out, or encoder.teacher_table",
        )
        yield (
            any(not 1 <= dim < encoder.dim for dim in self.loss.matryoshka),
            f"loss.matryoshka must be dimensions from 1 to below encoder.dim {encoder.dim}",
        )
        yield from self._noise_rules()
        yield (
            self.loss.learn_temperature and self.loss.temperature < 0.01,
            f"loss.learn_temperature keeps within 0.01 to 1: got loss.temperature "
            f"{self.loss.temperature} to start from",
        )
        yield (
            encoder.kind == "static" and self.run.precision != "fp32",
            "run.precision needs encoder.kind = 'transformer': a static encoder multiplies no "
            "matrices that autocast would make faster",
        )
        yield (
            bool(self.augmentation.self_teaching) and not self.augmentation.typo_probability,
            "augmentation.self_teaching needs augmentation.typo_probability above 0",
        )
        yield (
            bool(self.augmentation.sentence_probability) != bool(self.augmentation.dictionaries),
            "augmentation.dictionaries and augmentation.sentence_probability need one another",
        )

    def _noise_rules(self) -> Iterator[tuple[bool, str]]:
        clean = 1.0 - (self.adversarial.weight if self.adversarial.method != "none" else 0.0)
        clean -= self.smoothing.weight if self.smoothing.noise != "none" else 0.0
        yield (
            clean < -1e-9,
            "adversarial.weight and smoothing.weight add up to more than 1: the clean loss gets "
            "what they leave",
        )
        parts = {
            "augmentation.self_teaching": self.augmentation.self_teaching,
            "distillation.transport": self.distillation.transport,
        }
        for key, weight in parts.items():
            yield (
                bool(weight) and clean < 1e-9,
                f"{key} is a part of the clean loss, for which adversarial.weight and "
                "smoothing.weight leave nothing: lower one of them",
            )
        for key in ("steps", "step_size", "start"):
            yield (
                self.adversarial.method == "fgm" and _is_set(self.adversarial, key),
                f"adversarial.{key} is of pgd and freelb: leave it out for fgm, which takes one "
                "step of the radius",
            )


def _is_set(section: Section, key: str) -> bool:
    """Tell whether a key has another value than its default."""
    default = type(section).model_fields[key].get_default(call_default_factory=True)
    return getattr(section, key) != default


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
