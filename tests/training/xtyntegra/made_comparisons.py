"""Comparisons of runs as they come back from JSON, made from made results."""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.robustness.binomial import mcnemar
from app.robustness.multiplicity import adjust_p_values

from .made_results import metrics_of, summed


def a_comparison(results: Sequence[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Compare made results with the first of them; q-values over the cells of a condition."""
    pairs = [_pair(results[0], other, place) for place, other in enumerate(results[1:], 1)]
    return {
        "benchmark": "xtyntegra-comparison",
        "version": 1,
        "created": "2026-11-25T15:00:00Z",
        "runs": [
            {"folder": f"runs/{place}", "encoder": one["encoder"]}
            for place, one in enumerate(results)
        ],
        "confidence": 0.95,
        "resamples": 2000,
        "seed": 0,
        "q": 0.05,
        "pairs": pairs,
        "left_out": [],
    } | changes


def another(result: dict[str, Any], name: str, lift: float) -> dict[str, Any]:
    """A run of another encoder: what was right before is lifted, language by language."""

    def moved(cell: dict[str, Any]) -> dict[str, Any]:
        drawn = np.random.default_rng(
            zlib.crc32(f"{name}{cell['query_lang']}".encode("utf-8", "replace"))
        )
        before = cell["metrics"]["accuracy@1"]["value"]
        change = lift + 0.05 * drawn.normal() + (0.05 if cell["attack"] else 0.0)
        after = min(1.0, max(0.0, before + change * before * (1 - before) * 4))
        attack = cell["attack"]
        if attack:
            clean = min(1.0, max(0.0, attack["clean"]["accuracy@1"] + lift))
            attack = attack | {"clean": {"accuracy@1": clean}}
        return cell | {"metrics": metrics_of(after, cell["queries"]), "attack": attack}

    cells = [moved(cell) for cell in result["cells"]]
    encoder = result["encoder"] | {"name": name}
    return result | {"cells": cells, "summary": summed(cells), "encoder": encoder}


def a_cell_pair(cell: dict[str, Any], only_first: int, only_second: int) -> dict[str, Any]:
    """One cell of two runs, by the queries that only one of them has right."""
    before = cell["metrics"]["accuracy@1"]["value"]
    names = ("cell", "task", "setting", "query_lang", "document_lang", "track", "condition")
    difference = (only_second - only_first) / cell["queries"]
    p_value = mcnemar(only_first, only_second)
    return {name: cell[name] for name in names} | {
        "queries": cell["queries"],
        "baseline": before,
        "other": before + difference,
        "difference": difference,
        "only_baseline": only_first,
        "only_other": only_second,
        "p_value": p_value,
        "q_value": p_value,
    }


def _pair(first: dict[str, Any], second: dict[str, Any], place: int) -> dict[str, Any]:
    others = {(one["cell"], one["condition"]): one for one in second["cells"]}
    cells: list[dict[str, Any]] = []
    for one in first["cells"]:
        other = others.get((one["cell"], one["condition"]))
        if other is None:
            continue
        n = one["queries"]
        before, after = (x["metrics"]["accuracy@1"]["value"] for x in (one, other))
        moved = round((after - before) * n)
        cells.append(a_cell_pair(one, 20 + max(0, -moved), 20 + max(0, moved)))
    kinds = [(one["task"], one["setting"], one["condition"]) for one in cells]
    for kind in set(kinds):
        some = [one for one, of in zip(cells, kinds, strict=True) if of == kind]
        found = adjust_p_values([one["p_value"] for one in some])
        for one, q_value in zip(some, found.tolist(), strict=True):
            one["q_value"] = q_value
    return {
        "baseline": 0,
        "other": place,
        "summary": _summary(first, second),
        "cells": cells,
    }


def _summary(first: dict[str, Any], second: dict[str, Any]) -> list[dict[str, Any]]:
    names = ("task", "setting", "condition", "track")
    others = {tuple(one[name] for name in names): one for one in second["summary"]}
    rows: list[dict[str, Any]] = []
    for one in first["summary"]:
        other = others.get(tuple(one[name] for name in names))
        for metric in one["metrics"] if other else ():
            before, after = (x["metrics"][metric]["macro"] for x in (one, other) if x)
            known = {name: one[name] for name in (*names, "languages")}
            bounds = {"low": after - before - 0.01, "high": after - before + 0.01}
            figures = {"baseline": before, "other": after, "difference": after - before}
            rows.append(known | {"metric": metric, "p_value": 0.01} | figures | bounds)
    return rows
