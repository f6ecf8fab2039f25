"""Cells of a task, setting and condition together: macro means with intervals, the worst language.

All languages count the same. Intervals draw query ids anew for all languages at once, for the same
sentence is hard in many of them. A share of 0 or 1 is bounded as one of its distinct sentences.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.robustness.binomial import share_interval
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.ranks import METRICS
from training.xtyntegra.resampling import Clusters, Drawing, Estimates, Floats
from training.xtyntegra.result import CLEAN, QueryFigures

Entry = Mapping[str, Any]

ALL = "all"
TRACKS = ("seen", "related", "unseen", "other")
_ENGLISH = "eng_Latn"
_HEADLINE = METRICS.index("accuracy@1")


@dataclass(frozen=True)
class Queries:
    """What the queries of an entry came to.

    Attributes:
        ids: Of each query. Cells with equal ids share one tuple.
        values: Mean over the draws of each metric, shape (queries, metrics).
        before: accuracy@1 of the same queries without attack, shape (queries,).
        broken: 1 for those right before that some draw gets wrong, shape (queries,).
        right_in_all: 1 for those that every draw gets right, shape (queries,).
    """

    ids: tuple[str, ...]
    values: Floats
    before: Floats
    broken: Floats
    right_in_all: Floats


class Source:
    """Figures of queries by entry; equal ids of cells are one tuple."""

    def __init__(self, figures: QueryFigures) -> None:
        self._figures = figures
        self._ids: dict[tuple[str, ...], tuple[str, ...]] = {}

    def ids(self, cell: str, condition: str) -> tuple[str, ...]:
        """Query ids of a cell under a condition."""
        ids = tuple(self._figures.ids(cell, condition).tolist())
        return self._ids.setdefault(ids, ids)

    def draws(self, entry: Entry) -> list[str]:
        """Name the conditions of an entry in ``queries.npz``: one for each draw.

        Raises:
            BenchmarkError: If there is none.
        """
        condition = str(entry["condition"])
        there = self._figures.conditions.get(str(entry["cell"]), ())
        found = [one for one in there if one == condition or one.startswith(f"{condition}/draw=")]
        if not found:
            raise BenchmarkError(f"there are no queries of {entry['cell']}, {condition}")
        return found

    def queries(self, entry: Entry) -> Queries:
        """Read what the queries of an entry came to.

        Raises:
            BenchmarkError: If the archive lacks some of it.
        """
        cell, names = str(entry["cell"]), self.draws(entry)
        ids = self.ids(cell, names[0])
        draws = [self._draw(cell, name) for name in names]  # each (queries, metrics)
        headlines = np.stack([draw[:, _HEADLINE] for draw in draws])
        before = headlines[0] if entry["condition"] == CLEAN else self._before(cell, ids)
        worst = headlines.min(axis=0)
        return Queries(ids, np.mean(draws, axis=0), before, before * (worst < 1.0), worst)

    def _draw(self, cell: str, condition: str) -> Floats:
        values = self._figures.values(cell, condition)
        return np.stack([values[name] for name in METRICS], axis=1)

    def _before(self, cell: str, ids: tuple[str, ...]) -> Floats:
        """accuracy@1 without attack, of a sample of a cell's queries."""
        whole = (self._figures.ranks(cell) == 1).astype(np.float64)
        everyone = self.ids(cell, CLEAN)
        if everyone == ids:
            return whole
        places = {name: place for place, name in enumerate(everyone)}
        if len(places) < len(whole) or not places.keys() >= set(ids):
            raise BenchmarkError(f"{cell}: the ids of its sample are not among its own, or twice")
        return whole[[places[name] for name in ids]]


def summarize(entries: Iterable[Entry], source: Source, drawing: Drawing) -> list[dict[str, Any]]:
    """Write what stands under ``summary`` in a result.

    Args:
        entries: What stands under ``cells``.
        source: The figures of their queries.
        drawing: Of the intervals.

    Raises:
        BenchmarkError: If the source lacks some of them.
    """
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        key = (entry["task"], entry["setting"], entry["condition"])
        groups.setdefault(key, []).append(entry)
    found: list[dict[str, Any]] = []
    for (task, setting, condition), group in groups.items():
        read = [(entry, source.queries(entry)) for entry in group]
        for track in (ALL, *TRACKS):
            part = [one for one in read if track in (ALL, one[0]["track"])]
            if part:
                named = {"task": task, "setting": setting, "condition": condition, "track": track}
                found.append({**named, **_sum(part, drawing)})
    return found


def language_of(entry: Entry) -> str:
    """Name the language that a cell is about: the one that is not English, or both."""
    query, document = str(entry["query_lang"]), str(entry["document_lang"])
    if document in ("*", _ENGLISH, query):
        return query
    return document if query == _ENGLISH else f"{query}>{document}"


