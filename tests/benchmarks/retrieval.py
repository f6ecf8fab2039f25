"""Measure retrieval on the embedded engine, beside the bare engine in the same run.

    python tests/benchmarks/retrieval.py --sizes 10000 100000 1000000 --kills 50 \
        --out figures.jsonl --figure curve.svg

Prints one JSON line per size: ingest, index building, recall@10 against comparing all, times of
searches (ours and the bare engine's take turns on one index, with the same parameters), filters of
1% selectivity, words, a mixed load, reopening, memory, disk. Then SIGKILL rounds on the size
nearest to 200,000, and the search times over the sizes as a picture. Times are wall clock; the
making of documents and vectors is left out.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray
from retrieval_corpus import (
    DIM,
    NAME,
    RARE,
    documents_of,
    lang_of,
    true_nearest,
    vectors_of,
)
from retrieval_kills import kill_rounds
from retrieval_load import mixed, percentiles, timed

from app.retrieval.edge import EdgeStore, shard
from app.retrieval.filters import Filter, In, languages
from app.retrieval.store import Options

BATCH = 500
QUERIES = 1_000
Vectors = NDArray[np.float32]


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


def bare_search(store: EdgeStore, query: Vectors) -> object:
    """Ask the engine itself, as ours does but for what is ours."""
    held = store._table.find(NAME).held
    return held.require_open()._engine.query(
        engine.QueryRequest(
            limit=10,
            query=engine.Query.Nearest(query[0].tolist()),
            params=engine.SearchParams(
                hnsw_ef=shard.HNSW_EF, exact=held.books.account.passages <= shard.EXACT_LIMIT
            ),
            with_payload=True,
        )
    )


def searches(store: EdgeStore, queries: Vectors) -> dict[str, Any]:
    """Search one query at a time, ours and the bare engine in turns."""
    ours: list[float] = []
    bare: list[float] = []
    for number, query in enumerate(queries):
        both = [
            (ours, lambda q=query[None]: store.search(NAME, q, 10)),
            (bare, lambda q=query[None]: bare_search(store, q)),
        ]
        for seconds, work in both if number % 2 else both[::-1]:
            seconds.append(timed(work))
    figures = {"search_ms": percentiles(ours), "bare_engine_ms": percentiles(bare)}
    ratio = figures["search_ms"]["p95"] / figures["bare_engine_ms"]["p95"]
    return figures | {"p95_over_bare": round(ratio, 2)}


def recall(
    store: EdgeStore, queries: Vectors, truth: NDArray[np.int64], where: Filter | None = None
) -> float:
    """Compute the share of the true ten nearest that are found."""
    shares: list[float] = []
    for start in range(0, len(queries), 50):
        found = store.search(NAME, queries[start : start + 50], 10, where)
        for best, hits in zip(truth[start : start + 50], found, strict=True):
            named = {hit.document.doc_id for hit in hits}
            shares.append(len({f"d{number}" for number in best} & named) / len(best))
    return round(float(np.mean(shares)), 4)


def filtered(store: EdgeStore, vectors: Vectors, queries: Vectors) -> dict[str, Any]:
    """Search among 1% of the documents: by language, by a declared field, by another."""
    n = len(vectors)
    rare = np.flatnonzero([lang_of(number) == RARE for number in range(n)])
    year = np.arange(n)[np.arange(n) % 100 == 42]
    cases: dict[str, tuple[Filter, NDArray[np.int64], int]] = {
        "lang": (languages(RARE), rare, len(queries)),
        "declared": (In("metadata.year", (1942,)), year, len(queries)),
    }
    if n <= 100_000:  # Reads every payload
        cases["undeclared"] = (In("metadata.n", tuple(year[:1024].tolist())), year[:1024], 20)
    figures: dict[str, Any] = {}
    for name, (where, some, count) in cases.items():
        truth = some[true_nearest(vectors[some], queries[:count])]
        seconds = [
            timed(lambda q=query[None], w=where: store.search(NAME, q, 10, w))
            for query in queries[:count]
        ]
        share = recall(store, queries[:count], truth, where)
        figures[name] = percentiles(seconds) | {"recall_at_10": share}
    return {"filtered_1_percent": figures}


def words(store: EdgeStore, n: int) -> dict[str, Any]:
    """Search words: three of a document each."""
    seconds: list[float] = []
    for number in random.Random(0).sample(range(n), 200):
        text = " ".join(documents_of(number, 1)[0].text.split()[:3])
        seconds.append(timed(lambda t=text: store.match(NAME, [t], 10)))
    return {"match_ms": percentiles(seconds)}


def in_child(action: str, root: Path) -> dict[str, Any]:
    """Do something with a store in a fresh process, which prints JSON unless it is killed."""
    child = subprocess.run(
        [sys.executable, __file__, "--child", action, str(root)], capture_output=True, check=False
    )
    return json.loads(child.stdout) if child.stdout else {}


def child(action: str, root: Path) -> None:
    """What ``in_child`` starts: be killed while the store is open, or tell the memory it takes."""
    store = EdgeStore.open(root)
    if action == "die":
        os.kill(os.getpid(), 9)
    opened = memory_mib()
    for query in vectors_of(300, 3):
        store.search(NAME, query[None], 10)
        store.match(NAME, ["w1 w200"], 10)
    figures = {"opened_mib": opened, "searched_mib": memory_mib()}
    store.close()
    sys.stdout.write(json.dumps({"memory": figures}))


def memory_mib() -> dict[str, int]:
    """Tell this process's memory: its own, and the files' pages that it has mapped."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    sizes = dict(line.split(":") for line in lines)
    return {
        name: int(sizes[key].split()[0]) >> 10
        for name, key in (("own", "RssAnon"), ("files", "RssFile"))
    }


