"""A result out of a run's parts, and the descriptions that tell one run from another."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from training.xtyntegra.archive import Archive, sha256_of, to_json
from training.xtyntegra.identity import task_hash
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.result import VERSION, QueryFigures, check_result
from training.xtyntegra.sums import Source, summarize
from training.xtyntegra.task import Cell

RECORDS = ("cells", "certified", "not_measured")
"""What parts hold, as lists that are joined."""


def compose(
    queries: Path,
    head: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    drawing: Drawing,
) -> dict[str, Any]:
    """Join what the parts of a run came to.

    Args:
        queries: The run's archive of queries, written before.
        head: Encoder, environment, protocol and what no cell has.
        records: Of each part: ``RECORDS`` and the ``seconds`` that it took.
        drawing: Of the intervals of the sums.

    Returns:
        The result, in JSON's own types.

    Raises:
        BenchmarkError: If the archive lacks what the records speak of.
    """
    joined = {name: [one for part in records for one in part[name]] for name in RECORDS}
    with Archive(queries) as archive:
        summary = summarize(joined["cells"], Source(QueryFigures(archive)), drawing)
    seconds = round(sum(part["seconds"] for part in records), 1)
    result = {
        "benchmark": "xtyntegra",
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **head,
        "environment": {**head["environment"], "seconds": seconds},
        "queries": {"file": queries.name, "sha256": sha256_of(queries)},
        "cells": joined["cells"],
        "summary": summary,
        "certified": joined["certified"],
        "not_measured": [*head["not_measured"], *joined["not_measured"]],
    }
    return check_result(plain(result), "the result that was just made")


def describe_tasks(cells: Iterable[Cell], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Write what each task is made of."""
    return {
        task: {
            "sha256": task_hash(hashes[cell.key] for cell in group),
            "cells": len(group),
            "queries": queries_of(group),
        }
        for task, group in grouped(cells, lambda cell: cell.task).items()
    }


def grouped(cells: Iterable[Cell], key: Callable[[Cell], str]) -> dict[str, list[Cell]]:
    """Sort cells in groups, in the order in which these come first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(key(cell), []).append(cell)
    return groups


def queries_of(cells: Sequence[Cell]) -> int:
    """Count the queries of cells."""
    return sum(len(cell.queries) for cell in cells)


def fingerprint(value: Any) -> str:
    """Hash a description, in JSON's own types."""
    return hashlib.sha256(to_json(value)).hexdigest()


def plain(value: Any) -> Any:
    """Make JSON's types of numpy's numbers and of tuples."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value.item() if isinstance(value, np.generic) else value
