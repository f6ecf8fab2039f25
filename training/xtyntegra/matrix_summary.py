"""What the matrix came to: each cell's figures, and its paired differences, as one small JSON.

Differences are taken between cells of one arm: each cell against plain cross-lingual training (the
reference), hybrid and monolingual against cross-lingual batches with the same method, and each
method against plain training with the same batches. Their p-values are adjusted together, arm by
arm, over all contrasts, groups and measures that are listed (Benjamini and Hochberg).
"""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.robustness.multiplicity import adjust_p_values
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.matrix_draws import Draws, Estimate
from training.xtyntegra.matrix_measures import Figure, figures_of
from training.xtyntegra.matrix_plan import Grid, Run, scoring_of
from training.xtyntegra.matrix_runs import is_done, read_result

REFERENCE = ("cross", "plain")
CONTRASTED = ("clean", "attacked", "success", "between", "pooled:distance", "pooled:ap")
"""Measures whose differences are listed, beside the white-box ones."""
LEFT_OUT = ("mrr",)
ALL = "all"
DIGITS = 4
Cell = tuple[str, str]
"""Batching and method."""
Figures = Mapping[str, Mapping[str, Figure]]
"""Group -> measure -> figure."""


@dataclass(frozen=True, slots=True)
class Done:
    """The runs of an arm that are done.

    Attributes:
        cells: Batching and method -> seed -> figures.
        runs: What is told of each run.
    """

    cells: Mapping[Cell, Mapping[int, Figures]]
    runs: Sequence[Mapping[str, Any]]


def write_summary(path: Path, grid: Grid, folder: Path, runs: Sequence[Run]) -> None:
    """Sum up the runs that are done and write the JSON.

    Raises:
        BenchmarkError: If none is done, or one cannot be read.
    """
    summary = summarize(grid, folder, runs)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_lines(summary), encoding="utf-8")


def summarize(grid: Grid, folder: Path, runs: Sequence[Run]) -> dict[str, Any]:
    """Sum up the runs that are done.

    Raises:
        BenchmarkError: If none is done, or one cannot be read.
    """
    done = [run for run in runs if is_done(folder, run)]
    if not done:
        raise BenchmarkError(f"no run in {folder} is done: make some first, or correct --out")
    arms = list(dict.fromkeys(run.arm for run in done))
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        "scoring": {arm: scoring_of(grid, arm).model_dump(mode="json") for arm in arms},
        "not_done": [run.name for run in runs if not is_done(folder, run)],
        "arms": {
            arm: _summary_of_arm(grid, folder, arm, [r for r in done if r.arm == arm])
            for arm in arms
        },
    }


def _summary_of_arm(grid: Grid, folder: Path, arm: str, runs: Sequence[Run]) -> dict[str, Any]:
    found, draws = _read(grid, folder, arm, runs), Draws()
    for seeds in found.cells.values():
        draws.prepare(_sides(list(seeds.values())))
    cells = {
        "-".join(cell): {"seeds": sorted(seeds), "figures": _figures(list(seeds.values()), draws)}
        for cell, seeds in found.cells.items()
    }
    contrasts: list[dict[str, Any]] = []
    for first, second in contrasts_of(list(found.cells)):
        sides = found.cells[first], found.cells[second]
        if common := sorted(set(sides[0]) & set(sides[1])):
            named = {"first": "-".join(first), "second": "-".join(second), "seeds": common}
            contrasts.append({**named, "rows": _differences(*sides, common, draws)})
    rows = [row for contrast in contrasts for row in contrast["rows"]]
    for row, adjusted in zip(rows, adjust_p_values([row[-1] for row in rows]), strict=True):
        row.append(round(float(adjusted), DIGITS))
    return {
        "languages": scoring_of(grid, arm).languages,
        "cells": cells,
        "columns of rows": ["group", "measure", "second - first", "low", "high", "p", "q"],
        "contrasts": contrasts,
        "runs": found.runs,
    }


