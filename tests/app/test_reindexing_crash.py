"""SIGKILL in the middle of encoding a collection anew: the old one or the new one is there.

With all that was acknowledged meanwhile.
"""

import json
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
import json, random, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from app.binding import options_for
from app.guard import HeldUpError, WriteGuard
from app.reindexing import Reindexer
from app.retrieval.edge import EdgeStore
from app.retrieval.store import Document

class Encoder:
    model_id, dim, precision, document_room = "new@000000000000", 4, "fp32", 100
    manifest = SimpleNamespace(prompts=SimpleNamespace(document=""))
    token_starts = None
    def encode(self, texts, input_type, *, priority):
        time.sleep(0.05)
        return SimpleNamespace(vectors=np.tile(np.eye(4, dtype=np.float32)[1:2], (len(texts), 1)))

state = Path(sys.argv[1])
store, encoder, guard = EdgeStore.open(state), Encoder(), WriteGuard()
reindexer = Reindexer(store, encoder, guard, state / ".reindex", alone=True)
reindexer.resume()
if reindexer.progress("a") is None and store.describe("a").model != encoder.model_id:
    reindexer.begin("a", options_for(encoder))
print("begun", flush=True)
round, rng = sys.argv[2], random.Random(sys.argv[2])
while len(sys.argv) > 3 and reindexer.progress("a") is not None:  # Write until killed
    number = rng.randrange(1600)  # 100 of them are new
    name = f"d{number}"
    try:
        with guard.writing(store, "a", [name]):
            if rng.random() < 0.3:
                what = None
                print(json.dumps([name, what, "begins"]), flush=True)
                store.delete("a", [name])
            else:
                what = f"text {number} of {round} {rng.random()}"
                print(json.dumps([name, what, "begins"]), flush=True)
                row = np.eye(store.describe("a").dim, dtype=np.float32)[:1]
                store.upsert("a", [Document(name, what)], row)
    except HeldUpError:
        continue
    state = reindexer.progress("a").state
    print(json.dumps([name, what, "exchanged" if state == "done" else "done"]), flush=True)
    time.sleep(0.005)
while (now := reindexer.progress("a")) is not None and now.state != "done":
    assert now.state in ("waiting", "running"), now
    time.sleep(0.005)
reindexer.close()
store.close()
"""


def start(state: Path, *arguments: str) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(state), *(arguments or ("",))],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
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


def filled(state: Path) -> dict[str, str | None]:
    store = EdgeStore.open(state, reserve_bytes=0)
    store.create("a", 3, "old@000000000000")
    documents = [Document(f"d{n}", f"text {n}") for n in range(COUNT)]
    store.upsert("a", documents, np.tile(np.eye(3, dtype=np.float32)[:1], (COUNT, 1)))
    store.close()
    return {document.doc_id: document.text for document in documents}


def test_killed_reindex_keeps_what_was_acknowledged_meanwhile(tmp_path: Path) -> None:
    known, rng, model, kill = filled(tmp_path), random.Random(0), "", 0
    while model != "new@000000000000":
        worker = start(tmp_path, str(kill), "write")
        lines = list[list[str]]()
        if kill < 3:
            read_until(worker, lines, "done", rng.randrange(1, 60))
        else:
            read_until(worker, lines, "exchanged", 5)
        worker.send_signal(signal.SIGKILL)
        lines += [json.loads(line) for line in worker.communicate()[0].split("\n")[:-1]]
        pending = lines.pop() if lines[-1][2] == "begins" else [None, None]
        known |= {name: text for name, text, said in lines if said != "begins"}
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
        found = {one.doc_id: one.text for one in store.scan("a", None, 2000).documents}
        model = store.describe("a").model
        store.close()
        wrong = {n: (t, found.get(n)) for n, t in known.items() if found.get(n) != t}
        assert all([name, now] == pending[:2] for name, (_, now) in wrong.items()), wrong
        assert not (found.keys() - known.keys() - {pending[0]})
        known |= {name: now for name, (_, now) in wrong.items()}
        kill += 1
    assert any(text is None for text in known.values())


def read_until(worker: subprocess.Popen[str], lines: list[list[str]], said: str, most: int) -> None:
    """Read what a worker says until it has said something so often."""
    assert worker.stdout is not None
    while sum(line[2] in (said, "exchanged") for line in lines) < most:
        lines.append(json.loads(worker.stdout.readline()))


def test_killed_reindex_leaves_one_whole_collection_and_goes_on(tmp_path: Path) -> None:
    filled(tmp_path)
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
