"""Cells without attack: vectors in, entries of a result out."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from app.robustness.binomial import share_interval
from training.xtyntegra.entries import low_resource_side
from training.xtyntegra.measure import METRICS, Measured, rank_cell
from training.xtyntegra.outcomes import Figure, figure
from training.xtyntegra.resampling import Clusters, Drawing
from training.xtyntegra.result import CLEAN
from training.xtyntegra.task import Cell
from training.xtyntegra.tracks import track_of
from training.xtyntegra.vectors import Vectors

_TOGETHER = 64
"""Cells whose intervals are drawn in one product, where they share their query ids."""


def measure_clean(
    cells: Sequence[Cell], vectors: Vectors, progress: Callable[[Cell], None]
) -> list[Measured]:
    """Rank the pools of cells for their queries; ``progress`` is told each cell after it."""
    found: list[Measured] = []
    for cell in cells:
        found.append(rank_cell(vectors.queries(cell.queries), vectors.documents(cell.pool), cell))
        progress(cell)
    return found


def clean_entries(
    cells: Sequence[Cell],
    measured: Sequence[Measured],
    hashes: Mapping[str, str],
    drawing: Drawing,
) -> list[dict[str, Any]]:
    """Write what stands under ``cells`` in a result for cells without attack.

    Args:
        cells: The cells.
        measured: What each of them came to.
        hashes: Hash of each cell, by its key.
        drawing: Of the intervals by bootstrap.
    """
    metrics = _metrics(cells, measured, drawing)
    return [
        {
            "cell": cell.key,
            "sha256": hashes[cell.key],
            "task": cell.task,
            "setting": cell.setting,
            "query_lang": cell.query_lang,
            "document_lang": cell.document_lang,
            "track": track_of(low_resource_side(cell)),
            "condition": CLEAN,
            "queries": len(cell.queries),
            "documents": len(cell.pool),
            "metrics": metrics[cell.key],
            "extras": found.extras,
            "attack": None,
        }
        for cell, found in zip(cells, measured, strict=True)
    ]


def _metrics(
    cells: Sequence[Cell], measured: Sequence[Measured], drawing: Drawing
) -> dict[str, dict[str, Figure]]:
    """Average each metric of each cell, with its interval."""
    groups: dict[int, list[tuple[Cell, Measured]]] = {}
    for cell, found in zip(cells, measured, strict=True):
        groups.setdefault(id(cell.query_ids), []).append((cell, found))
    figures: dict[str, dict[str, Figure]] = {}
    for group in groups.values():
        clusters = Clusters([group[0][0].query_ids])
        for start in range(0, len(group), _TOGETHER):
            part = group[start : start + _TOGETHER]
            columns = [found.values[name] for _, found in part for name in METRICS]
            drawn = clusters.estimate([np.stack(columns, axis=1)], drawing)
            bounds = zip(drawn.value, drawn.low, drawn.high, strict=True)
            for cell, found in part:
                figures[cell.key] = {name: figure(*next(bounds)) for name in METRICS}
                if clusters.count == len(cell.queries):
                    figures[cell.key]["accuracy@1"] = _share(found, drawing.confidence)
    return figures


def _share(found: Measured, confidence: float) -> Figure:
    """Bound accuracy at 1 where each query is asked once: by Wilson, or exactly below 20."""
    right, n = int((found.ranks == 1).sum()), len(found.ranks)
    return figure(right / n, *share_interval(right, n, confidence))
