r"""What one service costs and promises beside speed: start, memory, padding, fairness.

    python tests/benchmarks/serving/service.py --artifact app/default/encoder:int8

Starts the service on an artifact and prints one JSON object:

- seconds from the start of the process to its first 200 from /health/ready, several times;
- resident memory when ready, at its peak under mixed posts of 32, at its peak under posts of the
  longest texts, and some seconds after those;
- padded tokens over real ones for posts of 32 mixed texts, by the service's own cut into runs;
- latency of one-text requests alone, and while another client posts 2,000 texts at a time: mixed
  ones, and the longest there are.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from compare import HERE, ROOT, Target, free_port
from load import drive, quantile_ms
from texts import docstrings

from app.encoder.hardware import Hardware
from app.encoder.replicas import open_replicas
from app.encoder.split import Cost, cheapest_run

CALM_S = 6.0
POST_TEXTS = 2000


def service(folder: str, precision: str, state: Path) -> Target:
    """Describe our service with room for large posts."""
    port = free_port()
    env = {
        "TYNTEGRA_PORT": str(port),
        "TYNTEGRA_STATE": str(state),
        "TYNTEGRA_DEMO": "false",
        "TYNTEGRA_ARTIFACT": folder,
        "TYNTEGRA_PRECISION": precision,
        "TYNTEGRA_MAX_TEXTS": "4096",
        "TYNTEGRA_MAX_BODY_BYTES": str(64 << 20),
        "TYNTEGRA_REQUEST_TIMEOUT_S": "600",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "app", "serve"]
    return Target("service", command, "/embed", "inputs", port, env=env)


def seconds_to_ready(target: Target, log: Path) -> float:
    """Start and stop a service, and tell how long readiness took; the first post is not in it."""
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            target.command, env={**os.environ, **target.env}, stdout=out, stderr=out
        )
    url = f"http://127.0.0.1:{target.port}/health/ready"
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                break
        except OSError:
            if process.poll() is not None:
                raise SystemExit(log.read_text()) from None
            time.sleep(0.01)
    seconds = time.perf_counter() - begun
    process.terminate()
    process.wait()
    return seconds


def padding(folder: str, precision: str, posts: list[list[str]]) -> dict[str, float]:
    """Cut posts into runs as the service does, at the cost of a run measured on this machine."""
    replicas = open_replicas(Path(folder), Hardware("cpu"), precision, 0)
    cost = replicas.cost
    rows = [[len(one.ids) for one in replicas.tokenizer.tokenize(post, "query")] for post in posts]
    sums = [padded_tokens(row, cost) for row in rows]
    naive = sum(len(row) * max(row) for row in rows)
    real = sum(map(sum, rows))
    return {
        "padded_over_real": round(sum(sums) / real, 3),
        "each_post_in_one_run": round(naive / real, 3),
        "overhead_tokens_of_a_run": round(cost.overhead_tokens, 1),
        "most_tokens_of_a_run": cost.max_tokens,
    }


def padded_tokens(lengths: list[int], cost: Cost) -> int:
    """Count the tokens that the runs of one post take."""
    left, total = list(lengths), 0
    while left:
        chosen = set(cheapest_run(left, cost))
        total += len(chosen) * max(left[at] for at in chosen)
        left = [length for at, length in enumerate(left) if at not in chosen]
    return total


def post_bodies(texts: list[str], size: int) -> list[bytes]:
    """Write posts of ``size`` texts; some texts come again if there are too few."""
    repeated = texts * -(-size // len(texts))
    starts = range(0, len(repeated) - size + 1, size)
    return [json.dumps({"inputs": repeated[start : start + size]}).encode() for start in starts]


def beside(url: str, small: list[bytes], huge: list[str], seconds: float) -> list[float]:
    """Drive one-text requests while another process posts 2,000 texts at a time."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump((huge * -(-POST_TEXTS // len(huge)))[:POST_TEXTS], file)
        file.flush()
        command = [sys.executable, str(HERE / "load.py"), "--url", url, "--corpus", file.name]
        command += ["--texts", str(POST_TEXTS), "--seconds", str(seconds + 2)]
        poster = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            time.sleep(1.0)
            return asyncio.run(drive(url, small, 1, seconds))
        finally:
            poster.kill()
            poster.wait()


def latencies(seconds: list[float]) -> dict[str, float]:
    """Sum up what one-text requests took."""
    found = {f"p{share:g}_ms": quantile_ms(seconds, share / 100) for share in (50, 99)}
    return found | {
        "requests": len(seconds),
        "p99_over_p50": round(found["p99_ms"] / found["p50_ms"], 1),
    }


def measure(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Measure all of it, one thing after the other."""
    folder, precision = options.artifact.split(":")
    texts = docstrings(2000)
    longest = [" ".join(texts[at : at + 60])[:8000] for at in range(0, 1900, 60)]
    small = post_bodies(random.Random(1).sample(texts, 400), 1)
    target = service(folder, precision, scratch / "state")
    log = scratch / "log"
    ready = [seconds_to_ready(target, log) for _ in range(options.starts)]
    report: dict[str, Any] = {
        "load": os.getloadavg(),
        "ready_s": {"median": round(statistics.median(ready), 2), "most": round(max(ready), 2)},
        "padding": padding(folder, precision, [texts[at : at + 32] for at in range(0, 1984, 32)]),
    }
    target.start(log)
    try:
        memory = {"ready_mb": target.memory_mb()["VmRSS"]}
        asyncio.run(drive(target.url, post_bodies(texts, 32), 8, options.seconds))
        memory["mixed_peak_mb"] = target.memory_mb()["VmHWM"]
        memory["after_mixed_mb"] = target.memory_mb()["VmRSS"]
        asyncio.run(drive(target.url, post_bodies(longest, 32), 2, options.seconds))
        memory["longest_peak_mb"] = target.memory_mb()["VmHWM"]
        time.sleep(CALM_S)
        memory["after_longest_mb"] = target.memory_mb()["VmRSS"]
        report["memory"] = {name: round(value, 1) for name, value in memory.items()}
        report["alone"] = latencies(asyncio.run(drive(target.url, small, 1, options.seconds)))
        for name, some in (("mixed", texts), ("longest", longest)):
            found = beside(target.url, small, some, 3 * options.seconds)
            report[f"beside posts of 2000 {name} texts"] = latencies(found)
    finally:
        target.stop()
    return report | {"load_after": os.getloadavg()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--artifact", required=True, metavar="FOLDER:PRECISION")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        print(json.dumps(measure(options, Path(scratch)), indent=1))


if __name__ == "__main__":
    main()
