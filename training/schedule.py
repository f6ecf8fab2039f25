"""How the learning rate goes over a run: a linear warm-up, then cosine, linear or constant."""

import math

from training.config import OptimSection

LR_FLOOR = 0.02  # share of the peak rate at the end of a cosine or line


def learning_rate(optim: OptimSection, step: int) -> float:
    """Return the rate of a step.

    Over ``warmup`` steps it rises in a line to the schedule's curve: for cosine and line, from
    ``lr`` at step 0 down to 2% of it at ``steps`` (never to nothing, so that the last steps
    count); constant stays at ``lr``.

    Args:
        optim: The schedule with its ``lr``, ``warmup`` and ``steps``.
        step: From 0.

    References:
        Loshchilov and Hutter 2017, equation 5, https://arxiv.org/abs/1608.03983 (cosine).
    """
    warm = min(1.0, (step + 1) / (optim.warmup + 1))
    share = step / optim.steps
    match optim.schedule:
        case "cosine":
            left = 0.5 * (1 + math.cos(math.pi * share))
        case "linear":
            left = 1 - share
        case "constant":
            left = 1.0
    return optim.lr * warm * (LR_FLOOR + (1 - LR_FLOOR) * left)
