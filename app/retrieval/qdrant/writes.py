"""Writing documents to a collection on the server: each as a whole, found by the next search.

The points of a document go to one shard in one message, which the shard's log holds or does not
hold; then those points of the old version go that the new one does not replace. Until they are
gone readers know them by their check sum, which is not that of the document (``reads.py``).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from qdrant_client import models

from app.retrieval.checks import Entry
from app.retrieval.conditions import Condition
from app.retrieval.payload import WORDS, PointRow, parts_of, point_ids, to_rows
from app.retrieval.qdrant.names import TOKENS, Target
from app.retrieval.qdrant.nodes import Nodes

HAD = "had"
"""The payload's count of points that older, longer versions of a document may have left."""
_BATCH_POINTS = 1000
_BATCH_BYTES = 8 << 20
_ORDERING = models.WriteOrdering.MEDIUM
"""Writes of one point take effect in one order on all replicas."""


def upsert(nodes: Nodes, target: Target, entries: Sequence[Entry]) -> None:
    """Write documents; durable, and found by the next search, on return."""
    for batch in _batches(entries):
        left = _left(nodes, target, [entry.document.doc_id for entry, _ in batch])
        written: dict[str | None, list[models.PointStruct]] = {}
        gone: dict[str | None, list[str]] = {}
        for entry, rows in batch:
            doc_id = entry.document.doc_id
            shard = shard_of(target, doc_id)
            longest = max(left.get(doc_id, 0), len(rows))
            points = [_point(row) for row in rows]
            if longest > len(rows):
                points[0].payload |= {HAD: longest}  # pyright: ignore[reportOperatorIssue]
                gone.setdefault(shard, []).extend(point_ids(doc_id, longest)[len(rows) :])
            written.setdefault(shard, []).extend(points)
        changes: list[models.UpdateOperation] = [
            models.UpsertOperation(upsert=models.PointsList(points=points, shard_key=shard))
            for shard, points in written.items()
        ]
        _change(nodes, target, "writing to", changes + _deletions(gone))


def delete(nodes: Nodes, target: Target, doc_ids: Iterable[str]) -> int:
    """Delete documents; returns how many were there."""
    names = list(dict.fromkeys(doc_ids))
    deleted = 0
    for first in range(0, len(names), _BATCH_POINTS):
        left = _left(nodes, target, names[first : first + _BATCH_POINTS])
        gone: dict[str | None, list[str]] = {}
        for doc_id, longest in left.items():
            gone.setdefault(shard_of(target, doc_id), []).extend(point_ids(doc_id, longest))
        _change(nodes, target, "deleting from", _deletions(gone))
        deleted += len(left)
    return deleted


def delete_where(nodes: Nodes, target: Target, condition: Condition) -> None:
    """Delete all points that satisfy a filter, which is that of whole documents."""
    selector = models.FilterSelector(filter=models.Filter.model_validate({"must": [condition]}))
    _change(nodes, target, "deleting from", [models.DeleteOperation(delete=selector)])


def put(nodes: Nodes, target: Target, rows: Iterable[tuple[str, PointRow]]) -> None:
    """Write points as they come, each with its ``doc_id``, to a collection nobody reads yet."""
    batch: dict[str | None, list[models.PointStruct]] = {}
    held = 0
    for doc_id, row in rows:
        batch.setdefault(shard_of(target, doc_id), []).append(_point(row))
        held += 1
        if held == _BATCH_POINTS:
            _put(nodes, target, batch)
            batch, held = {}, 0
    _put(nodes, target, batch)


def shard_of(target: Target, doc_id: str) -> str | None:
    """Name the shard of a document; None: the server has one only."""
    if not target.shards:
        return None
    return target.shards[int(point_ids(doc_id)[0][:8], 16) % len(target.shards)]


def _put(nodes: Nodes, target: Target, batch: dict[str | None, list[models.PointStruct]]) -> None:
    changes: list[models.UpdateOperation] = [
        models.UpsertOperation(upsert=models.PointsList(points=points, shard_key=shard))
        for shard, points in batch.items()
    ]
    _change(nodes, target, "filling", changes)


def _batches(entries: Sequence[Entry]) -> Iterator[list[tuple[Entry, list[PointRow]]]]:
    batch: list[tuple[Entry, list[PointRow]]] = []
    points = size = 0
    for entry in entries:
        rows = to_rows(entry)
        # A number of a vector takes about 12 characters of JSON, one of a text up to 6.
        takes = 12 * entry.vectors.size + 6 * len(entry.document.text)
        takes += sum(24 * len(row.words.indices) for row in rows)
        if batch and (points + len(rows) > _BATCH_POINTS or size + takes > _BATCH_BYTES):
            yield batch
            batch, points, size = [], 0, 0
        batch.append((entry, rows))
        points += len(rows)
        size += takes
    if batch:
        yield batch


def _point(row: PointRow) -> models.PointStruct:
    words = models.SparseVector(indices=row.words.indices, values=row.words.values)
    return models.PointStruct(
        id=row.point_id,
        vector={"": row.vector.tolist(), WORDS: words},
        payload=row.payload | {TOKENS: row.words.indices},
    )


def _left(nodes: Nodes, target: Target, doc_ids: Sequence[str]) -> dict[str, int]:
    """Tell of the documents that are there how many points each may have."""
    heads = {point_ids(doc_id)[0]: doc_id for doc_id in doc_ids}
    found = nodes.call(
        f"looking up documents of {target.name}",
        lambda client: client.retrieve(
            target.physical, list(heads), with_payload=["parts", HAD], with_vectors=False
        ),
    )
    return {heads[str(record.id)]: longest(record.payload or {}) for record in found}


def longest(payload: dict[str, Any]) -> int:
    """Tell how many points a document may have, from its first point's payload."""
    return max(parts_of(payload), payload.get(HAD, 0))


def _deletions(gone: dict[str | None, list[str]]) -> list[models.UpdateOperation]:
    return [
        models.DeleteOperation(delete=models.PointIdsList(points=list(ids), shard_key=shard))
        for shard, ids in gone.items()
        if ids
    ]


def _change(
    nodes: Nodes, target: Target, action: str, changes: Sequence[models.UpdateOperation]
) -> None:
    if changes:
        nodes.call(
            f"{action} {target.name}",
            lambda client: client.batch_update_points(
                target.physical, changes, wait=True, ordering=_ORDERING
            ),
        )
