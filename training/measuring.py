"""What a run measures every ``run.evaluate_every`` steps, made ready before its first step."""

from collections.abc import Callable
from pathlib import Path

from app.retrieval.store import Encode
from training.config import TrainConfig
from training.corpus import Bitext, CorpusError, data_folder
from training.evaluate import figures_of, languages_to_measure
from training.held_out import HeldOut
from training.selection import HELD_OUT, LOSS, metric_language, metric_set
from training.tokens import Role

Measure = Callable[[Callable[[Role], Encode]], dict[str, float]]
"""What encodes queries or documents -> figures by name, that of ``run.metric`` among them."""


def needs_data(config: TrainConfig) -> bool:
    """Whether a run reads anything of the data folder."""
    section, run = config.corpora, config.run
    measured = bool(run.evaluate_every) and metric_set(run.metric) not in (LOSS, HELD_OUT)
    return measured or bool(set(section.weights) - set(section.files))


def make_measure(config: TrainConfig, bitext: Bitext) -> Measure | None:
    """Read what ``run.metric`` is measured on; None: nothing, or the loss alone.

    Raises:
        CorpusError: If it is missing or cannot be used, or has not the language that is named.
    """
    run = config.run
    if not run.evaluate_every or run.metric == LOSS:
        return None
    lang = metric_language(run.metric)
    if metric_set(run.metric) == HELD_OUT:
        held_out = HeldOut.read(Path(run.held_out).expanduser())
        if lang and lang not in held_out.langs:
            raise CorpusError(
                f"run.metric: {run.held_out} has no queries in {lang}: expected one of "
                f"{', '.join(sorted(set(held_out.langs)))}"
            )
        held_out.warn_of_leaks(bitext)
        return held_out.figures
    languages = languages_to_measure(bitext.langs, data_folder(), lang)
    return lambda encode_as: figures_of(encode_as("query"), data_folder(), languages, run.metric)
