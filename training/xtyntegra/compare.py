"""Two or more runs on the same queries: what differs by more than chance.

Macro means are compared by a cluster bootstrap of the differences by query id, languages by an
exact McNemar test on accuracy@1, adjusted by Benjamini and Hochberg over the languages of a task,
setting and condition. Runs whose tasks or attacked queries differ are refused; what only one run
has is left out and told.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from app.robustness.binomial import mcnemar
from app.robustness.multiplicity import adjust_p_values
from training.xtyntegra.archive import replace_file, to_json
from training.xtyntegra.composition import plain
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.ranks import METRICS
from training.xtyntegra.resampling import Clusters, Drawing, Floats
from training.xtyntegra.result import CLEAN, RunFolder, read_run
from training.xtyntegra.sums import ALL, TRACKS, Entry, Queries, Source

COMPARISON, PAGE = "comparison.json", "comparison.html"
VERSION = 1
_HEADLINE = METRICS.index("accuracy@1")
Key = tuple[str, str]
"""A cell and a condition."""


@dataclass(frozen=True, slots=True)
class Options:
    """How runs are compared.

    Attributes:
        drawing: Of the intervals.
        q: Languages with an adjusted p-value of at most this are called different.
    """

    drawing: Drawing = field(default_factory=Drawing)
    q: float = 0.05

    def __post_init__(self) -> None:
        if not 0.0 < self.q < 1.0:
            raise BenchmarkError(f"got q {self.q}; expected a share between 0 and 1")


@dataclass(frozen=True)
class _Both:
    """One cell under one condition in two runs; values of shape (queries, metrics)."""

    entry: Entry
    ids: tuple[str, ...]
    first: Floats
    second: Floats
    right: tuple[Floats, Floats]


def write_comparison(
    folders: Sequence[Path], out: Path | None, options: Options | None = None
) -> dict[str, Any]:
    """Compare runs' folders and write what came of it; see ``compare``.

    Args:
        folders: Of two or more runs; the first is the baseline.
        out: Folder for ``comparison.json`` and its page; None: nothing is written.
        options: How to compare; None: the defaults.

    Raises:
        BenchmarkError: As ``compare``, or if a folder cannot be read or written.
    """
    if len(folders) < 2:
        raise BenchmarkError("got one run; expected two or more: name another to compare it with")
    with ExitStack() as stack:
        runs = [stack.enter_context(read_run(folder)) for folder in folders]
        found = compare(runs, options)
    if out is not None:
        from training.xtyntegra.report_comparison import html_of_comparison

        page = html_of_comparison(found, [run.result for run in runs])
        out.mkdir(parents=True, exist_ok=True)
        replace_file(out / COMPARISON, lambda file: file.write(to_json(found)))
        replace_file(out / PAGE, lambda file: file.write(page.encode("utf-8", "surrogatepass")))
    return found


def compare(runs: Sequence[RunFolder], options: Options | None = None) -> dict[str, Any]:
    """Compare each run with the first.

    Args:
        runs: Two or more.
        options: How; None: the defaults.

    Returns:
        The comparison, as the package's README describes it.

    Raises:
        BenchmarkError: If the runs were asked different things under the same name, or have
            nothing in common.
    """
    chosen = options or Options()
    left: list[dict[str, str]] = []
    pairs = [
        {"baseline": 0, "other": place} | _pair(runs[0], other, chosen, left)
        for place, other in enumerate(runs[1:], start=1)
    ]
    drawing = chosen.drawing
    return plain(
        {
            "benchmark": "xtyntegra-comparison",
            "version": VERSION,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "runs": [{"folder": str(run.path), "encoder": run.result["encoder"]} for run in runs],
            "confidence": drawing.confidence,
            "resamples": drawing.resamples,
            "seed": drawing.seed,
            "q": chosen.q,
            "pairs": pairs,
            "left_out": left,
        }
    )


def _pair(
    first: RunFolder, second: RunFolder, options: Options, left: list[dict[str, str]]
) -> dict[str, Any]:
    sides = [{_key(entry): entry for entry in run.result["cells"]} for run in (first, second)]
    _require_same(first, second, sides)
    seeds = [int(run.result["protocol"]["seed"]) for run in (first, second)]
    alike = {
        key: seeds[0] == seeds[1] and _how(sides[0][key]) == _how(sides[1][key])
        for key in sides[0]
        if key in sides[1]
    }
    common = [key for key, same in alike.items() if same or key[1] == CLEAN]
    if not common:
        raise BenchmarkError(
            f"{first.path} and {second.path} have no cell in common: compare runs of the same "
            "tasks and languages."
        )
    left += _left_out(sides, (first.path, second.path))
    others = {key: sides[0][key] for key in alike if key not in common}
    left += _told(others, f"drawn otherwise (draws or seed) in {second.path}")
    sources = Source(first.queries), Source(second.queries)
    groups: dict[tuple[str, str, str], list[_Both]] = {}
    for key in common:
        entry = sides[0][key]
        both = _both(entry, *(source.queries(entry) for source in sources))
        groups.setdefault((entry["task"], entry["setting"], entry["condition"]), []).append(both)
    summary: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    for group in groups.values():
        for track in (ALL, *TRACKS):
            part = [one for one in group if track in (ALL, one.entry["track"])]
            summary += _macro(part, track, options.drawing) if part else []
        cells += _languages(group)
    return {"summary": summary, "cells": cells}


def _require_same(
    first: RunFolder, second: RunFolder, sides: Sequence[Mapping[Key, Entry]]
) -> None:
    """Refuse runs that asked something else under the same name."""
    where = f"{first.path} and {second.path}"
    for key in sides[0].keys() & sides[1].keys():
        if sides[0][key].get("sha256") != sides[1][key].get("sha256"):
            raise BenchmarkError(
                f"{where} were asked different queries or documents in {key[0]}: the data differ; "
                "run both on the same corpora."
            )
    texts = [_attacks(run) for run in (first, second)]
    for name in sorted(texts[0].keys() & texts[1].keys()):
        same = first.result["protocol"]["tasks"] == second.result["protocol"]["tasks"]
        plans = [run.result["protocol"].get("plan") for run in (first, second)]
        if same and plans[0] == plans[1] and texts[0][name] != texts[1][name]:
            raise BenchmarkError(
                f"{where} were attacked with different texts ({name}): use one --perturbed folder, "
                "and the same Python."
            )


def _attacks(run: RunFolder) -> dict[str, str]:
    return {
        f"{one['family']}/edits={one['edits']}": str(one.get("sha256"))
        for one in run.result["protocol"]["attacks"]
    }


def _both(entry: Entry, first: Queries, second: Queries) -> _Both:
    if first.ids != second.ids:
        raise BenchmarkError(
            f"the runs attacked different queries of {entry['cell']} ({entry['condition']}): run "
            "both with the same --queries."
        )
    return _Both(
        entry,
        first.ids,
        first.values,
        second.values,
        (first.right_in_all, second.right_in_all),
    )


def _macro(part: Sequence[_Both], track: str, drawing: Drawing) -> list[dict[str, Any]]:
    """Compare the macro means of one group of cells, one entry a metric."""
    changes = [one.second - one.first for one in part]
    drawn = Clusters([one.ids for one in part]).estimate(changes, drawing)
    entry = part[0].entry
    found: list[dict[str, Any]] = []
    for place, metric in enumerate(METRICS):
        means = [
            float(np.mean([getattr(one, side)[:, place].mean() for one in part]))
            for side in ("first", "second")
        ]
        found.append(
            {
                "task": entry["task"],
                "setting": entry["setting"],
                "condition": entry["condition"],
                "track": track,
                "languages": len(part),
                "metric": metric,
                "baseline": means[0],
                "other": means[1],
                "difference": float(drawn.value[place]),
                "low": _number(drawn.low[place]),
                "high": _number(drawn.high[place]),
                "p_value": _number(drawn.p_value[place]),
            }
        )
    return found


def _languages(group: Sequence[_Both]) -> list[dict[str, Any]]:
    """Compare each cell of a group; a query counts as right if it is so in all of its draws."""
    found: list[dict[str, Any]] = []
    for one in group:
        before, after = (side > 0.0 for side in one.right)
        only_first, only_second = int((before & ~after).sum()), int((after & ~before).sum())
        entry = one.entry
        found.append(
            {
                "cell": entry["cell"],
                "task": entry["task"],
                "setting": entry["setting"],
                "query_lang": entry["query_lang"],
                "document_lang": entry["document_lang"],
                "track": entry["track"],
                "condition": entry["condition"],
                "queries": len(one.ids),
                "baseline": float(before.mean()),
                "other": float(after.mean()),
                "difference": float(after.mean() - before.mean()),
                "only_baseline": only_first,
                "only_other": only_second,
                "p_value": mcnemar(only_second, only_first),
            }
        )
    adjusted = adjust_p_values([one["p_value"] for one in found])
    return [one | {"q_value": float(q)} for one, q in zip(found, adjusted, strict=True)]


def _left_out(
    sides: Sequence[Mapping[Key, Entry]], paths: tuple[Path, Path]
) -> Iterable[dict[str, str]]:
    """Tell what only one run has, by task, setting and condition."""
    for own, other, path in ((sides[0], sides[1], paths[0]), (sides[1], sides[0], paths[1])):
        yield from _told({key: own[key] for key in own.keys() - other.keys()}, f"only in {path}")


def _told(entries: Mapping[Key, Entry], why: str) -> Iterable[dict[str, str]]:
    counts: dict[tuple[str, str, str], int] = {}
    for entry in entries.values():
        name = (entry["condition"], entry["task"], entry["setting"])
        counts[name] = counts.get(name, 0) + 1
    for (condition, task, setting), count in sorted(counts.items()):
        yield {"what": f"{condition} of {count} cells of {task}/{setting}", "why": why}


def _how(entry: Entry) -> list[Any]:
    """How hard an attack tried: entries of others are not compared."""
    attack = entry["attack"] or {}
    return [attack.get(name) for name in ("draws", "search", "norm", "steps", "restarts")]


def _key(entry: Entry) -> Key:
    return str(entry["cell"]), str(entry["condition"] or CLEAN)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
