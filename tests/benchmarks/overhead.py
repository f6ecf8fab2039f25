"""CPU that the HTTP service takes for a request when the model takes none.

    python tests/benchmarks/overhead.py [--rounds 15] [--requests 1000]

Real uvicorn processes with a stubbed encoder, authentication, limits, metrics and request ids on,
beside a bare ASGI application that does the least one can: parse the body, write a vector. All are
asked in turn, in rounds, by this process over 8 kept connections. What counts is the CPU time of
all threads of a server, from ``/proc/<pid>/task/*/schedstat`` (Linux, nanoseconds): unlike wall
time it hardly depends on what else the machine does.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import uvicorn
from pydantic import BaseModel

from app.api.state import Openers
from app.main import create_app
from app.server import bind, build_server
from app.settings import Settings

DIM = 384
KEY = "benchmark"
CONNECTIONS = 8
TEXT = "Habari ya asubuhi kutoka Dar es Salaam, mvua inanyesha tangu jana usiku."
VECTOR = np.random.default_rng(0).standard_normal(DIM).astype(np.float32)
VECTOR /= np.linalg.norm(VECTOR)

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class _Manifest(BaseModel):
    name: str = "stub"


class StubEncoder:
    """Answers the same vector at once, so that what is left is the service around it."""

    model_id, dim = "stub@000000000000", DIM
    provider, precision = "none", "fp32"
    manifest = _Manifest()
    waiting_texts = 0

    async def encode_async(self, texts: Sequence[str], *_: Any, **__: Any) -> Any:
        """Answer without a model."""
        return SimpleNamespace(
            vectors=np.repeat(VECTOR[None], len(texts), axis=0),
            truncated=[False] * len(texts),
            tokens=12 * len(texts),
            lengths=[12] * len(texts),
            windows=[1] * len(texts),
            timings=SimpleNamespace(tokenize_s=0.0, queue_s=0.0, inference_s=0.0),
        )

    def healthy(self) -> None:
        """Always."""

    def close(self) -> None:
        """Nothing to close."""


class _NoStore:
    def collections(self) -> list[Any]:
        return []

    def close(self) -> None:
        """Nothing to close."""


async def bare(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The floor: an ASGI application without framework, checks, metrics or keys."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    texts = [orjson.loads(body)["inputs"]]
    rows = np.repeat(VECTOR[None], len(texts), axis=0)
    answer = orjson.dumps({"embeddings": rows}, option=orjson.OPT_SERIALIZE_NUMPY)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(answer)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def serve(kind: str, keys: str) -> None:
    """Run a server of one kind on a free port, which is printed first."""
    with bind("127.0.0.1", 0) as listener:
        if kind == "bare":
            config = uvicorn.Config(bare, loop="uvloop", http="httptools", access_log=False)
            config.log_level = "error"
            server = uvicorn.Server(config)
        else:
            chosen = {"demo": False, "log": "error", "keys": keys, "cache_mb": kind == "cached"}
            settings = Settings.model_validate(chosen)
            stub: Any = StubEncoder()
            store: Any = _NoStore()
            app = create_app(settings, openers=Openers(lambda _: stub, lambda _: store))
            server = build_server(app, settings)
        print(listener.getsockname()[1], flush=True)
        asyncio.run(server.serve([listener]))


@dataclass
class Case:
    """One kind of request to one server."""

    name: str
    pid: int
    connections: list[socket.socket]
    request: bytes

    def round(self, requests: int) -> float:
        """Send requests, one at a time on each connection; returns CPU ms of the server each."""
        before = cpu_ns(self.pid)
        for _ in range(requests // len(self.connections)):
            for connection in self.connections:
                connection.sendall(self.request)
            for connection in self.connections:
                status = read_answer(connection)
                if status != 200:
                    raise SystemExit(f"{self.name} answered {status}")
        done = requests // len(self.connections) * len(self.connections)
        return (cpu_ns(self.pid) - before) / done / 1e6


def cpu_ns(pid: int) -> int:
    """CPU time of all threads of a process in nanoseconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def read_answer(connection: socket.socket) -> int:
    """Read one answer to its end; returns its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65_536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65_536)
    return int(head[9:12])


def written(path: str, body: dict[str, Any]) -> bytes:
    """A request as it goes over the wire."""
    content = json.dumps(body).encode()
    lines = (
        f"POST {path} HTTP/1.1",
        "host: localhost",
        f"authorization: Bearer {KEY}",
        "content-type: application/json",
        f"content-length: {len(content)}",
    )
    return "\r\n".join([*lines, "", ""]).encode() + content


@contextlib.contextmanager
def server(kind: str, keys: str) -> Iterator[tuple[int, int]]:
    """Run a server in a process of its own; yields its process and port."""
    command = [sys.executable, __file__, "--serve", kind, "--keys", keys]
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait(20)


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bare ASGI": ("bare", "/", {"inputs": TEXT}),
    "/embed": ("tyntegra", "/embed", {"inputs": TEXT}),
    "/embed base64": ("tyntegra", "/embed", {"inputs": TEXT, "encoding_format": "base64"}),
    "/embed, in the cache": ("cached", "/embed", {"inputs": TEXT}),
    "/v1/embeddings base64": (
        "tyntegra",
        "/v1/embeddings",
        {"input": TEXT, "model": "stub", "encoding_format": "base64"},
    ),
}


def measure(rounds: int, requests: int) -> dict[str, list[float]]:
    """CPU ms a request, for each case and round; the cases take turns."""
    with contextlib.ExitStack() as stack:
        keys = stack.enter_context(tempfile.NamedTemporaryFile("w", suffix=".keys"))
        keys.write(hashlib.sha256(KEY.encode()).hexdigest())
        keys.flush()
        running = {
            kind: stack.enter_context(server(kind, keys.name))
            for kind in dict.fromkeys(kind for kind, _, _ in CASES.values())
        }
        cases: list[Case] = []
        for name, (kind, path, body) in CASES.items():
            pid, port = running[kind]
            connections = [
                stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
                for _ in range(CONNECTIONS)
            ]
            cases.append(Case(name, pid, connections, written(path, body)))
        for case in cases:
            case.round(200)  # imports, caches
        found: dict[str, list[float]] = {case.name: [] for case in cases}
        for _ in range(rounds):
            for case in cases:
                found[case.name].append(case.round(requests))
        return found


def main() -> None:
    """Print CPU ms a request: median, quantiles of rounds, and the median over the floor's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=("bare", "tyntegra", "cached"), help=argparse.SUPPRESS)
    parser.add_argument("--keys", default="", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of each case (15)")
    parser.add_argument("--requests", type=int, default=1000, help="requests of a round (1000)")
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.keys)
        return
    found = measure(options.rounds, options.requests)
    floor = statistics.median(found["bare ASGI"])
    print(f"{'CPU ms a request':22}{'median':>8}{'p10':>8}{'p90':>8}{'over the floor':>16}")
    for name, values in found.items():
        low, *_, high = statistics.quantiles(values, n=10)
        middle = statistics.median(values)
        print(f"{name:22}{middle:8.3f}{low:8.3f}{high:8.3f}{middle - floor:16.3f}")


if __name__ == "__main__":
    main()
