"""The tables of a training run's file, one model each: keys, bounds and what each is for."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from training.selection import FLORES

TEACHER_DIM = 384
"""Of the packaged teacher, all-MiniLM-L6-v2."""


class Section(BaseModel):
    """A table of the file: frozen, no keys but its own, and no numbers that are none."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
    grams: bool = Field(default=False, description="rows of character n-grams in a static one's")
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
    phrases: float = Field(
        default=0.0, ge=0.0, description="weight of short pairs cut out of the others; 0: none"
    )
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
    draw: Literal["neighbor", "itself", "language"] = Field(
        default="neighbor",
        description="a word's neighbor; or one of these and itself; or a language first",
    )
    languages: tuple[str, ...] = Field(default=(), description="to switch to; empty: any")
    through: str = Field(default="", description="a language that joins others, as eng_Latn")
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
    lr: float = Field(gt=0.0, le=1.0, description="about how far an entry moves in a step")
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
    held_out: str = Field(default="", description="Parquet file for the metric held-out")
    patience: int = Field(default=0, ge=0, description="evaluations without gain; 0: never stop")
    log_every: int = Field(default=10, ge=1, description="steps between lines of log.jsonl")
    tensorboard: bool = False
