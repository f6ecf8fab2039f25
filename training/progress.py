"""Where a run stands: all that the loop knows beside weights and optimizer, JSON values only."""

import math
from dataclasses import dataclass, field
from typing import Any

SMOOTHING = 0.98  # of the loss that is shown
LOSSES_KEPT = 200  # points of the loss curve in run.json


@dataclass(slots=True)
class Progress:
    """Where a run stands; stored with each checkpoint.

    Attributes:
        step: Steps done.
        seconds: Spent on them, in all processes that worked on the run one after the other.
        loss: Of the last steps, exponentially smoothed; NaN before the first.
        curve: Some 200 points (step, smoothed loss).
        metrics: What was measured, by name.
        best: Figure of the best evaluation so far, if there was one.
        best_step: Its step.
        waited: Evaluations since then, none of them better.
    """

    step: int = 0
    seconds: float = 0.0
    loss: float = math.nan
    curve: list[tuple[int, float]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    best: float | None = None
    best_step: int = 0
    waited: int = 0

    def note(self, loss: float, steps: int) -> None:
        """Count one step of a run of ``steps`` and its loss."""
        self.step += 1
        first = math.isnan(self.loss)
        self.loss = loss if first else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        if self.step % math.ceil(steps / LOSSES_KEPT) == 0:
            self.curve.append((self.step, round(self.loss, 5)))
