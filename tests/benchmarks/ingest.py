"""Documents a second from a file into a collection, beside what the encoder alone does.

    python tests/benchmarks/ingest.py [--texts 50000] [--rounds 3] [--artifact DIR]

Real texts (FLORES-200 dev of 204 languages, a JSON line each) are encoded by the encoder alone, and
indexed: over HTTP by ``tyntegra index`` into a service in a process of its own, with the embedded
store and with one that keeps nothing, which tells the store's part from the service's; and directly
into an embedded store. All ways take turns, in rounds, and so share what else the machine does. The
share is of the encoder's rate in the same round. Where cores are the limit, as they are when all of
it runs on one machine, the share cannot be above that of the encoder in all CPU seconds, which is
printed too and hardly depends on what else the machine does.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import uvicorn

from app.api.state import Openers
from app.main import create_app, open_encoder
from app.retrieval.store import Collection, Options, VectorStore
from app.server import bind, build_server
from app.settings import Settings

DATA = Path(os.environ.get("TYNTEGRA_DATA", Path(__file__).parents[3] / "shared" / "data"))
WAYS = ("http, store kept", "http, nothing kept", "direct, store kept")


class KeepsNothing:
    """A store that acknowledges documents and forgets them."""

    def __init__(self) -> None:
        self._made: dict[str, Collection] = {}

    def __getattr__(self, name: str) -> Any:
        if name in ("drop", "flush", "close"):
            return lambda *_: None
        if name == "unavailable":
            return dict
        raise AttributeError(name)

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        """Remember that it exists."""
        return self._made.setdefault(name, Collection(name, dim, model, 0, options or Options()))

    def describe(self, name: str) -> Collection:
        """Say what was created."""
        from app.errors import NotFoundError

        if name not in self._made:
            raise NotFoundError(name)
        return self._made[name]

    def collections(self) -> list[Collection]:
        """Say what was created."""
        return list(self._made.values())

    def languages(self, name: str) -> dict[str, int]:
        """None."""
        return {}

    def size_bytes(self, name: str) -> int:
        """None."""
        return 0

    def upsert(self, name: str, documents: Sequence[Any], *_: Any) -> int:
        """Forget them."""
        return len(documents)


def serve(state: Path, port: int, artifact: Path | None, *, keeps: bool) -> None:
    """Run a service until it is told to end."""
    from app.main import open_store

    chosen: dict[str, Any] = {"artifact": artifact} if artifact else {}
    settings = Settings(state=state, port=port, demo=False, log="error", **chosen)

    def nothing(_: Settings) -> VectorStore:
        return KeepsNothing()  # type: ignore[return-value]

    app = create_app(settings, openers=Openers(open_encoder, open_store if keeps else nothing))
    with bind("127.0.0.1", port) as listener:
        server: uvicorn.Server = build_server(app, settings)
        server.run(sockets=[listener])


def write_texts(path: Path, most: int) -> list[str]:
    """Write the corpus as JSON lines; returns its texts."""
    import pyarrow.parquet as pq

    columns = pq.read_table(DATA / "eval" / "flores200-dev.parquet").to_pydict()
    # A sentence in all languages, then the next, as a mixed collection is.
    rows = [
        {"lang": lang, "text": text}
        for sentence in zip(*columns.values(), strict=True)
        for lang, text in zip(columns, sentence, strict=True)
        if text
    ][:most]
    with path.open("w", encoding="utf-8") as file:
        for number, row in enumerate(rows):
            line = {"doc_id": f"d{number}", "text": row["text"], "lang": row["lang"]}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    return [row["text"] for row in rows]


@contextlib.contextmanager
def serving(state: Path, artifact: Path | None, *, keeps: bool) -> Iterator[tuple[str, int]]:
    """Run a service in a process; gives its URL and process id."""
    import httpx

    with bind("127.0.0.1", 0) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(port), "--state", str(state)]
    command += ["--keeps"] if keeps else []
    command += ["--artifact", str(artifact)] if artifact else []
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/health/ready").status_code == 200:
                    break
            time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(60)


def index(arguments: Sequence[str]) -> tuple[dict[str, Any], float]:
    """Run ``tyntegra index``; returns its summary and its CPU seconds."""
    before = _children_s()
    done = subprocess.run(
        [sys.executable, "-m", "app", "index", *arguments, "--quiet"],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"tyntegra index failed: {done.stderr}")
    return json.loads(done.stdout), _children_s() - before


def _children_s() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def encoder_rate(texts: Sequence[str], artifact: Path | None) -> tuple[float, float]:
    """Texts a second and CPU seconds of the encoder alone, as a process that does nothing else."""
    code = (
        "import json, os, sys, time\n"
        "from pathlib import Path\n"
        "from app.main import open_encoder\n"
        "from app.settings import Settings\n"
        "texts = json.load(open(sys.argv[1]))\n"
        "chosen = {'artifact': Path(sys.argv[2])} if len(sys.argv) > 2 else {}\n"
        "encoder = open_encoder(Settings(**chosen))\n"
        "encoder.encode(texts[:2000], 'document')\n"
        "cpu, began = sum(os.times()[:2]), time.perf_counter()\n"
        "for first in range(0, len(texts), 4096):\n"
        "    encoder.encode(texts[first:first + 4096], 'document')\n"
        "took = time.perf_counter() - began\n"
        "print(json.dumps([len(texts) / took, sum(os.times()[:2]) - cpu]))\n"
        "encoder.close()\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(list(texts), file)
        file.flush()
        command = [sys.executable, "-c", code, file.name] + ([str(artifact)] if artifact else [])
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    rate, cpu = json.loads(done.stdout)
    return rate, cpu


def measure(way: str, corpus: Path, folder: Path, artifact: Path | None) -> dict[str, float]:
    """Index the corpus in one way; rate, and CPU seconds of client and service."""
    common = [str(corpus), "--collection", "bench", "--ledger", str(folder / "ledger")]
    common += ["--connections", str(CONNECTIONS), "--batch", str(BATCH)]
    state = folder / "state"
    if way.startswith("direct"):
        chosen = ["--artifact", str(artifact)] if artifact else []
        summary, client = index([*common, "--store", "embedded", "--state", str(state), *chosen])
        return {"rate": summary["rate"], "client_s": client, "service_s": 0.0}
    with serving(state, artifact, keeps=way == WAYS[0]) as (url, pid):
        process = psutil.Process(pid)
        before = sum(process.cpu_times()[:2])
        summary, client = index([*common, "--url", url])
        service = sum(process.cpu_times()[:2]) - before
    return {"rate": summary["rate"], "client_s": client, "service_s": service}


CONNECTIONS, BATCH = 4, 256


def main() -> None:
    """Measure and print a table."""
    global CONNECTIONS, BATCH
    parser = argparse.ArgumentParser(description="Measure ingest.")
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--artifact", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--state", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--keeps", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.state, options.serve, options.artifact, keeps=options.keeps)
        return
    CONNECTIONS, BATCH = options.connections, options.batch
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    alone: list[float] = []
    spent: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus.jsonl"
        texts = write_texts(corpus, options.texts)
        for number in range(options.rounds):
            rate, cpu = encoder_rate(texts, options.artifact)
            alone.append(rate)
            spent.append(cpu)
            print(f"encoder alone: {rate:,.0f}/s, {cpu:.1f} CPU s", flush=True)
            for way in WAYS:
                place = Path(folder) / f"{number}-{WAYS.index(way)}"
                place.mkdir()
                one = measure(way, corpus, place, options.artifact)
                of_cpu = cpu / (one["client_s"] + one["service_s"])
                found[way].append(one | {"share": one["rate"] / rate, "of_cpu": of_cpu})
                print(f"{way}: " + ", ".join(f"{k} {v:,.2f}" for k, v in one.items()), flush=True)
    print(f"\n{len(texts)} texts, median of {options.rounds} rounds")
    print(
        "| way | documents/s | share of the encoder's rate | client CPU s | service CPU s |"
        " the encoder's part of the CPU |"
    )
    print("|---|---|---|---|---|---|")
    rate, cpu = statistics.median(alone), statistics.median(spent)
    print(f"| encoder alone | {rate:,.0f} | 1 | {cpu:.1f} | | 1 |")
    for way, rounds in found.items():
        row = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
        print(
            f"| {way} | {row['rate']:,.0f} | {row['share']:.2f} | {row['client_s']:.1f} | "
            f"{row['service_s']:.1f} | {row['of_cpu']:.2f} |"
        )


if __name__ == "__main__":
    main()
