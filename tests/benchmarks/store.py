"""Measure the embedded store: ingest, search, index building and reopening.

    python tests/benchmarks/store.py --sizes 1000 20000 100000

Vectors are clustered, not uniform; queries lie near clusters. Prints one JSON line per size. Times
are wall clock, in one thread, with the vectors' generation left out.
"""

import argparse
import json
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore
from app.retrieval.edge.shard import EXACT_LIMIT
from app.retrieval.filters import Filter, languages

DIM = 384
BATCH = 500
LANGS = ["eng_Latn", "swh_Latn", "yor_Latn", "ibo_Latn", "hau_Latn"]


def clustered(n: int, seed: int, centers: int = 500) -> NDArray[np.float32]:
    """Make unit rows around random centers, shape (n, DIM)."""
    middles = np.random.default_rng(0).normal(size=(centers, DIM)).astype(np.float32)
    rng = np.random.default_rng(seed)
    rows = middles[rng.integers(centers, size=n)]
    rows += 0.7 * rng.normal(size=(n, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def timed(work: Callable[[], object]) -> float:
    """Run something and return its seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentiles(seconds: list[float]) -> list[float]:
    """Return p50, p95 and the largest, in milliseconds."""
    return [round(float(p), 2) for p in np.percentile(np.array(seconds) * 1e3, [50, 95, 100])]


def ingest(store: EdgeStore, n: int, vectors: NDArray[np.float32]) -> list[float]:
    """Write n documents in batches; returns each call's seconds."""
    seconds = []
    for start in range(0, n, BATCH):
        rows = vectors[start : start + BATCH]
        documents = [
            Document(f"d{start + i}", "a text of usual length " * 5, LANGS[i % 5], {"n": i})
            for i in range(len(rows))
        ]
        seconds.append(timed(lambda d=documents, r=rows: store.upsert("bench", d, r)))
    return seconds


def search(store: EdgeStore, queries: NDArray[np.float32], where: Filter | None) -> list[float]:
    """Search one query at a time; returns each call's seconds."""
    return [timed(lambda q=q: store.search("bench", q[None], 10, where)) for q in queries]


def recall(store: EdgeStore, vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> float:
    """Compute the share of the true ten nearest that are found."""
    truth = np.argpartition(-(queries @ vectors.T), 10, axis=1)[:, :10]
    found = store.search("bench", queries, 10)
    shares = [
        len({f"d{i}" for i in best} & {hit.document.doc_id for hit in hits}) / 10
        for best, hits in zip(truth, found, strict=True)
    ]
    return float(np.mean(shares))


def stall_while(work: Callable[[], object], store: EdgeStore, query: NDArray[np.float32]) -> dict:
    """Run something in a thread while searching, and report the searches' times."""
    thread = threading.Thread(target=work)
    seconds = []
    start = time.perf_counter()
    thread.start()
    while thread.is_alive():
        seconds.append(timed(lambda: store.search("bench", query[None], 10)))
        time.sleep(0.1)  # Leave the cores to the build
    return {
        "build_s": round(time.perf_counter() - start, 1),
        "search_while_building_ms": percentiles(seconds),
    }


def killed_reopen(root: Path) -> float:
    """Open the store in a process that is killed, then time the recovery."""
    code = (
        "import os, sys; from pathlib import Path; from app.retrieval.edge import EdgeStore; "
        f"EdgeStore.open(Path(sys.argv[1])); os.kill(os.getpid(), {int(signal.SIGKILL)})"
    )
    subprocess.run([sys.executable, "-c", code, str(root)], check=False)
    stores = []
    seconds = timed(lambda: stores.append(EdgeStore.open(root)))
    stores[0].close()
    return seconds


def measure(root: Path, n: int) -> dict:
    """Measure one size."""
    vectors, queries = clustered(n, 1), clustered(200, 2)
    store = EdgeStore.open(root)
    store.create("bench", DIM, "bench")
    collection = store._table.find("bench")
    collection.wants_build = lambda *, now=False: False  # Built once, below, and timed there
    writes = ingest(store, n, vectors)
    figures = {
        "documents": n,
        "ingest_per_s": round(n / sum(writes)),
        "upsert_500_ms": percentiles(writes),
        "search_unindexed_ms": percentiles(search(store, queries, None)),
    }
    single = [
        timed(lambda i=i: store.upsert("bench", [Document("d0", "again")], vectors[i : i + 1]))
        for i in range(40)
    ]
    store.upsert("bench", [Document("d0", "a text", LANGS[0])], vectors[:1])
    figures |= {"upsert_1_ms": percentiles(single)}
    if n > EXACT_LIMIT:
        figures |= stall_while(collection.build, store, queries[0])
        figures |= {"search_indexed_ms": percentiles(search(store, queries, None))}
    figures |= {
        "search_filtered_ms": percentiles(search(store, queries, languages(LANGS[1]))),
        "recall_at_10": round(recall(store, vectors, queries), 4),
        "close_s": round(timed(store.close), 2),
    }
    again = []
    figures |= {"reopen_s": round(timed(lambda: again.append(EdgeStore.open(root))), 2)}
    again[0].close()
    figures |= {
        "reopen_after_kill_s": round(killed_reopen(root), 2),
        "disk_mib": sum(p.stat().st_blocks * 512 for p in root.rglob("*")) >> 20,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
    }
    return figures


def main() -> None:
    """Measure each size in a fresh directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    for n in parser.parse_args().sizes:
        root = Path(tempfile.mkdtemp(prefix="tyntegra-bench-"))
        try:
            print(json.dumps(measure(root, n)), flush=True)
        finally:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
