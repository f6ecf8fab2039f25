"""One Qdrant Edge shard: with ``native_filter.py`` the only modules that import the engine.

The engine is young and its interface drifts, so every call to it is here. Two of its habits shape
the modules above: each call holds Python's global lock until it returns, and all its failures are
bare ``Exception`` or a panic that is not even that; both become ``StoreError``.
"""

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from app.retrieval.conditions import Condition
from app.retrieval.edge.native_filter import to_filter
from app.retrieval.edge.rows import NO_WORDS, Nearest, Row, engine_errors
from app.retrieval.lexical import Sparse
from app.retrieval.payload import WORDS, PointRow, index_paths

EXACT_LIMIT = 20_000
HNSW_M = 16
HNSW_EF_CONSTRUCT = 128
HNSW_EF = 256
_SCAN_PAGE = 1_000


class Shard:
    """An open shard in a directory. Not to be closed while another thread uses it."""

    def __init__(self, path: Path, opened: engine.EdgeShard) -> None:
        self.path = path
        self._engine = opened

    @classmethod
    def create(cls, path: Path, dim: int, fields: Sequence[str] = ()) -> "Shard":
        """Create an empty shard for vectors of ``dim`` in a directory that does not exist yet.

        Args:
            path: The directory.
            dim: Length of the vectors.
            fields: Metadata keys to index.
        """
        exact_kib = max(1, EXACT_LIMIT * dim * 4 // 1024)
        config = engine.EdgeConfig(
            vectors=engine.EdgeVectorParams(size=dim, distance=engine.Distance.Dot),
            sparse_vectors={WORDS: engine.EdgeSparseVectorParams()},
            hnsw_config=engine.HnswIndexConfig(
                m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=exact_kib
            ),
            optimizers=engine.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=exact_kib
            ),
        )
        with engine_errors(f"creating {path.name}"):
            path.mkdir()
            shard = cls(path, engine.EdgeShard.create(str(path), config))
            for field, kind in index_paths(fields).items():
                shard._engine.update(
                    engine.UpdateOperation.create_field_index(field, _index_params(field, kind))
                )
        return shard

    @classmethod
    def load(cls, path: Path) -> "Shard":
        """Open an existing shard; replays its log if it was not flushed."""
        with engine_errors(f"opening {path.name}"):
            return cls(path, engine.EdgeShard.load(str(path)))

    def upsert(self, rows: Sequence[PointRow]) -> None:
        """Write points as one record of the log: all or none."""
        with engine_errors(f"writing {len(rows)} passages"):
            points = [
                engine.Point(
                    row.point_id,
                    {
                        "": row.vector.tolist(),
                        WORDS: engine.SparseVector(row.words.indices, row.words.values),
                    },
                    row.payload,
                )
                for row in rows
            ]
            self._engine.update(engine.UpdateOperation.upsert_points(points))

    def delete(self, point_ids: Sequence[str]) -> None:
        """Delete points as one record of the log."""
        with engine_errors(f"deleting {len(point_ids)} passages"):
            self._engine.update(engine.UpdateOperation.delete_points(list(point_ids)))

    def rows(
        self,
        point_ids: Sequence[str],
        *,
        fields: Sequence[str] | None = None,
        vectors: Sequence[str] = (),
    ) -> list[Row]:
        """Return those of the points that are stored, in any order.

        Args:
            point_ids: Ids of points.
            fields: Payload to read; None: all of it.
            vectors: Names of vectors to read.
        """
        with engine_errors(f"reading {len(point_ids)} passages"):
            found = self._engine.retrieve(
                list(point_ids), _selector(fields), list(vectors) if vectors else False
            )
            return [_row(record) for record in found]

    def nearest(self, asked: Sequence[Nearest]) -> list[list[Row]]:
        """Return for each query the rows with the highest dot products, best first, without ids."""
        with engine_errors("searching"):
            if len(asked) == 1:
                found = [self._engine.query(_request(asked[0]))]
            else:
                requests = [_request(one) for one in asked]
                found = self._engine.query_batch(engine.QueryBatchRequest(requests))
            return [_scored(one, points) for one, points in zip(asked, found, strict=True)]

    def page(
        self,
        start: str | None,
        limit: int,
        *,
        conditions: Sequence[Condition] = (),
        without: Sequence[Condition] = (),
        fields: Sequence[str] | None = None,
        vectors: Sequence[str] = (),
    ) -> tuple[list[Row], str | None]:
        """Return rows by rising id, from ``start`` on, and the id of the next page's first."""
        with engine_errors("scanning"):
            request = engine.ScrollRequest(
                limit=limit,
                offset=start,
                filter=to_filter(conditions, without) if conditions or without else None,
                with_payload=_selector(fields),
                with_vector=list(vectors) if vectors else False,
            )
            records, following = self._engine.scroll(request)
            return [_row(r) for r in records], None if following is None else str(following)

    def scan(
        self, *, fields: Sequence[str] | None = None, vectors: Sequence[str] = ("", WORDS)
    ) -> Iterator[Row]:
        """Yield every row by rising id."""
        start: str | None = None
        while True:
            rows, start = self.page(start, _SCAN_PAGE, fields=fields, vectors=vectors)
            yield from rows
            if start is None:
                return

    def numbered(self, fields: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the id, as a number, and some payload of every point by rising id."""
        start: Any = None
        while True:
            with engine_errors("scanning"):
                request = engine.ScrollRequest(
                    limit=_SCAN_PAGE, offset=start, with_payload=_selector(fields)
                )
                records, start = self._engine.scroll(request)
                page = [(_number(record.id), record.payload or {}) for record in records]
            yield from page
            if start is None:
                return

    def products(self, vector: NDArray[np.float32]) -> dict[int, float]:
        """Multiply every vector with one; returns the dot products by the ids as numbers."""
        with engine_errors("multiplying all vectors"):
            request = engine.QueryRequest(
                limit=max(1, self.count()),
                query=engine.Query.Nearest(vector.tolist()),
                params=engine.SearchParams(exact=True),
                with_payload=False,
            )
            return {_number(point.id): point.score for point in self._engine.query(request)}

    def count(self, conditions: Sequence[Condition] = (), without: Sequence[Condition] = ()) -> int:
        """Count the points for which all of ``conditions`` and none of ``without`` hold."""
        chosen = to_filter(conditions, without) if conditions or without else None
        with engine_errors("counting"):
            return self._engine.count(engine.CountRequest(exact=True, filter=chosen))

    def frequencies(
        self, field: str, limit: int, without: Sequence[Condition]
    ) -> Mapping[str, int]:
        """Count the points by the values of an indexed field."""
        with engine_errors("counting"):
            request = engine.FacetRequest(
                field, limit=limit, exact=True, filter=to_filter((), without) if without else None
            )
            return {str(hit.value): hit.count for hit in self._engine.facet(request).hits}

    def optimize(self) -> None:
        """Build graphs and merge segments; holds the global lock, so only in its own process."""
        with engine_errors("building the index"):
            self._engine.optimize()

    def flush(self) -> None:
        """Write all to disk, so that opening replays nothing."""
        with engine_errors("flushing"):
            self._engine.flush()

    def close(self) -> None:
        """Flush and let go of the files."""
        with engine_errors("closing"):
            self._engine.close()


def _request(asked: Nearest) -> engine.QueryRequest:
    if isinstance(asked.query, Sparse):
        words = engine.SparseVector(asked.query.indices, asked.query.values)
        query = engine.Query.Nearest(words, using=WORDS)
    else:
        query = engine.Query.Nearest(asked.query.tolist())
    return engine.QueryRequest(
        limit=asked.limit,
        query=query,
        filter=to_filter(asked.conditions) if asked.conditions else None,
        params=engine.SearchParams(exact=asked.exact, hnsw_ef=max(HNSW_EF, asked.limit)),
        with_payload=_selector(asked.fields),
    )


def _scored(asked: Nearest, points: Sequence[engine.ScoredPoint]) -> list[Row]:
    low, high = (-math.inf, math.inf) if isinstance(asked.query, Sparse) else (-1.0, 1.0)
    return [
        Row("", point.payload or {}, score=min(high, max(low, point.score))) for point in points
    ]


def _selector(fields: Sequence[str] | None) -> Any:
    if fields is None:
        return True
    return engine.PayloadSelector.Include(list(fields)) if fields else False


def _index_params(field: str, kind: str) -> Any:
    if kind == "keyword":
        return engine.PayloadSchemaType.Keyword
    # Whole numbers are compared by ranges alone; the graph needs links along the first part only
    return engine.IntegerIndexParams(lookup=False, range=True, enable_hnsw=field.startswith("h."))


def _number(point_id: Any) -> int:
    return point_id.int if isinstance(point_id, UUID) else UUID(str(point_id)).int


def _row(record: engine.Record) -> Row:
    vector: Any = record.vector
    named = vector if isinstance(vector, dict) else {"": vector}
    dense, words = named.get(""), named.get(WORDS)
    return Row(
        str(record.id),
        record.payload or {},
        array("f", dense).tobytes() if dense is not None else b"",
        Sparse(words.indices, words.values) if words is not None else NO_WORDS,
    )
