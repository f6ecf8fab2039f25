"""Measure retrieval on the embedded engine, beside the bare engine in the same run.

    python tests/benchmarks/retrieval.py --sizes 10000 100000 1000000 --kills 50 \
        --out figures.jsonl --figure curve.svg

Prints one JSON line per size: ingest, index building, recall@10 against comparing all, times of
searches (ours and the bare engine's take turns on one index, with the same parameters), filters of
1% selectivity, words, a mixed load, reopening, memory, disk. Then SIGKILL rounds on the size
nearest to 200,000, and the search times over the sizes as a picture. Times are wall clock; the
making of documents and vectors is left out.

``--make-only`` with ``--folder`` makes the stores and leaves them there; the same call without it
finds them and only measures. So the long part needs no quiet machine.
"""

import argparse
import json
import random
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as engine
from numpy.typing import NDArray
from retrieval_corpus import NAME, RARE, documents_of, lang_of, true_nearest, vectors_of
from retrieval_kills import kill_rounds
from retrieval_load import load_average, mixed, percentiles, tell, timed
from retrieval_make import QUERIES, Vectors, make
from retrieval_process import in_child, reopening

from app.retrieval.edge import EdgeStore, shard
from app.retrieval.filters import Filter, In, languages


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


def measure(folder: Path, efs: Sequence[int]) -> dict[str, Any]:
    """Measure the store that ``make`` left in a folder."""
    root = folder / "store"
    vectors: Vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    truth: NDArray[np.int64] = np.load(folder / "truth.npy")
    queries, n = vectors_of(QUERIES, 2), len(vectors)
    disk = sum(path.stat().st_blocks * 512 for path in root.rglob("*")) >> 20
    figures: dict[str, Any] = {"measured_at_load": load_average(), "disk_mib": disk}
    figures |= in_child("memory", root)
    store = EdgeStore.open(root)
    searches(store, queries[:100])  # Warm up
    figures |= searches(store, queries) | {"recall_at_10": recall(store, queries, truth)}
    tell(figures)
    usual = shard.HNSW_EF
    for ef in efs:
        shard.HNSW_EF = ef
        swept = searches(store, queries) | {"recall_at_10": recall(store, queries, truth)}
        figures.setdefault("by_ef", {})[ef] = swept
    shard.HNSW_EF = usual
    figures |= filtered(store, vectors, queries) | words(store, n)
    tell(figures)
    store._table.find(NAME).builder.wants_build = lambda *, now=False: False
    figures |= mixed(store, queries, vectors, 12.0)
    figures |= {"close_s": round(timed(store.close), 2)}
    tell(figures)
    return figures | reopening(root)


def only_kill(folder: Path, n: int, kills: int) -> dict[str, Any]:
    """Fill a store, without an index, and kill writers to it."""
    figures = made(folder, n, index=False)
    return figures | {"sigkill": kill_rounds(folder / "store", kills, others=n)}


def made(folder: Path, n: int, *, index: bool = True) -> dict[str, Any]:
    """Make a store in a folder unless it is there; returns the figures of its making."""
    note = folder / "made.json"
    if note.exists():
        return json.loads(note.read_text(encoding="utf-8"))
    return make(folder, n, index=index)


def one_size(folder: Path, n: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Do what was asked with the store of one size."""
    if asked.only_kill:
        return only_kill(folder, n, asked.kills)
    line = made(folder, n)
    if asked.make_only:
        return line
    line |= measure(folder, asked.ef)
    if asked.kills and n == min(asked.sizes, key=lambda size: abs(size - 200_000)):
        line["sigkill"] = kill_rounds(folder / "store", asked.kills, others=n)
    return line


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure retrieval on the embedded engine.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--ef", type=int, nargs="*", default=[], help="further ef to compare")
    parser.add_argument("--kills", type=int, default=0, help="SIGKILL rounds")
    parser.add_argument("--only-kill", action="store_true", help="nothing else, and no index")
    parser.add_argument("--make-only", action="store_true", help="make the stores, to be measured")
    parser.add_argument("--out", type=Path, help="file to append the JSON lines to")
    parser.add_argument("--figure", type=Path, help="picture of the curve: .svg or .png")
    parser.add_argument("--folder", type=Path, help="keep the stores here, or find them here")
    asked = parser.parse_args()
    if asked.make_only and asked.folder is None:
        parser.error("--make-only needs --folder: what is made has to stay somewhere")
    return asked


def main() -> None:
    """Make and measure each size, kill writers, and draw."""
    asked = arguments()
    lines: list[dict[str, Any]] = []
    for n in asked.sizes:
        if asked.folder is None:
            folder = Path(tempfile.mkdtemp(prefix="tyntegra-bench-"))
        else:
            folder = asked.folder / f"{n}{'-kill' * asked.only_kill}"
            folder.mkdir(parents=True, exist_ok=True)
        try:
            lines.append(one_size(folder, n, asked))
        finally:
            if asked.folder is None:
                shutil.rmtree(folder)
        print(json.dumps(lines[-1]), flush=True)
        if asked.out:
            with asked.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(lines[-1]) + "\n")
    if asked.figure:
        from retrieval_figure import draw  # Matplotlib is of the extra `train`

        draw(lines, asked.figure)


if __name__ == "__main__":
    main()
