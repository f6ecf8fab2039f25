r"""Texts a second over HTTP against raw ONNX Runtime and against other servers, in one run.

    python tests/benchmarks/serving/compare.py --artifact minilm=ARTIFACT:fp32 \
        --sentence-transformers st=ENV/bin/python:MODEL:torch \
        --infinity inf=ENV/bin/python:MODEL:torch

All servers stay up for the whole run and take turns: a round measures each target once at each
shape (clients x texts a post), raw ONNX Runtime between them, in an order that changes by round.
Ratios are of neighbors in time; their medians over the rounds are printed as a table, then all
figures as JSON. The corpus is the docstrings of the standard library: 85 in 100 texts a sentence,
15 a paragraph. Other engines live in environments of their own: infinity-emb[torch,optimum,server]
with a folder that has model.onnx at its top, sentence-transformers with or without its onnx extra.
"""

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from texts import docstrings

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SHAPES = ["1x1", "8x1", "32x1", "1x32", "8x32", "32x32"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}


@dataclass
class Target:
    """A server under test: its process, where to post and what to call the texts."""

    name: str
    command: list[str]
    path: str
    texts_key: str
    port: int
    model: str = ""
    env: dict[str, str] = field(default_factory=dict)
    folder: str | None = None
    ready_s: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}{self.path}"

    def start(self, log: Path) -> None:
        """Start and wait for the first answer."""
        begun = time.perf_counter()
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                self.command,
                env={**os.environ, **OFFLINE, **self.env},
                stdout=out,
                stderr=out,
                cwd=self.folder,
            )
        body = json.dumps(
            {self.texts_key: ["warm"], **({"model": self.model} if self.model else {})}
        )
        while not self._answers(body.encode()):
            if self.process.poll() is not None or time.perf_counter() - begun > 180:
                raise SystemExit(f"{self.name} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        self.ready_s = time.perf_counter() - begun

    def _answers(self, body: bytes) -> bool:
        request = urllib.request.Request(
            self.url, body, headers={"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status == 200
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise SystemExit(f"{self.name}: {error.code} {error.read()[:500]!r}") from None
            return False
        except OSError:
            return False

    def memory_mb(self) -> dict[str, float]:
        """Read resident memory, now and at its peak, of the process and its children."""
        total = {"VmHWM": 0.0, "VmRSS": 0.0}
        pids = [self.process.pid] if self.process else []
        for pid in pids:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            pids.extend(map(int, children))
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                key, _, value = line.partition(":")
                if key in total:
                    total[key] += int(value.split()[0]) / 1024
        return total

    def load(self, corpus: Path, shape: str, seconds: float, seed: int) -> dict[str, Any]:
        """Measure one shape from another process."""
        clients, texts = shape.split("x")
        command = [sys.executable, str(HERE / "load.py"), "--url", self.url, "--corpus"]
        command += [str(corpus), "--clients", clients, "--texts", texts, "--field", self.texts_key]
        command += ["--seconds", str(seconds), "--model", self.model, "--seed", str(seed)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{self.name} at {shape}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def stop(self) -> None:
        """End the server."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(timeout=60)


class Raw:
    """An encoder without a server, in a process that waits to be told how many texts to encode."""

    def __init__(self, name: str, command: list[str], corpus: Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [*command, "--corpus", str(corpus)],
            env={**os.environ, **OFFLINE, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._read()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        while (
            not (line := self._process.stdout.readline()).strip().startswith(('"', *"0123456789"))
        ):
            if not line:
                raise SystemExit(f"{self.name} ended before it answered")
        return json.loads(line)

    def texts_per_s(self, count: int) -> float:
        """Encode the first ``count`` texts of the corpus."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return count / self._read()

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ours(name: str, artifact: str, precision: str, state: Path, settings: list[str]) -> Target:
    """Describe our service on an artifact."""
    port = free_port()
    env = {
        "TYNTEGRA_PORT": str(port),
        "TYNTEGRA_STATE": str(state),
        "TYNTEGRA_DEMO": "false",
        "TYNTEGRA_ARTIFACT": artifact,
        "TYNTEGRA_PRECISION": precision,
        "TYNTEGRA_MAX_TEXTS": "4096",
        "PYTHONPATH": str(ROOT),
        **dict(setting.split("=", 1) for setting in settings),
    }
    return Target(name, [sys.executable, "-m", "app", "serve"], "/embed", "inputs", port, env=env)


def infinity(name: str, python: str, model: str, engine: str) -> Target:
    """Describe infinity on a model's folder, with its defaults.

    It runs in that folder: its optimum engine finds a local ``model.onnx`` by a relative path only.
    """
    port = free_port()
    binary = str(Path(python).parent / "infinity_emb")
    command = [binary, "v2", "--model-id", ".", "--engine", engine, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--device", "cpu", "--no-bettertransformer"]
    command += ["--served-model-name", "m"]
    env = {"INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    return Target(name, command, "/embeddings", "input", port, "m", env, folder=model)


def table(figures: list[dict[str, Any]]) -> str:
    """Write medians over the rounds, with each target's share of raw."""
    grouped: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for one in figures:
        grouped[one["shape"], one["target"]].append(one)
    lines = [f"{'shape':>6} {'target':<16} {'texts/s':>9} {'of raw':>7} {'p50':>9} {'p99':>9} ms"]
    for (shape, target), some in grouped.items():
        medians = {
            key: statistics.median(one[key] for one in some)
            for key in ("texts_per_s", "of_raw", "p50_ms", "p99_ms")
        }
        lines.append(
            f"{shape:>6} {target:<16} {medians['texts_per_s']:9.1f} {medians['of_raw']:7.3f} "
            f"{medians['p50_ms']:9.1f} {medians['p99_ms']:9.1f}"
        )
    return "\n".join(lines)


def measure(
    targets: list[Target], raws: list[Raw], corpus: Path, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Let all targets take turns; raw ones before and after each shape of a round."""
    figures: list[dict[str, Any]] = []
    for number in range(options.rounds):
        for shape in options.shapes:
            order = random.Random(number).sample(targets, len(targets))
            before = {raw.name: raw.texts_per_s(options.raw_texts) for raw in raws}
            loads = {t.name: t.load(corpus, shape, options.seconds, number) for t in order}
            after = {raw.name: raw.texts_per_s(options.raw_texts) for raw in raws}
            means = {name: (before[name] + after[name]) / 2 for name in before}
            for name, found in loads.items():
                raw = means.get(name) or next(iter(means.values()))
                found |= {"of_raw": found["texts_per_s"] / raw, "raw_texts_per_s": means}
                figures.append({"round": number, "shape": shape, "target": name, **found})
                print(json.dumps(figures[-1]), flush=True)
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--artifact", action="append", default=[], metavar="NAME=FOLDER:PRECISION")
    add("--infinity", action="append", default=[], metavar="NAME=PYTHON:MODEL:ENGINE")
    add("--sentence-transformers", action="append", default=[], metavar="NAME=PYTHON:MODEL:BACKEND")
    add("--set", action="append", default=[], metavar="TYNTEGRA_X=Y", help="of our service")
    add("--shapes", nargs="+", default=SHAPES)
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=8.0)
    add("--texts", type=int, default=2000)
    add("--raw-texts", type=int, default=1000)
    options = parser.parse_args()
    print(json.dumps({"load": os.getloadavg(), "cpus": os.cpu_count()}))
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Path(scratch, "texts.json")
        corpus.write_text(json.dumps(docstrings(options.texts)))
        raws: list[Raw] = []
        targets: list[Target] = []
        try:
            for name, (folder, precision) in map(_named, options.artifact):
                command = [sys.executable, str(HERE / "raw.py"), "artifact", folder]
                raws.append(Raw(name, [*command, "--precision", precision], corpus))
                targets.append(ours(name, folder, precision, Path(scratch, name), options.set))
            for name, parts in map(_named, options.sentence_transformers):
                command = [parts[0], str(HERE / "raw.py"), "sentence-transformers", parts[1]]
                raws.append(Raw(name, [*command, "--backend", parts[2]], corpus))
            targets += [infinity(name, *parts) for name, parts in map(_named, options.infinity)]
            for target in targets:
                target.start(Path(scratch, f"{target.name}.log"))
            figures = measure(targets, raws, corpus, options)
            print(table(figures))
            for raw in {name for one in figures for name in one["raw_texts_per_s"]}:
                found = [one["raw_texts_per_s"][raw] for one in figures]
                print(f"raw {raw}: {statistics.median(found):.1f} texts/s")
            for target in targets:
                print(f"{target.name}: ready {target.ready_s:.1f} s, {target.memory_mb()}")
        finally:
            for one in (*targets, *raws):
                one.stop()
    print(json.dumps({"load": os.getloadavg()}))


def _named(text: str) -> tuple[str, list[str]]:
    name, _, rest = text.partition("=")
    return name, rest.split(":")


if __name__ == "__main__":
    main()