def reopening(root: Path) -> dict[str, Any]:
    """Time opening after a clean close and after a kill."""
    stores: list[EdgeStore] = []
    clean = timed(lambda: stores.append(EdgeStore.open(root)))
    stores.pop().close()
    in_child("die", root)
    killed = timed(lambda: stores.append(EdgeStore.open(root)))
    store = stores.pop()
    checked = timed(lambda: _wait_for_check(store))
    store.close()
    return {
        "reopen_s": round(clean, 2),
        "reopen_after_kill_s": round(killed, 2),
        "all_texts_checked_after_s": round(checked, 1),
    }


def _wait_for_check(store: EdgeStore) -> None:
    while store._table.find(NAME).meta.unchecked:
        time.sleep(0.1)


def measure(root: Path, n: int, efs: Sequence[int]) -> dict[str, Any]:
    """Measure one size."""
    vectors = vectors_of(n, 1)
    queries = vectors_of(QUERIES, 2)
    store = EdgeStore.open(root)
    store.create(NAME, DIM, "bench", Options(fields={"year": "integer"}))
    builder = store._table.find(NAME).builder
    wants, builder.wants_build = builder.wants_build, lambda *, now=False: False
    figures = {"documents": n, "load_average": round(os.getloadavg()[0], 1)} | ingest(
        store, vectors
    )
    store.flush(NAME)
    tell(figures)
    if n > shard.EXACT_LIMIT:
        figures |= build(store, queries[:1])
    tell(figures)
    builder.wants_build = wants
    truth = true_nearest(vectors, queries)
    searches(store, queries[:100])  # Warm up
    figures |= searches(store, queries) | {"recall_at_10": recall(store, queries, truth)}
    for ef in efs:
        shard.HNSW_EF = ef
        swept = searches(store, queries) | {"recall_at_10": recall(store, queries, truth)}
        figures.setdefault("by_ef", {})[ef] = swept
    shard.HNSW_EF = 256
    tell(figures)
    figures |= filtered(store, vectors, queries) | words(store, n)
    figures |= mixed(store, queries, vectors, 12.0)
    figures |= {"close_s": round(timed(store.close), 2)}
    tell(figures)
    del vectors
    disk = sum(path.stat().st_blocks * 512 for path in root.rglob("*")) >> 20
    return figures | reopening(root) | in_child("memory", root) | {"disk_mib": disk}


def only_kill(root: Path, n: int, kills: int) -> dict[str, Any]:
    """Fill a store, without an index, and kill writers to it."""
    store = EdgeStore.open(root)
    store.create(NAME, DIM, "bench", Options(fields={"year": "integer"}))
    store._table.find(NAME).builder.wants_build = lambda *, now=False: False
    figures = {"documents": n} | ingest(store, vectors_of(n, 1))
    store.close()
    tell(figures)
    return figures | {"sigkill": kill_rounds(root, kills, others=n)}


def tell(figures: dict[str, Any]) -> None:
    """Say what is known so far, with the time and the load, for who waits for hours."""
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} load {load} {json.dumps(figures)}\n")


def main() -> None:
    """Measure each size in a fresh directory, then kill writers and draw."""
    parser = argparse.ArgumentParser(description="Measure retrieval on the embedded engine.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--ef", type=int, nargs="*", default=[], help="further ef to compare")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILL rounds")
    parser.add_argument("--only-kill", action="store_true", help="nothing else, and no index")
    parser.add_argument("--out", type=Path, help="file to append the JSON lines to")
    parser.add_argument("--figure", type=Path, help="picture of the curve: .svg or .png")
    parser.add_argument("--folder", type=Path, help="where the stores go; default: temporary files")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], Path(asked.child[1]))
        return
    lines: list[dict[str, Any]] = []
    for n in asked.sizes:
        root = Path(tempfile.mkdtemp(prefix="tyntegra-bench-", dir=asked.folder))
        try:
            if asked.only_kill:
                line = only_kill(root, n, asked.kills)
            else:
                line = measure(root, n, asked.ef)
            if (
                asked.kills
                and not asked.only_kill
                and n == min(asked.sizes, key=lambda size: abs(size - 200_000))
            ):
                line["sigkill"] = kill_rounds(root, asked.kills, others=n)
        finally:
            shutil.rmtree(root)
        lines.append(line)
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        if asked.out:
            with asked.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    if asked.figure:
        from retrieval_figure import draw  # Matplotlib is of the extra `train`

        draw(lines, asked.figure)


if __name__ == "__main__":
    main()
