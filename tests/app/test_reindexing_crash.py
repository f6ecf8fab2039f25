"""SIGKILL in the middle of encoding a collection anew: the old one or the new one is there."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from app.guard import REINDEX
from app.hidden import hidden_name
from app.retrieval.edge import EdgeStore
from app.retrieval.store import Document

ROOT = Path(__file__).parents[2]
COUNT = 1500
WORKER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from app.binding import options_for
from app.guard import WriteGuard
from app.reindexing import Reindexer
from app.retrieval.edge import EdgeStore

class Encoder:
    model_id, dim, precision, document_room = "new@000000000000", 4, "fp32", 100
    manifest = SimpleNamespace(prompts=SimpleNamespace(document=""))
    token_starts = None
    def encode(self, texts, input_type, *, priority):
        time.sleep(0.05)
        return SimpleNamespace(vectors=np.tile(np.eye(4, dtype=np.float32)[1:2], (len(texts), 1)))

state = Path(sys.argv[1])
store, encoder = EdgeStore.open(state), Encoder()
reindexer = Reindexer(store, encoder, WriteGuard(), state / ".reindex", alone=True)
reindexer.resume()
if reindexer.progress("a") is None and store.describe("a").model != encoder.model_id:
    reindexer.begin("a", options_for(encoder))
print("begun", flush=True)
while (now := reindexer.progress("a")) is not None and now.state != "done":
    assert now.state in ("waiting", "running"), now
    time.sleep(0.005)
reindexer.close()
store.close()
"""


def start(state: Path) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(state)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begun\n"
    return worker


def look(state: Path) -> tuple[str, int, list[str]]:
    store = EdgeStore.open(state, reserve_bytes=0)
    try:
        found = store.describe("a")
        return found.model, found.count, [one.name for one in store.collections()]
    finally:
        store.close()


def test_killed_reindex_leaves_one_whole_collection_and_goes_on(tmp_path: Path) -> None:
    store = EdgeStore.open(tmp_path, reserve_bytes=0)
    store.create("a", 3, "old@000000000000")
    documents = [Document(f"d{n}", f"text {n}") for n in range(COUNT)]
    store.upsert("a", documents, np.tile(np.eye(3, dtype=np.float32)[:1], (COUNT, 1)))
    store.close()
    rng = random.Random(0)
    kills = 0
    while kills < 3:
        worker = start(tmp_path)
        time.sleep(rng.uniform(0.0, 0.4))
        worker.send_signal(signal.SIGKILL)
        worker.communicate()
        kills += 1
        model, count, names = look(tmp_path)
        assert model in ("old@000000000000", "new@000000000000")
        assert count == COUNT
        assert set(names) <= {"a", hidden_name(REINDEX, "a")}
    worker = start(tmp_path)
    worker.communicate()
    assert worker.returncode == 0
    assert look(tmp_path) == ("new@000000000000", COUNT, ["a"])
    assert list((tmp_path / ".reindex").iterdir()) == []
