"""All that a run leaves on disk and on the screen: checkpoints, log, bar and summary.

With several processes only the first one keeps a journal; in the others these methods do nothing.
"""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any, Self

import torch
from tqdm import tqdm

from training import distributed
from training.batches import HybridBatches
from training.checkpoint import BEST, Snapshot, save_checkpoint
from training.logs import RunLog
from training.summary import write_summary
from training.trainer import Trainer

MINED = "mined"  # first part of the names, in a checkpoint's state, of negatives that were mined


class Journal:
    """Keeps a run's files in one folder; use it in a ``with`` while the run steps."""

    def __init__(self, folder: Path, trainer: Trainer, batches: HybridBatches) -> None:
        """Remember what to write about.

        Args:
            folder: Of the last checkpoint; it is there.
            trainer: Whose progress is told, and whose state is saved.
            batches: Whose mined negatives are saved.
        """
        self._folder, self._trainer, self._batches = folder, trainer, batches
        self._main = distributed.is_main()
        self._texts = 2 * trainer.config.batches.pairs  # of a step
        self._saved = -1
        self._logged, self._busy = trainer.progress.step, 0.0
        self._kinds: Counter[str] = Counter()
        self._started = time.monotonic() - trainer.progress.seconds
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open log and bar.

        Raises:
            LogError: If the log cannot be written.
        """
        steps, step = self._trainer.config.optim.steps, self._trainer.progress.step
        pause = 1 if sys.stderr.isatty() else 30  # a file gets a line only now and then
        with ExitStack() as stack:
            self._log = None
            if self._main:
                tensorboard = self._trainer.config.run.tensorboard
                self._log = stack.enter_context(RunLog(self._folder, step, tensorboard=tensorboard))
            self._bar = stack.enter_context(
                tqdm(
                    total=steps,
                    initial=step,
                    unit="step",
                    mininterval=pause,
                    maxinterval=pause,
                    disable=not self._main,
                )
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def count(self, seconds: float, kind: str) -> None:
        """Count a step on a batch of a kind that took so long, and move the bar."""
        progress = self._trainer.progress
        progress.seconds = time.monotonic() - self._started
        self._busy += seconds
        self._kinds[kind] += 1
        speed = f"{self._texts / seconds:,.0f} texts/s"
        self._bar.set_postfix_str(f"loss {progress.loss:.3f}, {speed}", refresh=False)
        self._bar.update()

    def say(self, figures: Mapping[str, float]) -> None:
        """Show the figures of an evaluation."""
        listed = ", ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._bar.write(f"step {self._trainer.progress.step}: {listed}", file=sys.stderr)

    def write_line(self, rate: float, figures: Mapping[str, float]) -> None:
        """Add a line to the log: of the last step, and speed and batches since the line before.

        Raises:
            LogError: If it cannot be written.
        """
        progress = self._trainer.progress
        speed = self._texts * (progress.step - self._logged) / self._busy
        self._logged, self._busy = progress.step, 0.0
        line: dict[str, Any] = {
            "step": progress.step,
            "loss": progress.loss,
            # The gradient of a step that overflowed in float16 has no finite norm.
            "parts": {k: v if isfinite(v) else None for k, v in self._trainer.parts.items()},
            "rate": rate,
            "batches": dict(sorted(self._kinds.items())),
            "texts_per_s": round(speed, 1),
            "seconds": round(progress.seconds, 3),
            "metrics": figures,
        }
        self._kinds.clear()
        if self._log:
            self._log.write(line)

    def save(self) -> None:
        """Save the last checkpoint, unless this step is saved already.

        Raises:
            CheckpointError: If it cannot be written.
        """
        if self._main and self._saved != self._trainer.progress.step:
            save_checkpoint(self._folder, self._snapshot())
            self._saved = self._trainer.progress.step

    def save_best(self) -> None:
        """Save the best checkpoint.

        Raises:
            CheckpointError: If it cannot be written.
        """
        if self._main:
            save_checkpoint(self._folder / BEST, self._snapshot())

    def sum_up(self, ending: str) -> None:
        """Write the summary.

        Raises:
            OSError: If it cannot be written.
        """
        if self._main:
            run = self._trainer.snapshot().run
            write_summary(self._folder, run, self._trainer.progress, ending)

    def _snapshot(self) -> Snapshot:
        snapshot = self._trainer.snapshot()
        mined = self._batches.mined_state().items()
        state = {f"{MINED}.{name}": torch.from_numpy(values) for name, values in mined}
        return replace(snapshot, state={**snapshot.state, **state})


def restore_mined(batches: HybridBatches, snapshot: Snapshot) -> None:
    """Go on with the negatives that were mined before a checkpoint."""
    parts = (name.partition(".") for name in snapshot.state)
    names = [name for section, _, name in parts if section == MINED]
    batches.load_mined({name: snapshot.state[f"{MINED}.{name}"].numpy() for name in names})
