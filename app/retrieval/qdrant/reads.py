"""Reading from a collection on the server: documents by name, in pages, and by count.

What a reader meets of a document may be of two versions while it is being replaced, or after a
crash in the middle: points count only if their check sum is that of the document's first point.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from app.errors import InvalidInputError
from app.retrieval.conditions import FURTHER_PASSAGE, Condition, to_condition
from app.retrieval.documents import Document, Span
from app.retrieval.filters import Filter
from app.retrieval.lexical import Sparse
from app.retrieval.payload import (
    HEAD_FIELDS,
    WORDS,
    PointRow,
    parts_of,
    passage_ids,
    point_ids,
    span_of,
    to_document,
)
from app.retrieval.qdrant.names import Target
from app.retrieval.qdrant.nodes import Nodes
from app.retrieval.qdrant.writes import HAD, OWN, longest
from app.retrieval.store import Page

Fields = list[str] | bool
HEAD = [*HEAD_FIELDS, "check", "parts", "span"]
"""What is read of a document's first point."""
_READ_POINTS = 1000
_AGAIN = 5
_MAX_LANGUAGES = 1_000_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads from one collection.

    Attributes:
        nodes: The cluster.
        target: The collection.
    """

    nodes: Nodes
    target: Target

    def heads(self, doc_ids: Iterable[str], fields: list[str] = HEAD) -> dict[str, Any]:
        """Read the first points' payloads of those documents that exist, by ``doc_id``."""
        first = {point_ids(doc_id)[0]: doc_id for doc_id in doc_ids}
        records = self.points(list(first), fields)
        return {first[point]: record.payload or {} for point, record in records.items()}

    def points(
        self, ids: Sequence[str], fields: Fields, *, vectors: Sequence[str] = ()
    ) -> dict[str, models.Record]:
        """Read those of the points that exist, by id."""
        found: dict[str, models.Record] = {}
        for first in range(0, len(ids), _READ_POINTS):
            some = ids[first : first + _READ_POINTS]
            records = self.nodes.call(
                f"reading {self.target.name}",
                lambda client, some=some: client.retrieve(
                    self.target.physical,
                    some,
                    with_payload=fields,
                    with_vectors=list(vectors) or False,
                    consistency=self.nodes.consistency,
                ),
            )
            found |= {str(record.id): record for record in records}
        return found

    def get(self, doc_ids: Sequence[str]) -> list[Document]:
        """Return those of the documents that exist, in the order asked for."""
        heads = self.heads(doc_ids, list(HEAD_FIELDS))
        return [to_document(heads[doc_id]) for doc_id in doc_ids if doc_id in heads]

    def condition(self, where: Filter) -> Condition:
        """Translate a filter; asks the server which points belong to documents it names."""
        return to_condition(where, self._ids_of)

    def count(self, conditions: Sequence[Condition]) -> int:
        """Count documents that satisfy all conditions."""
        if not conditions:  # What has an index is counted by it
            return self.count_passages([]) - self.count_passages([FURTHER_PASSAGE])
        return self.count_passages(conditions, [FURTHER_PASSAGE])

    def count_passages(
        self, conditions: Sequence[Condition], without: Sequence[Condition] = ()
    ) -> int:
        """Count passages that satisfy all of some conditions and none of others."""
        where = {"must": list(conditions), "must_not": list(without)}
        chosen = models.Filter.model_validate(where) if conditions or without else None
        found = self.nodes.call(
            f"counting {self.target.name}",
            lambda client: client.count(self.target.physical, chosen, exact=True),
        )
        return found.count

    def count_each(self, conditions: Sequence[Condition]) -> list[int]:
        """Count the passages that satisfy each condition."""
        return self.nodes.each(lambda one: self.count_passages([one]), conditions)

    def languages(self) -> dict[str, int]:
        """Count the documents of each language, the most frequent first."""
        where = models.Filter.model_validate({"must_not": [FURTHER_PASSAGE]})
        found = self.nodes.call(
            f"counting languages of {self.target.name}",
            lambda client: client.facet(
                self.target.physical, "lang", where, limit=_MAX_LANGUAGES, exact=True
            ),
        )
        counts = {str(hit.value): hit.count for hit in found.hits}
        unknown = self.count([{"is_empty": {"key": "lang"}}])
        counts |= {"": unknown} if unknown else {}
        return dict(sorted(counts.items(), key=lambda one: -one[1]))

    def scan(self, after: str | None, limit: int, *, vectors: bool) -> Page:
        """Read a page of documents, in the order of their points' ids."""
        names = [""] if vectors else []
        found, following = self._page(after, limit, HEAD, names)
        documents, spans = [], []
        rows: list[NDArray[np.float32]] = []
        for some in found:
            documents.append(to_document(some[0].payload or {}))
            spans.append([span_of(one.payload or {}) for one in some])
            rows += [_named(one)[0] for one in some] if vectors else []
        stacked = np.stack(rows) if rows else np.empty((0, self.target.dim), np.float32)
        return Page(documents, spans, stacked if vectors else None, following)

    def whole_points(self, limit: int) -> Iterator[list[PointRow]]:
        """Read all points, those of some documents at a time, as they were written."""
        after = None
        while True:
            found, after = self._page(after, limit, True, ["", WORDS])
            yield [_to_row(one) for some in found for one in some]
            if after is None:
                return

    def _page(
        self, after: str | None, limit: int, fields: Fields, vectors: list[str]
    ) -> tuple[list[list[models.Record]], str | None]:
        """Read the points of some documents, and where the next page begins."""
        where = models.Filter.model_validate({"must_not": [FURTHER_PASSAGE]})
        heads, following = self.nodes.call(
            f"reading {self.target.name}",
            lambda client: client.scroll(
                self.target.physical,
                scroll_filter=where,
                limit=limit,
                offset=after,
                with_payload=fields,
                with_vectors=vectors or False,
                consistency=self.nodes.consistency,
            ),
        )
        others = self._further(heads, fields, vectors)
        whole = (_together(head, others) or self._again(head, fields, vectors) for head in heads)
        return [one for one in whole if one is not None], str(following) if following else None

    def _again(
        self, head: models.Record, fields: Fields, vectors: list[str]
    ) -> list[models.Record] | None:
        """Read a document anew, since it changed while it was read."""
        for _ in range(_AGAIN):
            fresh = self.points([str(head.id)], fields, vectors=vectors).get(str(head.id))
            if fresh is None:  # Deleted meanwhile
                return None
            whole = _together(fresh, self._further([fresh], fields, vectors))
            if whole is not None:
                return whole
        _log.warning("a document of %s lacks passages; it is left out", self.target.name)
        return None

    def _further(
        self, heads: Sequence[models.Record], fields: Fields, vectors: list[str]
    ) -> dict[str, models.Record]:
        ids = [one for head in heads for one in _further_ids(head)]
        return self.points(ids, fields if fields is True else ["check", "span"], vectors=vectors)

    def _ids_of(self, doc_ids: Sequence[str]) -> list[str]:
        heads = self.heads(doc_ids, ["parts", HAD])
        return [one for name, head in heads.items() for one in point_ids(name, longest(head))]