def contrasts_of(cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """List the pairs of cells that are compared; see the module's docstring."""
    found: list[tuple[Cell, Cell]] = []
    for second in cells:
        batching, method = second
        wanted = [REFERENCE, (REFERENCE[0], method), (batching, REFERENCE[1])]
        if batching == "hybrid":
            wanted.append(("mono", method))
        found += [(first, second) for first in dict.fromkeys(wanted) if first in cells]
    return [(first, second) for first, second in found if first != second]


def _read(grid: Grid, folder: Path, arm: str, runs: Sequence[Run]) -> Done:
    scoring = scoring_of(grid, arm)
    cells: dict[Cell, dict[int, Figures]] = {}
    told: list[Mapping[str, Any]] = []
    for run in runs:
        result, outcomes = read_result(folder, run)
        languages = result["languages"]
        groups = {ALL: scoring.languages, **scoring.groups}
        cells.setdefault((run.batching, run.method), {})[run.seed] = {
            name: dict(figures_of(outcomes, languages, scoring.between, group))
            for name, group in groups.items()
        }
        told.append(_told(run, result, outcomes))
    return Done(cells, told)


def _told(run: Run, result: Mapping[str, Any], outcomes: Mapping[str, Any]) -> dict[str, Any]:
    clean = (outcomes["clean"] == 1).mean(axis=1)  # (languages,)
    return {
        "name": run.name,
        "finished": result["finished"],
        "train_cpu_seconds": result["train_cpu_seconds"],
        "token_norm": round(float(outcomes["token_norm"][0]), 3),
        "loss": round(result["losses"]["loss_clean_last_tenth"], 3),
        "clean": clean.round(3).tolist(),
    }


def _figures(seeds: Sequence[Figures], draws: Draws) -> dict[str, dict[str, list[float]]]:
    """Return group -> measure -> value, low, high, standard deviation over seeds."""
    return {
        group: {
            name: _rounded(draws.estimate([figures[group][name] for figures in seeds]))
            for name in measures
            if name not in LEFT_OUT and not name.startswith("success:")
        }
        for group, measures in seeds[0].items()
    }


def _sides(seeds: Sequence[Figures]) -> list[list[Figure]]:
    """List each figure of a cell over its seeds."""
    return [
        [figures[group][name] for figures in seeds]
        for group, measures in seeds[0].items()
        for name in measures
    ]


def _rounded(found: Estimate) -> list[float]:
    return [round(v, DIGITS) for v in (found.value, found.low, found.high, found.spread)]


def _differences(
    first: Mapping[int, Figures], second: Mapping[int, Figures], seeds: Sequence[int], draws: Draws
) -> list[list[Any]]:
    """Return group, measure, difference, low, high and p-value of each measure that is listed."""
    found: list[list[Any]] = []
    for one in (first, second):
        draws.prepare(_sides([one[seed] for seed in seeds]))
    for group, measures in second[seeds[0]].items():
        for name in measures:
            if name in CONTRASTED or name.startswith("white:"):
                sides = [[one[seed][group][name] for seed in seeds] for one in (first, second)]
                change = draws.difference(*sides)
                told = (change.value, change.low, change.high, change.p_value)
                found.append([group, name, *(round(value, DIGITS) for value in told)])
    return found


def _lines(summary: Mapping[str, Any]) -> str:
    """Write the JSON with one cell, contrast or run a line: small, and its changes can be read."""

    def flat(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def nested(value: Any, depth: int) -> str:
        if depth and isinstance(value, Mapping) and value:
            inner = (f"{json.dumps(key)}: {nested(one, depth - 1)}" for key, one in value.items())
            return "{\n" + ",\n".join(inner) + "\n}"
        if depth and isinstance(value, list) and value and isinstance(value[0], Mapping):
            return "[\n" + ",\n".join(map(flat, value)) + "\n]"
        return flat(value)

    return nested(summary, 4) + "\n"


def _commit() -> str:
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
