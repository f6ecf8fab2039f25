"""Filters on the embedded engine: their conditions, and what they cost."""

from collections.abc import Collection, Sequence

from app.errors import InvalidInputError
from app.retrieval.conditions import Condition, fields_of, to_condition
from app.retrieval.edge.held import Held
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.shard import Shard
from app.retrieval.filters import All, Filter
from app.retrieval.payload import parts_of, passage_ids, point_ids

READ_LIMIT = 200_000
"""Passages whose payload a filter on a field that is not declared may read, at 4 us each."""
_CHUNK = 1_000


def condition_of(shard: Shard, where: Filter) -> Condition:
    """Translate a filter."""
    return to_condition(where, lambda doc_ids: ids_of(shard, doc_ids))


def ids_of(shard: Shard, doc_ids: Sequence[str]) -> Collection[str]:
    """Return the ids of all points of those documents that exist."""
    names = [point_ids(doc_id)[0] for doc_id in dict.fromkeys(doc_ids)]
    return [
        point_id
        for chunk in chunks(names)
        for row in shard.rows(chunk, fields=("parts",))
        for point_id in passage_ids(row.point_id, parts_of(row.payload))
    ]


def is_indexed(where: Filter, meta: CollectionMeta) -> bool:
    """Tell whether all fields that a filter asks for have an index."""
    return fields_of(where) <= set(meta.options.get("fields", {}))


def quick_parts(held: Held, where: Filter) -> list[Filter]:
    """Return the parts of a filter, all of which must hold, that have an index."""
    if is_indexed(where, held.meta):
        return [where]
    parts = where.parts if isinstance(where, All) else ()
    return [part for part in parts if is_indexed(part, held.meta)]


def payloads_read(held: Held, shard: Shard, where: Filter) -> int:
    """Count the passages whose payload the engine would read for a filter, if they are too many.

    It holds Python's global lock meanwhile, so all else would wait.

    Returns:
        How many; 0 if they are few.
    """
    passages = held.books.account.passages
    if passages <= READ_LIMIT or is_indexed(where, held.meta):
        return 0
    if quick := quick_parts(held, where):
        passages = shard.count([condition_of(shard, part) for part in quick])
    return passages if passages > READ_LIMIT else 0


def require_quick(held: Held, shard: Shard, where: Filter) -> None:
    """Refuse a filter that the engine would have to read too many payloads for.

    Raises:
        InvalidInputError: If so.
    """
    if passages := payloads_read(held, shard, where):
        raise InvalidInputError(
            f"The filter has a metadata field that {held.meta.name} does not declare, so the "
            f"metadata of {passages} passages would be read for it while all else waits; at most "
            f"{READ_LIMIT} are. Declare the field (reindex can), or add a condition on language, "
            "script or a declared field that leaves fewer."
        )


def chunks(names: Sequence[str]) -> list[Sequence[str]]:
    """Cut a list in parts for one call of the engine each."""
    return [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
