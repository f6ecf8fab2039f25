"""From right and wrong answers to accuracies, means and differences, each with its interval.

A cell's interval is Wilson's over its pairs. Translations of one pair are not independent, so means
over languages, and differences between two groups of classifiers, are bootstrapped over pairs: all
translations of a pair are drawn together, and both groups get the same draws. The spread over
training seeds is given apart, since no test set can tell it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.retrieval.metrics import wilson_interval
from training.classification.measurement import Cell, Languages, Measured
from training.classification.tasks import ENGLISH

DRAWS = 2000
BLOCK = 200  # draws at a time


def setting_report(
    measured: Measured, against: Measured | None = None, *, seed: int = 0
) -> dict[str, Any]:
    """Report one setting.

    Args:
        measured: All cells of the setting.
        against: The same cells for other classifiers, to compare with.
        seed: Of the bootstrap.

    Returns:
        ``cells`` by languages, ``mean`` over them, ``drop`` from English with English to the mean
        of the other cells, and ``difference`` to the others, if there are any.
    """
    counts = draw_counts(measured.pairs, seed)
    report: dict[str, Any] = {
        "cells": {" ".join(names): cell_report(cell) for names, cell in measured.cells.items()},
        "mean": _summary(measured, counts, dict.fromkeys(measured.cells, 1.0)),
    }
    others = [names for names in measured.cells if names != (ENGLISH, ENGLISH)]
    if others and len(others) < len(measured.cells):
        weights = dict.fromkeys(others, -1.0)
        weights[ENGLISH, ENGLISH] = float(len(others))
        report["drop"] = _summary(measured, counts, weights, scale=len(others))
    if against is not None:
        report["difference"] = difference_report(measured, against, counts)
    return report


def cell_report(cell: Cell) -> dict[str, Any]:
    """Report the accuracy of one cell, the mean over classifiers."""
    each = cell.right.mean(axis=1)  # (classifiers,)
    n = cell.right.shape[1]
    low, high = wilson_interval(round(float(each.mean()) * n), n)
    return {
        "accuracy": float(each.mean()),
        "low": low,
        "high": high,
        "n": n,
        "by_classifier": each.tolist(),
    }


def difference_report(
    measured: Measured, against: Measured, counts: NDArray[np.int64]
) -> dict[str, Any]:
    """Report how much better than others, in the mean over cells and in each of them."""
    drawn = drawn_accuracies(measured, counts) - drawn_accuracies(against, counts)
    gains = {
        names: _accuracy(cell) - _accuracy(against.cells[names])
        for names, cell in measured.cells.items()
    }
    mean = drawn.mean(axis=1)
    return {
        "mean": {"value": float(np.mean(list(gains.values()))), **_interval(mean)},
        "cells": {
            " ".join(names): {"value": gain, **_interval(drawn[:, column])}
            for column, (names, gain) in enumerate(gains.items())
        },
    }


def draw_counts(pairs: int, seed: int) -> NDArray[np.int64]:
    """Draw how often each pair counts, shape (draws, pairs)."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(pairs, np.full(pairs, 1 / pairs), size=DRAWS)


def drawn_accuracies(measured: Measured, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Compute each cell's accuracy under each draw, shape (draws, cells)."""
    shape = (len(measured.cells), measured.pairs)
    right, there = np.zeros(shape), np.zeros(shape)  # (cells, pairs)
    for row, cell in enumerate(measured.cells.values()):
        right[row, cell.rows] = cell.right.mean(axis=0)
        there[row, cell.rows] = 1.0
    parts = []
    for start in range(0, len(counts), BLOCK):
        part = counts[start : start + BLOCK].astype(np.float64)  # (block, pairs)
        parts.append((part @ right.T) / np.maximum(part @ there.T, 1.0))
    return np.concatenate(parts)


def _summary(
    measured: Measured,
    counts: NDArray[np.int64],
    weights: Mapping[Languages, float],
    *,
    scale: int = 0,
) -> dict[str, Any]:
    """Combine cells linearly; ``scale``: what is divided by, the number of cells by default."""
    factors = np.array([weights.get(names, 0.0) for names in measured.cells])
    factors /= scale or len(weights)
    each = np.stack([cell.right.mean(axis=1) for cell in measured.cells.values()])
    found = factors @ each  # (classifiers,)
    drawn = drawn_accuracies(measured, counts) @ factors  # (draws,)
    spread = float(found.std(ddof=1)) if len(found) > 1 else None
    return {
        "value": float(found.mean()),
        **_interval(drawn),
        "cells": len(weights),
        "by_classifier": found.tolist(),
        "spread": spread,
    }


def _accuracy(cell: Cell) -> float:
    return float(cell.right.mean())


def _interval(drawn: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {"low": float(low), "high": float(high)}


def format_report(report: Mapping[str, Any]) -> str:
    """Write a report as tables for people, in percent."""
    lines = [
        f"{report['task']}, {report['split']} set, {len(report['checkpoints'])} classifiers "
        f"(seeds {', '.join(map(str, report['seeds']))})"
    ]
    for name in ("standard", "generalized"):
        if name not in report:
            continue
        setting = report[name]
        cells = len(setting["cells"])
        lines += ["", f"{name}, mean of {cells}: {_percent(setting['mean'])}"]
        if "drop" in setting:
            lines.append(f"drop from English to the rest: {_percent(setting['drop'])}")
        if "difference" in setting:
            lines.append(
                f"gain over the runs compared with: {_percent(setting['difference']['mean'])}"
            )
        lines += _table(setting["cells"]) if name == "generalized" else _rows(setting["cells"])
    return "\n".join(lines)


def _percent(value: Mapping[str, Any]) -> str:
    shown = value["value"] if "value" in value else value["accuracy"]
    spread = value.get("spread")
    text = f"{100 * shown:.2f} [{100 * value['low']:.2f}, {100 * value['high']:.2f}]"
    return text + (f", {100 * spread:.2f} between seeds" if spread is not None else "")


def _rows(cells: Mapping[str, Any]) -> list[str]:
    return [f"  {name.split()[0]}  {_percent(cell)}  n {cell['n']}" for name, cell in cells.items()]


def _table(cells: Mapping[str, Any]) -> list[str]:
    """Lay cells out, a row for each language of the first sentence."""
    langs: Sequence[str] = list(dict.fromkeys(name.split()[0] for name in cells))
    head = "  first \\ second " + " ".join(f"{lang:>8}" for lang in langs)
    body = [
        f"  {first:<15}"
        + " ".join(f"{100 * cells[f'{first} {second}']['accuracy']:8.2f}" for second in langs)
        for first in langs
    ]
    return [head, *body]
