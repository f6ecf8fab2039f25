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
OWN = frozenset({HAD, TOKENS})
"""What the payload has on the server alone."""
_BATCH_POINTS = 1000
_BATCH_BYTES = 8 << 20
_ORDERING = models.WriteOrdering.MEDIUM
"""Writes of one point take effect in one order on all replicas."""


def upsert(nodes: Nodes, target: Target, entries: Sequence[Entry]) -> None:
    """Write documents; durable, and found by the next search, on return."""
    for batch in _batched(map(to_rows, entries)):
        left = _left(nodes, target, [rows[0].payload["doc_id"] for rows in batch])
        written: dict[str | None, list[models.PointStruct]] = {}
        gone: dict[str | None, list[str]] = {}
        for rows in batch:
            doc_id = rows[0].payload["doc_id"]
            shard = shard_of(target, doc_id)
            most = max(left.get(doc_id, 0), len(rows))
            points = [_point(row) for row in rows]
            if most > len(rows):
                points[0].payload = {**(points[0].payload or {}), HAD: most}
                gone.setdefault(shard, []).extend(point_ids(doc_id, most)[len(rows) :])
            written.setdefault(shard, []).extend(points)
        _change(nodes, target, "writing to", _insertions(written) + _deletions(gone))


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
    selector = models.FilterSelector(
        filter=models.Filter.model_validate({"must": [condition]}),
        shard_key=list(target.shards) or None,  # One that is not named is none of them
    )
    _change(nodes, target, "deleting from", [models.DeleteOperation(delete=selector)])


def put(nodes: Nodes, target: Target, documents: Iterable[Sequence[PointRow]]) -> int:
    """Write points as they are, document by document, to a collection nobody reads yet.

    Returns:
        The number of documents.
    """
    count = 0
    for batch in _batched(documents):
        count += len(batch)
        written: dict[str | None, list[models.PointStruct]] = {}
        for rows in batch:
            shard = shard_of(target, rows[0].payload["doc_id"])
            written.setdefault(shard, []).extend(map(_point, rows))
        _change(nodes, target, "filling", _insertions(written))
    return count


def shard_of(target: Target, doc_id: str) -> str | None:
    """Name the shard of a document; None: the server has one only."""
    if not target.shards:
        return None
    return target.shards[int(point_ids(doc_id)[0][:8], 16) % len(target.shards)]


def _batched(documents: Iterable[Sequence[PointRow]]) -> Iterator[list[Sequence[PointRow]]]:
    """Put together what may go into one message."""
    batch: list[Sequence[PointRow]] = []
    points = size = 0
    for rows in documents:
        # A number of a vector takes about 12 characters of JSON, one of a text up to 6.
        takes = sum(12 * row.vector.size + 24 * len(row.words.indices) for row in rows)
        takes += 6 * len(rows[0].payload["text"])
        if batch and (points + len(rows) > _BATCH_POINTS or size + takes > _BATCH_BYTES):
            yield batch
            batch, points, size = [], 0, 0
        batch.append(rows)
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
            target.physical,
            list(heads),
            with_payload=["parts", HAD],
            with_vectors=False,
            consistency=nodes.consistency,
        ),
    )
    return {heads[str(record.id)]: longest(record.payload or {}) for record in found}


def longest(payload: dict[str, Any]) -> int:
    """Tell how many points a document may have, from its first point's payload."""
    return max(parts_of(payload), payload.get(HAD, 0))


def _insertions(
    written: dict[str | None, list[models.PointStruct]],
) -> list[models.UpdateOperation]:
    return [
        models.UpsertOperation(upsert=models.PointsList(points=points, shard_key=shard))
        for shard, points in written.items()
    ]


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
