"""Make the store that the retrieval benchmark measures: documents, index, and the right answers.

Everything that takes long and needs no quiet machine is here, so that a large store can be made
beside other work and be measured later.
"""

import json
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval_corpus import DIM, NAME, documents_of, true_nearest, vectors_of
from retrieval_load import load_average, percentiles, tell, timed

from app.retrieval.edge import EdgeStore, shard
from app.retrieval.store import Options

BATCH = 500
QUERIES = 1_000
Vectors = NDArray[np.float32]


def make(folder: Path, n: int, *, index: bool = True) -> dict[str, Any]:
    """Fill and close a store, and write vectors, right answers and figures beside it.

    What was ended while the index was built goes on with that.

    Args:
        folder: Gets ``store``, ``vectors.npy``, ``truth.npy``, ``filled.json`` and ``made.json``.
        n: Documents.
        index: Whether to build the index; never without it.

    Returns:
        The figures of ``made.json``: ingest and index building.
    """
    vectors, queries = vectors_of(n, 1), vectors_of(QUERIES, 2)
    store = EdgeStore.open(folder / "store")
    store.create(NAME, DIM, "bench", Options(fields={"year": "integer"}))
    builder = store._table.find(NAME).builder
    builder.wants_build = lambda *, now=False: False  # Only when told to
    figures = fill(store, vectors, folder / "filled.json")
    tell(figures)
    if index and n > shard.EXACT_LIMIT:
        figures |= build(store, queries[:1])
    store.close()
    tell(figures)
    np.save(folder / "vectors.npy", vectors)
    if index:
        np.save(folder / "truth.npy", true_nearest(vectors, queries))
    (folder / "made.json").write_text(json.dumps(figures), encoding="utf-8")
    return figures


def fill(store: EdgeStore, vectors: Vectors, note: Path) -> dict[str, Any]:
    """Write all documents and flush, unless a note says that it is done."""
    if note.exists() and store.count(NAME) == len(vectors):
        return json.loads(note.read_text(encoding="utf-8"))
    figures = {"documents": len(vectors), "load_average": load_average()} | ingest(store, vectors)
    figures["flush_s"] = round(timed(lambda: store.flush(NAME)), 2)
    note.write_text(json.dumps(figures), encoding="utf-8")
    return figures


def ingest(store: EdgeStore, vectors: Vectors) -> dict[str, Any]:
    """Write all documents in batches."""
    seconds: list[float] = []
    for start in range(0, len(vectors), BATCH):
        rows = vectors[start : start + BATCH]
        documents = documents_of(start, len(rows))
        seconds.append(timed(lambda d=documents, r=rows: store.upsert(NAME, d, r)))
    return {
        "ingest_per_s": round(len(vectors) / sum(seconds)),
        "upsert_500_ms": percentiles(seconds),
    }


def build(store: EdgeStore, query: Vectors) -> dict[str, Any]:
    """Build the index while searching."""
    collection = store._table.find(NAME)
    thread, seconds = threading.Thread(target=collection.build), list[float]()
    start = time.perf_counter()
    thread.start()
    while thread.is_alive():
        seconds.append(timed(lambda: store.search(NAME, query, 10)))
        time.sleep(max(0.1, 9 * seconds[-1]))  # Leave the cores to the build
    built = round(time.perf_counter() - start, 1)
    return {"build_s": built, "search_while_building_ms": percentiles(seconds)}
