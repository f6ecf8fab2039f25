"""A small data folder in the shape of the real one, so that training is tested without corpora."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.config import TrainConfig

LANGS = ("fra_Latn", "swh_Latn", "rus_Cyrl")
CONFIG = {
    "run": {"name": "unit", "threads": 1},
    "tokenizer": {"vocab_size": 400, "sample_characters": 20_000, "romanize": False},
    "encoder": {"kind": "static", "dim": 16, "max_tokens": 32},
    "corpora": {"weights": {"nllb-seed": 1.0, "wikipedia-app": 0.5}},
    "batches": {"pairs": 16},
    "loss": {},
    "optim": {"steps": 8, "lr": 0.01, "warmup": 2},
}


def sentences(count: int, lang: str, seed: int = 0) -> list[str]:
    """Sentences over 60 invented words; the same ones, word by word, in each language."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, 60, rng.integers(6, 12)) for _ in range(count)]
    letters = "бвгдзклмнпрстж" if lang == "rus_Cyrl" else "bcdfghjklmnprs"
    vowels = "аеиоу" if lang == "rus_Cyrl" else "aeiou"
    names = np.random.default_rng(sum(map(ord, lang)))
    words = [
        "".join(letters[names.integers(14)] + vowels[names.integers(5)] for _ in range(3))
        for _ in range(60)
    ]
    return [" ".join(words[index] for index in row) for row in rows]


def write_bitext(folder: Path, name: str, count: int, seed: int) -> None:
    english = sentences(count, "eng_Latn", seed)
    columns = {
        "lang_a": ["eng_Latn"] * count * len(LANGS),
        "lang_b": [lang for lang in LANGS for _ in range(count)],
        "text_a": english * len(LANGS),
        "text_b": [text for lang in LANGS for text in sentences(count, lang, seed)],
    }
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "bitext").mkdir()
    (folder / "eval").mkdir()
    write_bitext(folder / "bitext", "nllb-seed", 60, seed=1)
    write_bitext(folder / "bitext", "wikipedia-app", 30, seed=2)
    flores = {lang: sentences(20, lang, seed=3) for lang in ("eng_Latn", *LANGS)}
    pq.write_table(pa.table(flores), folder / "eval" / "flores200-dev.parquet")
    tatoeba = {
        "lang": ["fra"] * 12 + ["rus"] * 8,
        "text": flores["fra_Latn"][:12] + flores["rus_Cyrl"][12:],
        "english": flores["eng_Latn"],
    }
    pq.write_table(pa.table(tatoeba), folder / "eval" / "tatoeba-v1.parquet")
    return folder


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig.model_validate(CONFIG)


@pytest.fixture(scope="session")
def peak_of() -> Callable[[Callable[[], object]], int]:
    """Runs a function and returns the most bytes that torch held at a time."""
    from torch.profiler import ProfilerActivity, profile

    def measure(work: Callable[[], object]) -> int:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
            work()
        profiler: Any = found.profiler  # its raw events: the averages know no order
        events = profiler.kineto_results.events()
        changes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
        held = np.cumsum([size for _, size in sorted(changes, key=lambda change: change[0])])
        return int(held.max())

    return measure


SERVER = """
import itertools, json, os, resource, signal, sys
from pathlib import Path
import training.checkpoint
from training.__main__ import main
from transformers import AutoModel, BertConfig, BertModel

def die_at(number):
    # SIGKILL at the n-th thing that saving does to the disk; a file is then half written.
    count = itertools.count(1)
    def dying(real, path_of):
        def operation(*arguments, **options):
            last = next(count) == number
            if last and path_of is None:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*arguments, **options)
            if last:
                path = path_of(arguments)
                os.truncate(path, os.path.getsize(path) // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return operation
    Path.rename = dying(Path.rename, None)
    Path.replace = dying(Path.replace, None)
    Path.write_text = dying(Path.write_text, lambda arguments: arguments[0])
    save_file = training.checkpoint.save_file
    training.checkpoint.save_file = dying(save_file, lambda arguments: arguments[1])

print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    child = os.fork()
    if not child:
        status = 99
        try:
            for number, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.environ.update(order["environ"])
            signal.signal(signal.SIGINT, signal.default_int_handler)
            if order["room"]:
                resource.setrlimit(resource.RLIMIT_FSIZE, (order["room"], order["room"]))
            if order["die_at"]:
                die_at(order["die_at"])
            status = main(order["arguments"])
        except SystemExit as error:
            status = error.code
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass(frozen=True)
class Started:
    """A process of ``python -m training``."""

    pid: int
    server: "subprocess.Popen[str]"
    errors: Path

    def wait(self) -> int:
        assert self.server.stdout
        return int(self.server.stdout.readline())

    def kill(self, number: int) -> int:
        os.kill(self.pid, number)
        return self.wait()


class Launcher:
    """Starts processes of ``python -m training`` by fork of one that has imported all of it.

    They are real processes, with signals and deaths of their own; only the ten seconds that the
    imports take are spent once. One at a time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._server.stdout
        assert self._server.stdout.readline() == "ready\n"

    def start(self, *arguments: str, data: Path, die_at: int = 0, room: int = 0) -> Started:
        """Start; ``die_at`` the n-th operation of a save, or with ``room`` bytes for a file."""
        assert self._server.stdin
        assert self._server.stdout
        order: dict[str, Any] = {
            "arguments": arguments,
            "environ": {"TYNTEGRA_DATA": str(data)},
            "out": str(self._folder / "out"),
            "err": str(self._folder / "err"),
            "die_at": die_at,
            "room": room,
        }
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        pid = int(self._server.stdout.readline())
        return Started(pid, self._server, self._folder / "err")

    def stop(self) -> None:
        self._server.send_signal(signal.SIGKILL)
        self._server.communicate()


@pytest.fixture(scope="session")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path_factory.mktemp("launcher"))
    yield launcher
    launcher.stop()
