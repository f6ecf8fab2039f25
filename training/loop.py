"""The loop, top to bottom: corpora -> batches -> loss -> step -> checkpoint.

What a step does depends on the seed and its number alone, and a checkpoint holds everything else,
so a run that was interrupted and resumed ends with the same weights, bit for bit, as one that was
not (with the same number of threads).
"""

import logging
import math
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Self

import torch
from tokenizers import Tokenizer
from tqdm import tqdm

from training.assembly import encoder_of, new_encoder
from training.batches import HybridBatches
from training.checkpoint import (
    MANIFEST,
    CheckpointError,
    Snapshot,
    load_checkpoint,
    recover,
    save_checkpoint,
)
from training.config import OptimSection, TrainConfig
from training.corpus import Bitext, data_folder, iterate_texts, load_bitext, select_corpora
from training.evaluate import LOW_RESOURCE, flores_accuracy, flores_languages, mean_of
from training.initialization import initial_table
from training.memory import keep_freed_memory
from training.model import as_encode
from training.teacher import teach
from training.tokenization import PAD_ID, build_tokenizer, sample_texts
from training.tokens import tokenize_texts
from training.trainer import Trainer

LR_FLOOR = 0.02  # share of the peak rate at the last step
log = logging.getLogger(__name__)


def train(config: TrainConfig, folder: Path, *, resume: bool) -> bool:
    """Train an encoder and leave a checkpoint in ``folder``.

    Args:
        config: The run.
        folder: Of the checkpoint.
        resume: Continue from the checkpoint in ``folder``, if there is one.

    Returns:
        Whether the run came to its end; False if SIGINT stopped it, with a checkpoint.

    Raises:
        CorpusError: If the corpora are missing or may not be used.
        CheckpointError: If ``folder`` holds a checkpoint and ``resume`` is not set, or the
            checkpoint is of another run.
    """
    corpora = select_corpora(list(config.corpora.weights), shippable=config.corpora.shippable)
    data = data_folder()
    before = _find_checkpoint(config, folder, resume=resume)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    torch.manual_seed(config.run.seed)

    # Corpora, vocabulary and token ids are all in memory before the first step.
    log.info("reading %d corpora", len(corpora))
    bitext = load_bitext(data, corpora, config.corpora.languages)
    tokenizer = Tokenizer.from_str(before.tokenizer) if before else _learn(config, bitext)
    log.info("tokenizing %d texts of %d pairs", len(bitext.texts), len(bitext))
    tokens = tokenize_texts(tokenizer, iterate_texts(bitext.texts), PAD_ID)
    batches = HybridBatches(
        bitext,
        tokens,
        config.corpora,
        config.batches,
        max_tokens=config.encoder.max_tokens,
        seed=config.run.seed,
    )

    # What the teacher knows, as targets and as a start.
    teacher = None
    if config.distillation.pooled:
        log.info("encoding up to %d texts with the teacher", config.distillation.teacher_texts)
        teacher = teach(bitext, batches, config.distillation.teacher_texts)
    if before:
        encoder = encoder_of(before)
    else:
        encoder = new_encoder(config.encoder, tokenizer.get_vocab_size(), PAD_ID)
        if config.encoder.teacher_table:
            log.info("starting from the teacher's words")
            table = initial_table(bitext, tokens, tokenizer, seed=config.run.seed)
            encoder.load_state_dict({"embeddings.weight": torch.from_numpy(table)})

    keep_freed_memory()
    trainer = Trainer(config, encoder, tokenizer, bitext, teacher)
    if before:
        trainer.restore(before)
    measured = _languages_to_measure(bitext, data) if config.run.evaluate_every else []
    return _run(trainer, batches, folder, measured)


def _run(trainer: Trainer, batches: HybridBatches, folder: Path, measured: list[str]) -> bool:
    config, progress = trainer.config, trainer.progress
    started = time.monotonic() - progress.seconds
    saved = 0
    with (
        Interrupt() as interrupt,
        tqdm(total=config.optim.steps, initial=progress.step, unit="step", mininterval=1) as bar,
    ):
        while progress.step < config.optim.steps and not interrupt.came:
            began = time.monotonic()
            batch = batches.batch(progress.step)
            trainer.step(batch, learning_rate(config.optim, progress.step))
            took = time.monotonic() - began
            progress.seconds = time.monotonic() - started
            bar.set_postfix_str(
                f"loss {progress.loss:.3f}, {2 * config.batches.pairs / took:,.0f} texts/s",
                refresh=False,
            )
            bar.update()

            # once in a while: how well does each language find its English sentence?
            if _due(config.run.evaluate_every, progress.step, config.optim.steps):
                encode = as_encode(trainer.averaged(), trainer.tokenizer)
                accuracy = flores_accuracy(encode, data_folder(), measured)
                progress.metrics[f"flores200-dev at {progress.step}"] = mean_of(accuracy)
                bar.write(f"step {progress.step}: FLORES to English {mean_of(accuracy):.4f}")

            # once in a while: save, so that a killed run loses little
            if config.run.save_every and progress.step % config.run.save_every == 0:
                save_checkpoint(folder, trainer.snapshot())
                saved = progress.step
    if saved != progress.step:
        save_checkpoint(folder, trainer.snapshot())
    return progress.step >= config.optim.steps


def learning_rate(optim: OptimSection, step: int) -> float:
    """Rate of a step (from 0): linear warm-up, then a cosine from ``lr`` down to 2% of it."""
    warm = min(1.0, (step + 1) / (optim.warmup + 1))
    cosine = 0.5 * (1 + math.cos(math.pi * step / optim.steps))
    return optim.lr * warm * (LR_FLOOR + (1 - LR_FLOOR) * cosine)


class Interrupt:
    """Notes SIGINT in place of raising; a second one raises KeyboardInterrupt as usual."""

    def __init__(self) -> None:
        self.came = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _due(every: int, step: int, last: int) -> bool:
    return bool(every) and (step % every == 0 or step == last)


def _languages_to_measure(bitext: Bitext, data: Path) -> list[str]:
    """Choose trained languages of FLORES: those with little data, or all if there are none."""
    trained = sorted(set(flores_languages(data)) & set(bitext.langs))
    return [lang for lang in trained if lang in LOW_RESOURCE] or trained


def _learn(config: TrainConfig, bitext: Bitext) -> Tokenizer:
    log.info("learning %d tokens", config.tokenizer.vocab_size)
    sample = sample_texts(bitext, config.tokenizer.sample_characters, seed=config.run.seed)
    return build_tokenizer(sample, config.tokenizer.vocab_size, romanize=config.tokenizer.romanize)


def _find_checkpoint(config: TrainConfig, folder: Path, *, resume: bool) -> Snapshot | None:
    folder.mkdir(parents=True, exist_ok=True)
    recover(folder)
    if not (folder / MANIFEST).exists():
        return None
    if not resume:
        raise CheckpointError(
            f"{folder} already holds a checkpoint: add --resume to continue it, or choose another "
            "folder with --out"
        )
    before = load_checkpoint(folder)
    ours, theirs = config.model_dump(mode="json"), before.run.get("config", {})
    differing = [
        f"{table}.{key}"
        for table, values in ours.items()
        for key in values
        if values[key] != theirs.get(table, {}).get(key)
    ]
    if differing:
        raise CheckpointError(
            f"the checkpoint in {folder} was made with another {', '.join(differing)}: resume with "
            "the same configuration, or choose another folder with --out"
        )
    return before
