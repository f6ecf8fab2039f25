"""Entries of ``cells`` in a result, for cells under attack."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from training.xtyntegra.measure import Measured
from training.xtyntegra.outcomes import Outcome, metrics_under
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import POOLED, Cell
from training.xtyntegra.tracks import track_of

_PIVOT = "eng_Latn"


def entry_of(
    cell: Cell,
    condition: str,
    outcome: Outcome,
    draws: Sequence[Measured],
    attack: Mapping[str, Any],
    drawing: Drawing,
) -> dict[str, Any]:
    """Write what a cell came to under one attack.

    Args:
        cell: The cell with the queries that were attacked.
        condition: Of the attack, its draw left out.
        outcome: The queries before and after.
        draws: What each draw came to.
        attack: What stands under ``attack``.
        drawing: Of intervals.
    """
    return {
        "cell": cell.key,
        "task": cell.task,
        "setting": cell.setting,
        "query_lang": cell.query_lang,
        "document_lang": cell.document_lang,
        "track": track_of(low_resource_side(cell)),
        "condition": condition,
        "queries": len(cell.queries),
        "documents": len(cell.pool),
        "metrics": metrics_under(outcome, drawing),
        "extras": _mean_extras(draws),
        "attack": dict(attack),
    }


def low_resource_side(cell: Cell) -> str:
    """The language of a cell that its track is of: not English where one side is."""
    english = cell.query_lang == _PIVOT and cell.document_lang != POOLED
    return cell.document_lang if english else cell.query_lang


def _mean_extras(draws: Sequence[Measured]) -> dict[str, float]:
    names = [name for name in draws[0].extras if all(name in one.extras for one in draws)]
    return {name: float(np.mean([one.extras[name] for one in draws])) for name in names}
