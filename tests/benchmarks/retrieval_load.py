"""Times of calls, alone and among writes, for the retrieval benchmark."""

import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from retrieval_corpus import NAME, documents_of

from app.retrieval.edge import EdgeStore

CLIENTS = 2
Vectors = NDArray[np.float32]


def timed(work: Callable[[], object]) -> float:
    """Run something and return its seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50 and p95 in milliseconds."""
    p50, p95 = np.percentile(np.array(seconds) * 1e3, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def load_average() -> float:
    """How many threads wanted a processor in the last minute."""
    return round(os.getloadavg()[0], 1)


def tell(figures: dict[str, Any]) -> None:
    """Say what is known so far, with the time and the load, for who waits for hours."""
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} load {load} {json.dumps(figures)}\n")


def load(
    store: EdgeStore, queries: Vectors, vectors: Vectors, writes: float, duration_s: float
) -> list[float]:
    """Let clients search, and write in some of their turns; returns the searches' seconds."""
    results: list[list[float]] = [[] for _ in range(CLIENTS)]
    until = time.perf_counter() + duration_s

    def client(number: int) -> None:
        rng = random.Random(number)
        while time.perf_counter() < until:
            if rng.random() < writes:
                which = rng.randrange(len(vectors))
                store.upsert(NAME, documents_of(which, 1), vectors[which : which + 1])
            else:
                query = queries[rng.randrange(len(queries))][None]
                results[number].append(timed(lambda q=query: store.search(NAME, q, 10)))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [seconds for some in results for seconds in some]


def mixed(
    store: EdgeStore, queries: Vectors, vectors: Vectors, duration_s: float
) -> dict[str, Any]:
    """Compare searches alone with searches among 10% writes, in turns."""
    alone: list[float] = []
    among: list[float] = []
    for _ in range(3):
        alone += load(store, queries, vectors, 0.0, duration_s / 3)
        among += load(store, queries, vectors, 0.1, duration_s / 3)
    figures = {"read_only_ms": percentiles(alone), "ten_percent_writes_ms": percentiles(among)}
    ratio = figures["ten_percent_writes_ms"]["p95"] / figures["read_only_ms"]["p95"]
    rate = {"searches_per_s": round(len(alone) / duration_s)}
    return {"load_of_two": figures | rate | {"p95_ratio": round(ratio, 2)}}
