"""What a large probe does to searches beside it: latency with and without, round by round.

    python tests/benchmarks/probe_beside.py --rounds 6 --seconds 10

A service on the embedded encoder and the demo collection answers one search at a time. Rounds
without a probe and rounds beside one alternate, so that whatever else the machine does weighs on
both alike; the ratio is that of neighbors, and its spread over the rounds is printed with it. The
`job` runs in a process of its own, the `waited` one in a thread of the service.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import chain

import httpx
import numpy as np

WORDS = ("water", "maize", "fever", "school", "market", "river", "cattle", "rain", "doctor", "road")
TEXTS = [f"how does the {a} come to the {b}" for a in WORDS for b in WORDS if a != b]


@contextlib.contextmanager
def serving(port: int) -> Iterator[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TYNTEGRA_")}
    with tempfile.TemporaryDirectory() as state:
        environ |= {"TYNTEGRA_STATE": state, "TYNTEGRA_PORT": str(port), "TYNTEGRA_LOG": "error"}
        process = subprocess.Popen([sys.executable, "-m", "app", "serve"], env=environ)
        url = f"http://127.0.0.1:{port}"
        try:
            for _ in range(600):
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/health/ready").status_code == 200:
                        break
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(60)


def search(client: httpx.Client, seconds: float, pause_s: float) -> list[float]:
    """Milliseconds of searches, one after the other with a pause between them."""
    found: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        text = TEXTS[len(found) % len(TEXTS)]
        began = time.perf_counter()
        answer = client.post("/search", json={"collection": "demo", "queries": text, "top_k": 10})
        found.append(1e3 * (time.perf_counter() - began))
        answer.raise_for_status()
        time.sleep(pause_s)
    return found


@contextlib.contextmanager
def probing(url: str, kind: str, seconds: float) -> Iterator[dict[str, float]]:
    """A large probe beside what is done inside; says afterwards how many texts it tried."""
    queries = [{"query_id": str(n), "text": text} for n, text in enumerate(TEXTS[:60])]
    body = {"collection": "demo", "queries": queries, "top_k": 3}
    body |= {"budget": {"queries": 4096, "seconds": seconds + 30.0}, "seeds": 4}
    spent: dict[str, float] = {}
    if kind == "job":
        with httpx.Client(base_url=url, timeout=60) as client:
            path = client.post("/probe/adversarial", json=body | {"background": True}).headers[
                "location"
            ]
            while not (client.get(path).json()["progress"] or {}).get("tried"):
                time.sleep(0.1)
            before = client.get(path).json()["progress"]["tried"]
            began = time.monotonic()
            yield spent
            after = client.get(path).json()["progress"]["tried"]
            spent["tried_s"] = (after - before) / (time.monotonic() - began)
            while client.delete(path).status_code != 204:
                time.sleep(0.1)
        return
    body["budget"]["seconds"] = seconds + 3.0
    thread = threading.Thread(
        target=lambda: httpx.post(f"{url}/probe/adversarial", json=body, timeout=200)
    )
    thread.start()
    time.sleep(2.0)
    yield spent
    thread.join()


def p(values: list[float], share: float) -> float:
    return float(np.quantile(values, share))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each half of a round")
    parser.add_argument("--pause-ms", type=float, default=5.0, help="between searches")
    parser.add_argument("--kind", choices=("job", "waited"), default="job")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet: list[list[float]] = []
    beside: list[list[float]] = []
    tried: list[float] = []
    with serving(port) as url, httpx.Client(base_url=url, timeout=60) as client:
        pause = options.pause_ms / 1e3
        search(client, 2.0, pause)
        for number in range(options.rounds):
            halves = ("quiet", "beside") if number % 2 == 0 else ("beside", "quiet")
            for half in halves:
                if half == "quiet":
                    quiet.append(search(client, options.seconds, pause))
                    continue
                with probing(url, options.kind, options.seconds) as spent:
                    beside.append(search(client, options.seconds, pause))
                tried.append(spent.get("tried_s", float("nan")))
    every = {"quiet": list(chain(*quiet)), "beside": list(chain(*beside))}
    ratios = {
        f"p{round(100 * share)}": sorted(
            p(b, share) / p(q, share) for q, b in zip(quiet, beside, strict=True)
        )
        for share in (0.5, 0.95, 0.99)
    }
    report = {
        "kind": options.kind,
        "rounds": options.rounds,
        "load": os.getloadavg()[0],
        "texts_tried_per_s_beside": statistics.median(tried),
        "searches": {name: len(values) for name, values in every.items()},
        "ms": {
            name: {f"p{round(100 * s)}": round(p(values, s), 2) for s in (0.5, 0.95, 0.99)}
            for name, values in every.items()
        },
        "ratio_of_rounds": {
            name: {
                "median": round(statistics.median(values), 2),
                "least": round(values[0], 2),
                "most": round(values[-1], 2),
            }
            for name, values in ratios.items()
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