def _sum(part: Sequence[tuple[Entry, Queries]], drawing: Drawing) -> dict[str, Any]:
    entries, queries = [entry for entry, _ in part], [one for _, one in part]
    clusters = Clusters([one.ids for one in queries])
    drawn = clusters.estimate([one.values for one in queries], drawing)
    metrics: dict[str, Any] = {}
    for place, name in enumerate(METRICS):
        means = [one.values[:, place].mean() for one in queries]
        worst = int(np.argmin(means))
        metrics[name] = _macro(drawn, place) | _worst(float(means[worst]), entries[worst])
    metrics["accuracy@1"] |= _bounds_of_all_or_none(
        float(drawn.value[_HEADLINE]), clusters.count, drawing
    )
    return {
        "languages": len(part),
        "metrics": metrics,
        "extras": _extras(entries),
        "attack": _attack(entries, queries, clusters, drawing),
    }


def _attack(
    entries: Sequence[Entry], queries: Sequence[Queries], clusters: Clusters, drawing: Drawing
) -> dict[str, Any] | None:
    attack = entries[0]["attack"]
    if attack is None:
        return None
    rates = [_to_rate(entry, one) for entry, one in zip(entries, queries, strict=True)]
    success = clusters.ratio([part for part, _ in rates], [whole for _, whole in rates], drawing)
    kept = clusters.ratio(
        [one.values[:, _HEADLINE] for one in queries],
        [
            _scaled(one.before, entry["attack"]["clean"]["accuracy@1"] * len(one.ids))
            for entry, one in zip(entries, queries, strict=True)
        ],
        drawing,
    )
    drop = Estimates(1.0 - kept.value, 1.0 - kept.high, 1.0 - kept.low, kept.p_value)
    named = {key: attack[key] for key in ("family", "edits", "draws", "epsilon") if key in attack}
    return named | {
        "success_rate": _macro(success, 0)
        | _bounds_of_all_or_none(float(success.value[0]), len(_ids_right_before(queries)), drawing)
        | _most(entries, "success_rate"),
        "relative_drop": _macro(drop, 0) | _most(entries, "relative_drop"),
        "not_applicable": sum(int(entry["attack"]["not_applicable"]) for entry in entries),
    }


def _bounds_of_all_or_none(value: float, ids: int, drawing: Drawing) -> dict[str, float]:
    """Bound a share of 0 or 1, which no resample can move, by its distinct sentences alone."""
    if value not in (0.0, 1.0):
        return {}
    interval = share_interval(round(value) * ids, ids, drawing.confidence)
    return {"low": interval.low, "high": interval.high}


def _ids_right_before(queries: Sequence[Queries]) -> set[str]:
    return {
        name
        for one in queries
        for name, right in zip(one.ids, one.before, strict=True)
        if right > 0.0
    }


def _to_rate(entry: Entry, queries: Queries) -> tuple[Floats, Floats]:
    """Give parts and wholes whose ratio is the cell's success rate.

    Queries that a family cannot act on are not right_clean, and which ones they are is not kept:
    all that were right weigh a little less instead.
    """
    attack = entry["attack"]
    right, rate = attack["right_clean"], attack["success_rate"]["value"] or 0.0
    return _scaled(queries.broken, right * rate), _scaled(queries.before, right)


def _scaled(values: Floats, total: float) -> Floats:
    """Bring values to a sum; where all are 0, spread it evenly."""
    there = float(values.sum())
    return values * (total / there) if there else np.full(len(values), total / len(values))


def _macro(found: Estimates, place: int) -> dict[str, float | None]:
    return {
        "macro": _number(found.value[place]),
        "low": _number(found.low[place]),
        "high": _number(found.high[place]),
    }


def _worst(value: float | None, entry: Entry | None) -> dict[str, Any]:
    return {"worst": value, "worst_lang": None if entry is None else language_of(entry)}


def _most(entries: Sequence[Entry], figure: str) -> dict[str, Any]:
    """The language with the largest figure, which is the worst one under attack."""
    known = [entry for entry in entries if entry["attack"][figure]["value"] is not None]
    if not known:
        return _worst(None, None)
    worst = max(known, key=lambda entry: entry["attack"][figure]["value"])
    return _worst(worst["attack"][figure]["value"], worst)


def _extras(entries: Sequence[Entry]) -> dict[str, float]:
    names = sorted({name for entry in entries for name in entry["extras"]})
    having = {name: [e["extras"][name] for e in entries if name in e["extras"]] for name in names}
    return {name: float(np.mean(values)) for name, values in having.items()}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
