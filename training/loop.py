"""The loop, top to bottom: corpora -> batches -> loss -> step -> checkpoint.

What a step does depends on the seed and its number alone, and a checkpoint holds everything else,
so a run that was interrupted and resumed ends with the same weights, bit for bit, as one that was
not (with the same number of threads and processes).

Under ``torchrun`` every process goes through this loop in step with the others; what to stop for
and which checkpoint is best is agreed upon, for one that left the loop alone would leave the
others waiting.
"""

import signal
import time
import zlib
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.distributed import broadcast

from training import distributed
from training.assembly import encoder_of
from training.batches import Batch, HybridBatches
from training.checkpoint import CheckpointError, Snapshot
from training.config import TrainConfig
from training.corpus import data_folder
from training.journal import Journal, restore_mined
from training.measuring import Measure, make_measure, needs_data
from training.memory import keep_freed_memory
from training.mining import encoder_rows
from training.model import as_encode
from training.prefetch import Prefetcher
from training.preparation import (
    Preparation,
    ask_teacher,
    ask_teacher_states,
    first_encoder,
    prepare,
)
from training.resumption import find_checkpoint
from training.schedule import learning_rate
from training.selection import LOSS, exhausted, judge
from training.signals import Interrupt
from training.trainer import Trainer


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
        ConfigError: If the run's device is not there, or a setting does not go with another.
        CorpusError: If the corpora are missing or may not be used, or there is nothing to measure
            ``run.metric`` on.
        CheckpointError: If ``folder`` holds a checkpoint and ``resume`` is not set, the
            checkpoint is of another run, or one cannot be written.
        LogError: If the log cannot be written.
        TrainingError: If the loss is no number.
    """
    with distributed.session(distributed.choose_device(config.run.device)):
        if needs_data(config):
            data_folder()  # before anything is written: is it there?
        before = _find(config, folder, resume=resume)
        if config.run.threads:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)

        # Corpora, vocabulary and token ids are all in memory before the first step.
        with _new_folder(folder):
            material = prepare(config, before)
            measure = make_measure(config, material.bitext)
        teacher = ask_teacher(config, material)
        encoder = encoder_of(before) if before else first_encoder(config, material)

        keep_freed_memory()
        states = ask_teacher_states(config, material, encoder)
        trainer = Trainer(config, encoder, material.tokenizer, material.bitext, teacher, states)
        if before:
            trainer.restore(before)
            restore_mined(material.batches, before)
        _require_agreement(trainer, material)
        return _go(trainer, material.batches, folder, measure)


def _go(trainer: Trainer, batches: HybridBatches, folder: Path, measure: Measure | None) -> Outcome:
    """Do the steps that are left, save and sum up."""
    run, optim, progress = trainer.config.run, trainer.config.optim, trainer.progress
    with (
        Interrupt() as interrupt,
        Journal(folder, trainer, batches) as journal,
        closing(_coming(trainer, batches)) as coming,
    ):
        while progress.step < optim.steps and not exhausted(progress, run.patience):
            if distributed.any_process(bool(interrupt.number), trainer.device):
                interrupt.number = interrupt.number or signal.SIGTERM
                break
            began = time.monotonic()
            rate = learning_rate(optim, progress.step)
            batch = next(coming)
            trainer.step(batch, rate)
            journal.count(time.monotonic() - began, batch.kind)

            # Once in a while: how good is it? The best so far is kept beside the last.
            figures: dict[str, float] = {}
            if evaluating := _due(run.evaluate_every, progress.step, optim.steps):
                figures = _evaluate(trainer, journal, measure)
            if evaluating or _due(run.log_every, progress.step, optim.steps):
                journal.write_line(rate, figures)

            # Once in a while: save, so that a killed run loses little.
            if run.save_every and progress.step % run.save_every == 0:
                journal.save()
        journal.save()
    early = not interrupt.number and exhausted(progress, run.patience)
    outcome = Outcome(progress.step, early, interrupt.number)
    journal.sum_up(str(outcome))
    return outcome


@contextmanager
def _new_folder(folder: Path) -> Iterator[None]:
    """Make the run's folder, and take it away again if the run is refused."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except Exception:
        if new:
            with suppress(OSError):  # another process has written to it, or has removed it
                folder.rmdir()
        raise


def _coming(trainer: Trainer, batches: HybridBatches) -> Generator[Batch]:
    """Make the batches that are left ahead of their steps.

    Negatives are mined with the weights of the step before the first that they are for, so no
    batch is made ahead across such a step.
    """
    step, stop = trainer.progress.step, trainer.config.optim.steps
    every = trainer.config.batches.mine_every or stop
    while step < stop:
        if batches.must_mine(step):
            batches.mine(step, stop, encoder_rows(trainer.encoder))
            _share_mined(batches, trainer.device)
        until = min(stop, (step // every + 1) * every)
        with Prefetcher(batches.batch, step, until) as ahead:
            yield from ahead
        step = until


def _evaluate(trainer: Trainer, journal: Journal, measure: Measure | None) -> dict[str, float]:
    """Measure, note the figures, and save the best checkpoint if it is this one.

    The first process measures; the others learn only the figure that is judged by.
    """
    progress, metric = trainer.progress, trainer.config.run.metric
    figures: dict[str, float] = {}
    if measure is None:
        figures = {LOSS: progress.loss}
    elif distributed.is_main():
        encoder = trainer.averaged()
        figures = measure(lambda role: as_encode(encoder, trainer.tokenizer, role=role))
    mine = figures.get(metric, 0.0) if distributed.is_main() else 0.0
    figure = distributed.total(torch.tensor(mine, dtype=torch.float64, device=trainer.device))
    progress.metrics |= {f"{name} at {progress.step}": value for name, value in figures.items()}
    journal.say(figures)
    if judge(progress, metric, float(figure)):
        journal.save_best()
    return figures


def _find(config: TrainConfig, folder: Path, *, resume: bool) -> Snapshot | None:
    """Find the checkpoint to go on from: first the process that may complete a save, then all."""
    if not distributed.is_main():
        distributed.barrier()
    before = find_checkpoint(config, folder, resume=resume)
    if distributed.is_main():
        distributed.barrier()
    return before


def _share_mined(batches: HybridBatches, device: torch.device) -> None:
    """Give all processes what the first one mined: rounding may make a difference elsewhere."""
    if distributed.world() == 1:
        return
    mined = {name: torch.from_numpy(v).to(device) for name, v in batches.mined_state().items()}
    for values in mined.values():
        broadcast(values, 0)
    batches.load_mined({name: values.cpu().numpy() for name, values in mined.items()})


def _require_agreement(trainer: Trainer, material: Preparation) -> None:
    """Give all processes the first one's weights, and check that they have its vocabulary.

    Raises:
        CheckpointError: If they have not.
    """
    if distributed.world() == 1:
        return
    for tensor in trainer.encoder.state_dict().values():
        broadcast(tensor, 0)
    digest = torch.tensor(zlib.crc32(material.tokenizer.to_str().encode()), device=trainer.device)
    if int(distributed.total(digest)) != distributed.world() * int(digest):
        raise CheckpointError(
            "the processes learned different vocabularies: expected the same from the same "
            "corpora; train one step with a single process, then continue with --resume"
        )


def _due(every: int, step: int, last: int) -> bool:
    return bool(every) and (step % every == 0 or step == last)
