"""Which checkpoint is the best, and when to stop: by one figure, measured every so many steps.

What is chosen by must not be what is reported, so Tatoeba is no choice: its figures would then be
those of the luckiest of many checkpoints.
"""

import re

from training.progress import Progress

FLORES, HELD_OUT, LOSS, REPORTED = "flores200-dev", "held-out", "loss", "tatoeba"


def metric_problem(metric: str) -> str | None:
    """Say what is wrong with a ``run.metric``, or nothing.

    Metrics are ``flores200-dev`` (accuracy at 1 to English, mean over the measured languages),
    ``held-out`` (accuracy at 1 on ``run.held_out``, mean over its queries' languages), either with
    ``:LANG`` (of one language), and ``loss`` (of training, smoothed).
    """
    name, _, lang = metric.partition(":")
    if name == REPORTED:
        return (
            "run.metric: tatoeba is only for reporting; what checkpoints are chosen by cannot "
            f"also be an unbiased figure of the chosen one; use {FLORES}"
        )
    if metric in (FLORES, HELD_OUT, LOSS) or (
        name in (FLORES, HELD_OUT) and re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", lang)
    ):
        return None
    return (
        f"run.metric: got {metric!r}: expected {FLORES}, {HELD_OUT}, either with :LANG (as "
        f":swh_Latn), or {LOSS}"
    )


def metric_set(metric: str) -> str:
    """Return what a metric is measured on: its name without ``:LANG``."""
    return metric.partition(":")[0]


def metric_language(metric: str) -> str:
    """Return the language of ``flores200-dev:LANG`` or ``held-out:LANG``, or nothing."""
    return metric.partition(":")[2]


def judge(progress: Progress, metric: str, figure: float) -> bool:
    """Note the figure of an evaluation; returns whether it is better than all before.

    Equal is not better: of two alike the earlier stays.
    """
    gain = progress.best is None or (
        figure < progress.best if metric == LOSS else figure > progress.best
    )
    if gain:
        progress.best, progress.best_step, progress.waited = figure, progress.step, 0
    else:
        progress.waited += 1
    return gain


def exhausted(progress: Progress, patience: int) -> bool:
    """Whether ``patience`` evaluations in a row brought no gain (0: never)."""
    return 0 < patience <= progress.waited
