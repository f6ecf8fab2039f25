"""Which keys of a training run go together: each rule says in words what is wrong.

A key without effect is refused like one that contradicts another, so that no run silently differs
from what its file says.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from training.selection import FLORES, HELD_OUT, metric_problem, metric_set
from training.tables import TEACHER_DIM, Section

if TYPE_CHECKING:
    from training.config import TrainConfig

Rule = tuple[bool, str]
"""Whether it is broken, and what to say then."""


def problems_of(config: "TrainConfig") -> list[str]:
    """List what contradicts itself in a configuration; empty: nothing."""
    rules = (_run_rules, _encoder_rules, _loss_rules, _batch_rules)
    return [message for rule in rules for wrong, message in rule(config) if wrong]


def _run_rules(config: "TrainConfig") -> Iterator[Rule]:
    run = config.run
    problem = metric_problem(run.metric)
    yield bool(problem), str(problem)
    yield (
        not run.evaluate_every and run.metric != FLORES,
        "run.metric needs run.evaluate_every above 0",
    )
    yield (
        (metric_set(run.metric) == HELD_OUT) != bool(run.held_out),
        f"run.held_out and run.metric = '{HELD_OUT}' need one another",
    )
    yield (
        bool(run.held_out) and run.held_out in config.corpora.files.values(),
        f"run.held_out: {run.held_out} is trained on too, so it can choose nothing: hold some of "
        "its rows out in a file of their own",
    )
    yield (
        not run.evaluate_every and bool(run.patience),
        "run.patience needs run.evaluate_every above 0",
    )


def _encoder_rules(config: "TrainConfig") -> Iterator[Rule]:
    encoder, source = config.encoder, config.tokenizer.source
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
            not new and is_set(encoder, key),
            f"encoder.{key} is of a new transformer: leave it out for a static encoder, and "
            "with encoder.backbone or encoder.start",
        )
    for key in ("vocab_size", "sample_characters", "romanize"):
        yield (
            source != "learn" and is_set(config.tokenizer, key),
            f"tokenizer.{key} is of a learned vocabulary: leave it out, or set "
            "tokenizer.source = 'learn'",
        )
    yield (
        encoder.kind == "static" and bool(config.optim.weight_decay),
        "optim.weight_decay needs encoder.kind = 'transformer'",
    )
    yield (
        encoder.kind != "static" and encoder.teacher_table,
        "encoder.teacher_table needs encoder.kind = 'static'",
    )
    yield (
        encoder.kind != "static" and encoder.grams,
        "encoder.grams needs encoder.kind = 'static'",
    )
    yield (
        encoder.grams and bool(config.distillation.transport),
        "encoder.grams excludes distillation.transport: a token's state is made of many rows",
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


def _batch_rules(config: "TrainConfig") -> Iterator[Rule]:
    corpora, batches = config.corpora, config.batches
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
        bool(corpora.phrases) and not batches.cross_probability,
        "corpora.phrases are pairs of two languages: they need batches.cross_probability above 0",
    )
    yield (
        bool(corpora.phrases) and config.tokenizer.source == "backbone",
        "corpora.phrases needs a vocabulary that was learned here, whose tokens mark where words "
        "begin: set tokenizer.source = 'learn' or 'start'",
    )
    yield (
        bool(corpora.phrases) and "phrases" in corpora.files,
        "corpora.files: got an own file named phrases, which corpora.phrases calls its pairs: "
        "rename it",
    )
    yield (
        bool(batches.mine_every) and not batches.hard_negatives,
        "batches.mine_every needs batches.hard_negatives above 0",
    )
    yield (
        not batches.mine_every and is_set(batches, "mine_pool"),
        "batches.mine_pool needs batches.mine_every above 0",
    )
    augmentation = config.augmentation
    for key, needed in (
        ("word_probability", "sentence_probability"),
        ("draw", "sentence_probability"),
        ("languages", "sentence_probability"),
        ("through", "sentence_probability"),
        ("typo_edits", "typo_probability"),
    ):
        yield (
            is_set(augmentation, key) and not getattr(augmentation, needed),
            f"augmentation.{key} needs augmentation.{needed} above 0",
        )


def _loss_rules(config: "TrainConfig") -> Iterator[Rule]:
    encoder, distillation = config.encoder, config.distillation
    taught = encoder.teacher_table or distillation.pooled or distillation.transport
    yield (
        bool(taught) and not distillation.teacher and encoder.dim != TEACHER_DIM,
        f"the teacher's vectors need encoder.dim = {TEACHER_DIM}",
    )
    distilled = bool(distillation.pooled or distillation.transport)
    yield (
        distilled and not config.batches.cross_probability,
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
        any(not 1 <= dim < encoder.dim for dim in config.loss.matryoshka),
        f"loss.matryoshka must be dimensions from 1 to below encoder.dim {encoder.dim}",
    )
    yield from _noise_rules(config)
    yield (
        config.loss.learn_temperature and config.loss.temperature < 0.01,
        f"loss.learn_temperature keeps within 0.01 to 1: got loss.temperature "
        f"{config.loss.temperature} to start from",
    )
    yield (
        encoder.kind == "static" and config.run.precision != "fp32",
        "run.precision needs encoder.kind = 'transformer': a static encoder multiplies no "
        "matrices that autocast would make faster",
    )
    yield (
        bool(config.augmentation.self_teaching) and not config.augmentation.typo_probability,
        "augmentation.self_teaching needs augmentation.typo_probability above 0",
    )
    yield (
        bool(config.augmentation.sentence_probability) != bool(config.augmentation.dictionaries),
        "augmentation.dictionaries and augmentation.sentence_probability need one another",
    )


def _noise_rules(config: "TrainConfig") -> Iterator[Rule]:
    clean = 1.0 - (config.adversarial.weight if config.adversarial.method != "none" else 0.0)
    clean -= config.smoothing.weight if config.smoothing.noise != "none" else 0.0
    yield (
        clean < -1e-9,
        "adversarial.weight and smoothing.weight add up to more than 1: the clean loss gets "
        "what they leave",
    )
    parts = {
        "augmentation.self_teaching": config.augmentation.self_teaching,
        "distillation.transport": config.distillation.transport,
    }
    for key, weight in parts.items():
        yield (
            bool(weight) and clean < 1e-9,
            f"{key} is a part of the clean loss, for which adversarial.weight and "
            "smoothing.weight leave nothing: lower one of them",
        )
    for key in ("steps", "step_size", "start"):
        yield (
            config.adversarial.method == "fgm" and is_set(config.adversarial, key),
            f"adversarial.{key} is of pgd and freelb: leave it out for fgm, which takes one "
            "step of the radius",
        )


def is_set(section: Section, key: str) -> bool:
    """Tell whether a key has another value than its default."""
    default = type(section).model_fields[key].get_default(call_default_factory=True)
    return getattr(section, key) != default
