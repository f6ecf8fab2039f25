"""One Qdrant Edge shard: the only module that imports the engine.

The engine is young and its interface drifts, so every call to it is here. Two of its habits shape
the modules above: each call holds Python's global lock until it returns, and all its failures are
bare ``Exception`` or a panic that is not even that; both become ``StoreError``.
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray

from app.errors import StoreError

EXACT_LIMIT = 20_000
HNSW_M = 16
HNSW_EF_CONSTRUCT = 128
HNSW_EF = 256
_FULL_SCAN_KIB = 10_000
_SCAN_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Row:
    """What the engine keeps for one document."""

    point_id: str
    payload: dict[str, Any]
    vector: bytes = b""
    score: float = 0.0


@contextmanager
def engine_errors(action: str) -> Iterator[None]:
    """Turn the engine's failures into ``StoreError``.

    Args:
        action: What is being done, for the message: "reading 3 documents".
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit, StoreError):
        raise
    except BaseException as error:  # The engine's panics derive from BaseException alone
        raise StoreError(
            f"The vector engine failed while {action}: {type(error).__name__}: {error!s:.300}. "
            "See the log; if it recurs, restore the collection from a snapshot."
        ) from error


class Shard:
    """An open shard in a directory. Not to be closed while another thread uses it."""

    def __init__(self, path: Path, opened: engine.EdgeShard) -> None:
        self.path = path
        self._engine = opened

    @classmethod
    def create(cls, path: Path, dim: int) -> "Shard":
        """Create an empty shard for vectors of ``dim`` in a directory that does not exist yet."""
        config = engine.EdgeConfig(
            vectors=engine.EdgeVectorParams(size=dim, distance=engine.Distance.Dot),
            hnsw_config=engine.HnswIndexConfig(
                m=HNSW_M, ef_construct=HNSW_EF_CONSTRUCT, full_scan_threshold=_FULL_SCAN_KIB
            ),
            optimizers=engine.EdgeOptimizersConfig(
                default_segment_number=1, indexing_threshold=max(1, EXACT_LIMIT * dim * 4 // 1024)
            ),
        )
        with engine_errors(f"creating {path.name}"):
            path.mkdir()
            shard = cls(path, engine.EdgeShard.create(str(path), config))
            shard._engine.update(
                engine.UpdateOperation.create_field_index("lang", engine.PayloadSchemaType.Keyword)
            )
        return shard

    @classmethod
    def load(cls, path: Path) -> "Shard":
        """Open an existing shard; replays its log if it was not flushed."""
        with engine_errors(f"opening {path.name}"):
            return cls(path, engine.EdgeShard.load(str(path)))

    def upsert(self, rows: Sequence[tuple[str, NDArray[np.float32], dict[str, Any]]]) -> None:
        """Write rows of (point id, vector, payload) as one record of the log: all or none."""
        with engine_errors(f"writing {len(rows)} documents"):
            points = [engine.Point(name, vector.tolist(), load) for name, vector, load in rows]
            self._engine.update(engine.UpdateOperation.upsert_points(points))

    def delete(self, point_ids: Sequence[str]) -> None:
        """Delete points as one record of the log."""
        with engine_errors(f"deleting {len(point_ids)} documents"):
            self._engine.update(engine.UpdateOperation.delete_points(list(point_ids)))

    def existing(self, point_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that are stored."""
        with engine_errors(f"looking up {len(point_ids)} documents"):
            found = self._engine.retrieve(list(point_ids), False, False)
        return {str(record.id) for record in found}

    def rows(self, point_ids: Sequence[str], *, vectors: bool = False) -> list[Row]:
        """Return those of the points that are stored, in any order."""
        with engine_errors(f"reading {len(point_ids)} documents"):
            return [_row(r) for r in self._engine.retrieve(list(point_ids), True, vectors)]

    def nearest(
        self, vector: NDArray[np.float32], limit: int, langs: Sequence[str], *, exact: bool
    ) -> list[Row]:
        """Return the ``limit`` rows with the highest dot products, best first."""
        with engine_errors("searching"):
            condition = engine.FieldCondition(key="lang", match=engine.MatchAny(list(langs)))
            request = engine.QueryRequest(
                limit=limit,
                query=engine.Query.Nearest(vector.tolist()),
                filter=engine.Filter(must=[condition]) if langs else None,
                params=engine.SearchParams(exact=exact, hnsw_ef=max(HNSW_EF, limit)),
                with_payload=True,
            )
            return [
                Row(str(point.id), point.payload or {}, score=point.score)
                for point in self._engine.query(request)
            ]

    def scan(self) -> Iterator[Row]:
        """Yield every row with its vector."""
        offset = None
        while True:
            with engine_errors("scanning"):
                request = engine.ScrollRequest(
                    limit=_SCAN_PAGE, offset=offset, with_payload=True, with_vector=True
                )
                records, offset = self._engine.scroll(request)
                page = [_row(record) for record in records]
            yield from page
            if offset is None:
                return

    def count(self) -> int:
        """Count the points."""
        with engine_errors("counting"):
            return self._engine.count(engine.CountRequest(exact=True))

    def unindexed(self) -> int:
        """Count the points that no HNSW graph covers yet."""
        with engine_errors("reading the state of the index"):
            info = self._engine.info()
            return max(0, info.points_count - info.indexed_vectors_count)

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


def _row(record: engine.Record) -> Row:
    vector = record.vector
    data = array("f", vector).tobytes() if isinstance(vector, list) else b""  # pyright: ignore
    return Row(str(record.id), record.payload or {}, data)