def require_cursor(after: str) -> str:
    """Return the id of the point that a page begins at.

    Raises:
        InvalidInputError: If it is none.
    """
    try:
        return str(UUID(after))
    except ValueError:
        raise InvalidInputError(
            f"{after!r:.50} is not where a page begins; give what the page before gave."
        ) from None


def span_or_none(payload: Mapping[str, Any], head: Mapping[str, Any]) -> Span | None:
    """Tell where a passage is; None if it is its document's only one."""
    return span_of(payload if payload.get("part") else head) if parts_of(head) > 1 else None


def _further_ids(head: models.Record) -> list[str]:
    return passage_ids(str(head.id), parts_of(head.payload or {}))[1:]


def _together(
    head: models.Record, others: Mapping[str, models.Record]
) -> list[models.Record] | None:
    check, ids = (head.payload or {})["check"], _further_ids(head)
    found = [others[one] for one in ids if one in others]
    if len(found) != len(ids) or any((one.payload or {}).get("check") != check for one in found):
        return None
    return [head, *found]


def _named(record: models.Record) -> tuple[NDArray[np.float32], Any]:
    """The dense vector of a point and, if it was read, the sparse one."""
    vector: Any = record.vector
    named = vector if isinstance(vector, dict) else {"": vector}
    return np.asarray(named[""], np.float32), named.get(WORDS)


def _to_row(record: models.Record) -> PointRow:
    dense, words = _named(record)
    payload = {key: value for key, value in (record.payload or {}).items() if key not in OWN}
    sparse = Sparse(list(words.indices), list(words.values))
    return PointRow(str(record.id), dense, sparse, payload)
