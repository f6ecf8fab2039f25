"""The loop, top to bottom: pairs -> batches -> robust loss -> step -> checkpoint.

What a step does depends on the seed and its number alone, and a checkpoint holds everything else,
so a run that was interrupted and resumed ends with the same weights as one that was not. The last
checkpoint is in the run's folder, the one with the best accuracy on the development set in ``best``
within it, without what is needed to resume.
"""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from app.text.lexicon import Lexicon
from training.checkpoint import BEST, Snapshot, save_checkpoint
from training.classification.batches import PairBatches
from training.classification.config import PairConfig
from training.classification.model import classifier_of, new_classifier
from training.classification.pairs import PairSet, read_pairs
from training.classification.prediction import as_classify
from training.classification.storage import find_snapshot
from training.classification.synonyms import Neighbors, neighbors_in, read_neighbors
from training.classification.tasks import TASKS
from training.classification.tokenization import (
    PairTokenizer,
    backbone_tokenizer,
    learned_tokenizer,
)
from training.classification.trainer import PairTrainer
from training.distributed import choose_device
from training.logs import RunLog
from training.selection import judge
from training.signals import Interrupt

METRIC = "accuracy"
log = logging.getLogger(__name__)


def train_classifier(config: PairConfig, folder: Path, *, resume: bool) -> bool:
    """Train a classifier and leave its checkpoints in ``folder``.

    Args:
        config: The run.
        folder: Of the last checkpoint and the log; the best checkpoint is in ``best`` within it.
        resume: Continue from the checkpoint in ``folder``, if there is one.

    Returns:
        Whether the run came to its end; False if a signal stopped it, with a checkpoint.

    Raises:
        PairsError: If a set of pairs is missing or malformed.
        InvalidInputError: If a dictionary is.
        CheckpointError: If ``folder`` holds a checkpoint and ``resume`` is not set, the checkpoint
            is of another run, or the backbone cannot be used.
        ConfigError: If there is no such device.
    """
    task, data = TASKS[config.data.task], Path(config.data.folder)
    device = choose_device(config.run.device)
    before = find_snapshot(config, folder, resume=resume)
    sets = list(read_pairs(task, data, "train", config.data.train_languages).values())
    dev = read_pairs(task, data, "dev", config.data.dev_languages)
    log.info("training on %d pairs", sum(map(len, sets)))
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    torch.manual_seed(config.run.seed)

    tokenizer = _tokenizer(config, sets, before)
    model = classifier_of(before) if before else new_classifier(config.encoder, task, tokenizer)
    batches = PairBatches(
        sets,
        tokenizer,
        config.batches.pairs,
        seed=config.run.seed,
        neighbors=_neighbors(config),
        copies=config.augmentation.copies,
    )
    steps = config.optim.epochs * len(batches)
    trainer = PairTrainer(config, model.to(device), tokenizer, [*sets, *dev.values()], steps)
    if before:
        trainer.restore(before)
    return _run(trainer, batches, dev, folder)


def _run(
    trainer: PairTrainer, batches: PairBatches, dev: Mapping[str, PairSet], folder: Path
) -> bool:
    config, progress, steps = trainer.config.run, trainer.progress, trainer.steps
    started = time.monotonic() - progress.seconds
    saved = -1
    pause = 1 if sys.stderr.isatty() else 30  # a file or pipe gets a line only now and then
    with (
        Interrupt() as interrupt,
        RunLog(folder, progress.step, tensorboard=False) as run_log,
        tqdm(total=steps, initial=progress.step, unit="step", mininterval=pause) as bar,
    ):
        while progress.step < steps and not interrupt.number:
            rate = trainer.step(batches.batch(progress.step))
            progress.seconds = time.monotonic() - started
            bar.set_postfix_str(f"loss {progress.loss:.3f}", refresh=False)
            bar.update()

            # Once in a while: how many pairs of the development set are right?
            figures: dict[str, float] = {}
            if _due(config.evaluate_every, progress.step, steps):
                figures = dev_accuracy(trainer, dev)
                progress.metrics[f"{METRIC} at {progress.step}"] = figures[METRIC]
                bar.write(f"step {progress.step}: {METRIC} {figures[METRIC]:.4f}", file=sys.stderr)
                if judge(progress, METRIC, figures[METRIC]):
                    save_checkpoint(folder / BEST, trainer.snapshot(resumable=False))
            if figures or _due(config.log_every, progress.step, steps):
                line = {"step": progress.step, "loss": progress.loss, "rate": rate}
                run_log.write({**line, "metrics": figures})

            # Once in a while: save, so that a killed run loses little.
            if config.save_every and progress.step % config.save_every == 0:
                save_checkpoint(folder, trainer.snapshot())
                saved = progress.step
    if saved != progress.step:
        save_checkpoint(folder, trainer.snapshot())
    return progress.step >= steps


def dev_accuracy(trainer: PairTrainer, dev: Mapping[str, PairSet]) -> dict[str, float]:
    """Measure accuracy in each language, and their mean as ``accuracy``."""
    classify = as_classify(trainer.model, trainer.tokenizer)
    found = {
        lang: float((classify(pairs.first, pairs.second) == pairs.labels).mean())
        for lang, pairs in dev.items()
    }
    return {METRIC: sum(found.values()) / len(found), **found}


def _tokenizer(config: PairConfig, sets: list[PairSet], before: Snapshot | None) -> PairTokenizer:
    if before:
        tokenizer = Tokenizer.from_str(before.tokenizer)
        return PairTokenizer(tokenizer, before.config.pad_id, before.config.max_tokens)
    if config.encoder.backbone:
        return backbone_tokenizer(config.encoder)
    log.info("learning up to %d tokens", config.encoder.vocab_size)
    texts = (text for pairs in sets for part in (pairs.first, pairs.second) for text in part)
    return learned_tokenizer(config.encoder, texts)


def _neighbors(config: PairConfig) -> dict[str, Neighbors]:
    """Read the dictionaries: of neighbors (JSON, English words), or lexicons of any language."""
    paths = [Path(name) for name in config.augmentation.dictionaries]
    if not paths:
        return {}
    lexicons = [path for path in paths if path.suffix != ".json"]
    lexicon = Lexicon.load(lexicons) if lexicons else None
    lists = read_neighbors([path for path in paths if path.suffix == ".json"])
    return {lang: neighbors_in(lexicon, lists, lang) for lang in config.data.train_languages}


def _due(every: int, step: int, last: int) -> bool:
    return step % every == 0 or step == last
