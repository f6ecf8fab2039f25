"""Measure classifiers in the standard and the generalized setting.

    python -m training.classification.evaluate RUN [RUN ...] --data FOLDER [--against RUN ...]
        [--split test] [--languages eng_Latn deu_Latn] [--standard-only] [--json FILE]

Runs that differ by their seed alone are given together; a run's best checkpoint is taken. With
``--against``, the gain over those other runs is reported with its interval.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from training.checkpoint import BEST, MANIFEST, CheckpointError
from training.classification.measurement import (
    diagonal,
    generalized_cells,
    measure,
    standard_cells,
)
from training.classification.model import ClassifierConfig, classifier_of
from training.classification.pairs import PairsError, PairSet, read_pairs
from training.classification.prediction import Classify, as_classify
from training.classification.report import format_report, setting_report
from training.classification.storage import load_snapshot
from training.classification.tasks import TASKS, Task
from training.classification.tokenization import PairTokenizer
from training.config import ConfigError
from training.distributed import choose_device


@dataclass(frozen=True, slots=True)
class Opened:
    """A classifier with what its checkpoint says of it."""

    folder: Path
    task: Task
    seed: int
    classify: Classify


def open_classifier(folder: Path, device: str = "auto") -> Opened:
    """Open the best checkpoint of a run, or the checkpoint in a folder.

    Raises:
        CheckpointError: If it is missing, damaged, or not a classifier's.
        ConfigError: If there is no such device.
    """
    if (folder / BEST / MANIFEST).exists():
        folder = folder / BEST
    snapshot = load_snapshot(folder)
    model = classifier_of(snapshot).to(choose_device(device))
    config = model.config
    if config.task not in TASKS or config.labels != TASKS[config.task].labels:
        raise CheckpointError(
            f"{folder} is of {config.task} with labels {', '.join(config.labels)}: expected one of "
            f"{', '.join(TASKS)} with its labels as published"
        )
    tokenizer = _tokenizer(snapshot.tokenizer, config)
    seed = int(snapshot.run["config"]["run"]["seed"])
    return Opened(folder, TASKS[config.task], seed, as_classify(model, tokenizer))


def evaluate(
    opened: Sequence[Opened],
    sets: Mapping[str, PairSet],
    *,
    against: Sequence[Opened] = (),
    generalized: bool = True,
) -> dict[str, Any]:
    """Measure classifiers of one task.

    Args:
        opened: The classifiers, alike but for their seeds.
        sets: Test sets by language.
        against: Others to compare with.
        generalized: Whether to measure all pairs of languages too.

    Raises:
        PairsError: If the sets are not translations of one another.
        CheckpointError: If the classifiers are not of one task.
    """
    if len(tasks := {one.task.name for one in (*opened, *against)}) > 1:
        raise CheckpointError(f"got classifiers of {', '.join(sorted(tasks))}: expected one task")

    # The standard setting is the diagonal of the generalized one.
    cells = generalized_cells(sets) if generalized else standard_cells(sets)
    measured = measure([one.classify for one in opened], sets, cells)
    others = measure([one.classify for one in against], sets, cells) if against else None
    report: dict[str, Any] = {
        "task": opened[0].task.name,
        "checkpoints": [str(one.folder) for one in opened],
        "seeds": [one.seed for one in opened],
        "against": [str(one.folder) for one in against],
        "sets": {
            lang: {
                "pairs": len(pairs),
                "rows": pairs.rows,
                "skipped": {reason: len(lines) for reason, lines in pairs.skipped.items()},
            }
            for lang, pairs in sets.items()
        },
        "standard": setting_report(diagonal(measured), diagonal(others) if others else None),
    }
    if generalized:
        report["generalized"] = setting_report(measured, others)
    return report


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and measure; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.classification.evaluate")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of runs, one for each seed")
    parser.add_argument("--data", type=Path, required=True, help="folder of the task's files")
    parser.add_argument("--against", type=Path, nargs="+", default=[], help="runs to compare with")
    parser.add_argument("--split", choices=("dev", "test"), default="test")
    parser.add_argument("--languages", nargs="+", help="FLORES codes (default: all of the task)")
    parser.add_argument("--standard-only", action="store_true", help="no pairs of two languages")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    options = parser.parse_args(arguments)
    try:
        opened = [open_classifier(path, options.device) for path in options.runs]
        against = [open_classifier(path, options.device) for path in options.against]
        task = opened[0].task
        languages = options.languages or list(task.languages)
        sets = read_pairs(task, options.data, options.split, languages)
        report = evaluate(opened, sets, against=against, generalized=not options.standard_only)
    except (CheckpointError, ConfigError, PairsError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    report["split"] = options.split
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(format_report(report) + "\n")
    return 0


def _tokenizer(text: str, config: ClassifierConfig) -> PairTokenizer:
    return PairTokenizer(Tokenizer.from_str(text), config.pad_id, config.max_tokens)


if __name__ == "__main__":
    sys.exit(main())
