"""The loop, top to bottom: corpora -> batches -> loss -> step -> checkpoint.

What a step does depends on the seed and its number alone, and a checkpoint holds everything else,
so a run that was interrupted and resumed ends with the same weights, bit for bit, as one that was
not (with the same number of threads).
"""

import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from training.assembly import encoder_of
from training.batches import HybridBatches
from training.checkpoint import BEST, save_checkpoint
from training.config import TrainConfig
from training.corpus import data_folder
from training.evaluate import figures_of, languages_to_measure
from training.logs import RunLog
from training.memory import keep_freed_memory
from training.model import as_encode
from training.preparation import ask_teacher, first_encoder, prepare
from training.resumption import find_checkpoint
from training.schedule import learning_rate
from training.selection import LOSS, exhausted, judge, metric_language
from training.signals import Interrupt
from training.summary import write_summary
from training.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, and with what.

    Attributes:
        step: Steps done.
        early: Whether patience ran out.
        signal: Number of the signal that interrupted it; 0: it came to its end.
    """

    step: int
    early: bool
    signal: int

    def __str__(self) -> str:
        if self.signal:
            return f"Interrupted after step {self.step}; continue with --resume."
        if self.early:
            return f"Stopped early after step {self.step}: no gain within run.patience evaluations."
        return f"Came to its end after step {self.step}."


def train(config: TrainConfig, folder: Path, *, resume: bool) -> Outcome:
    """Train an encoder and leave a checkpoint in ``folder``.

    Args:
        config: The run.
        folder: Of the last checkpoint, the log and the summary; the best checkpoint is in
            ``best`` within it.
        resume: Continue from the checkpoint in ``folder``, if there is one.

    Raises:
        CorpusError: If the corpora are missing or may not be used, or there is nothing to measure
            ``run.metric`` on.
        CheckpointError: If ``folder`` holds a checkpoint and ``resume`` is not set, the
            checkpoint is of another run, or one cannot be written.
        LogError: If the log cannot be written.
    """
    data = data_folder()
    before = find_checkpoint(config, folder, resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    torch.manual_seed(config.run.seed)

    # Corpora, vocabulary and token ids are all in memory before the first step.
    material = prepare(config, before)
    measured: list[str] = []
    if config.run.evaluate_every and config.run.metric != LOSS:
        only = metric_language(config.run.metric)
        measured = languages_to_measure(material.bitext.langs, data, only)
    teacher = ask_teacher(config, material)
    encoder = encoder_of(before) if before else first_encoder(config, material)

    keep_freed_memory()
    trainer = Trainer(config, encoder, material.tokenizer, material.bitext, teacher)
    if before:
        trainer.restore(before)
    return _Run(trainer, material.batches, folder, measured).go()


class _Run:
    """The steps of a run and what is written on the way."""

    def __init__(
        self, trainer: Trainer, batches: HybridBatches, folder: Path, measured: list[str]
    ) -> None:
        self._trainer, self._batches = trainer, batches
        self._folder, self._measured = folder, measured
        self._config, self._steps = trainer.config.run, trainer.config.optim.steps
        self._texts = 2 * trainer.config.batches.pairs  # of a step
        self._saved = -1
        self._logged, self._busy = trainer.progress.step, 0.0

    def go(self) -> Outcome:
        """Do the steps that are left, save and sum up."""
        config, progress = self._config, self._trainer.progress
        started = time.monotonic() - progress.seconds
        with (
            Interrupt() as interrupt,
            RunLog(self._folder, progress.step, tensorboard=config.tensorboard) as run_log,
            _bar(self._steps, progress.step) as bar,
        ):
            while progress.step < self._steps and not interrupt.number:
                if exhausted(progress, config.patience):
                    break
                rate = self._step(bar)
                progress.seconds = time.monotonic() - started

                # Once in a while: how good is it? The best so far is kept beside the last.
                figures: dict[str, float] = {}
                if _due(config.evaluate_every, progress.step, self._steps):
                    figures = self._evaluate()
                    bar.write(f"step {progress.step}: {_listed(figures)}", file=sys.stderr)
                if figures or _due(config.log_every, progress.step, self._steps):
                    run_log.write(self._line(rate, figures))

                # Once in a while: save, so that a killed run loses little.
                if config.save_every and progress.step % config.save_every == 0:
                    self._save()
        if self._saved != progress.step:
            self._save()
        outcome = Outcome(progress.step, exhausted(progress, config.patience), interrupt.number)
        write_summary(self._folder, self._trainer.snapshot().run, progress, str(outcome))
        return outcome

    def _step(self, bar: "tqdm[NoReturn]") -> float:
        """Do one step; returns its rate."""
        progress = self._trainer.progress
        began = time.monotonic()
        rate = learning_rate(self._trainer.config.optim, progress.step)
        self._trainer.step(self._batches.batch(progress.step), rate)
        took = time.monotonic() - began
        self._busy += took
        speed = f"{self._texts / took:,.0f} texts/s"
        bar.set_postfix_str(f"loss {progress.loss:.3f}, {speed}", refresh=False)
        bar.update()
        return rate

    def _evaluate(self) -> dict[str, float]:
        """Measure, note the figures, and save the best checkpoint if it is this one."""
        trainer, progress, metric = self._trainer, self._trainer.progress, self._config.metric
        figures = {LOSS: progress.loss}
        if metric != LOSS:
            encode = as_encode(trainer.averaged(), trainer.tokenizer, role="query")
            figures = figures_of(encode, data_folder(), self._measured, metric)
        progress.metrics |= {f"{name} at {progress.step}": figures[name] for name in figures}
        if judge(progress, metric, figures[metric]):
            save_checkpoint(self._folder / BEST, trainer.snapshot())
        return figures

    def _line(self, rate: float, figures: dict[str, float]) -> dict[str, object]:
        """Make a line of the log, and start to count anew."""
        progress = self._trainer.progress
        speed = self._texts * (progress.step - self._logged) / self._busy
        self._logged, self._busy = progress.step, 0.0
        return {
            "step": progress.step,
            "loss": progress.loss,
            "rate": rate,
            "texts_per_s": round(speed, 1),
            "seconds": round(progress.seconds, 3),
            "metrics": figures,
        }

    def _save(self) -> None:
        save_checkpoint(self._folder, self._trainer.snapshot())
        self._saved = self._trainer.progress.step


def _bar(steps: int, done: int) -> "tqdm[NoReturn]":
    """Make the progress bar; a file or pipe gets a line only now and then."""
    pause = 1 if sys.stderr.isatty() else 30
    return tqdm(total=steps, initial=done, unit="step", mininterval=pause, maxinterval=pause)


def _due(every: int, step: int, last: int) -> bool:
    return bool(every) and (step % every == 0 or step == last)


def _listed(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
