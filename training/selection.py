"""Which checkpoint is the best, and when to stop: by one figure, measured every so many steps.

What is chosen by must not be what is reported, so Tatoeba is no choice: its figures would then be
those of the luckiest of many checkpoints.
"""

import re

from training.progress import Progress

FLORES, LOSS, REPORTED = "flores200-dev", "loss", "tatoeba"


def metric_problem(metric: str) -> str | None:
    """Say what is wrong with a ``run.metric``, or nothing.

    Metrics are ``flores200-dev`` (accuracy at 1 to English, mean over the measured languages),
    ``flores200-dev:LANG`` (of one language) and ``loss`` (of training, smoothed).
    """
    name, _, lang = metric.partition(":")
    if name == REPORTED:
        return (
            "run.metric: tatoeba is only for reporting; what checkpoints are chosen by cannot "
            f"also be an unbiased figure of the chosen one; use {FLORES}"
        )
    if metric in (FLORES, LOSS) or (
        name == FLORES and re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", lang)
    ):
        return None
    return f"run.metric: got {metric!r}: expected {FLORES}, {FLORES}:LANG (as swh_Latn) or {LOSS}"


def metric_language(metric: str) -> str:
    """Return the language of ``flores200-dev:LANG``, or nothing."""
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
