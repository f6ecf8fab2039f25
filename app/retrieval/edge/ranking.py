"""From the passages that the engine finds to documents in a stable order."""

from collections.abc import Sequence
from dataclasses import replace

from app.retrieval.edge.rows import Nearest, Row
from app.retrieval.edge.shard import Shard

LIGHT = ("doc_id", "part", "check")
"""Payload that ordering needs."""
_MORE = 8


def complete(shard: Shard, asked: Nearest, rows: list[Row], need: int) -> list[Row]:
    """Return each document's best passage, ``need`` of them, reading on until they are certain."""
    while True:
        best = _best_passages(rows)
        # A tie that runs past the limit: which of its members are hits depends on doc_id
        certain = len(best) >= need and rows[-1].score < best[need - 1].score
        if len(rows) < asked.limit or certain:
            return best[:need]
        asked = replace(asked, limit=asked.limit * _MORE, fields=LIGHT)
        rows = shard.nearest([asked])[0]


def _best_passages(rows: Sequence[Row]) -> list[Row]:
    best: dict[str, Row] = {}
    for row in sorted(rows, key=_place):
        best.setdefault(row.payload["doc_id"], row)
    return list(best.values())


def _place(row: Row) -> tuple[float, str, int]:
    return -row.score, row.payload["doc_id"], row.payload.get("part", 0)
