"""What was acknowledged is there after SIGKILL: a writer process, killed at random moments."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.retrieval.edge import EdgeStore
from app.retrieval.store import Document

DIM = 16
BATCH = 20
ROUNDS = int(os.environ.get("TYNTEGRA_TEST_KILLS", "8"))
ROOT = Path(__file__).resolve().parents[2]

# Each line: [operation number, "upsert" | "delete", ids, version]. "begin" goes out before the
# call and "end" after it, so an operation is acknowledged, or in flight, or was never tried.
WRITER = """
import json, random, sys
from pathlib import Path
import numpy as np
from app.retrieval.edge import EdgeStore
from app.retrieval.store import Document

root, seed, first, dim, batch, index = Path(sys.argv[1]), *map(int, sys.argv[2:7])
store = EdgeStore.open(root, reserve_bytes=0)
store.create("demo", dim, "m")
rng = random.Random(seed)
def say(*parts):
    sys.stdout.write(json.dumps(parts) + "\\n"); sys.stdout.flush()
say("ready")
for number in range(first, first + 10**6):
    ids = [f"d{i}" for i in rng.sample(range(400), batch)]
    kind = "delete" if rng.random() < 0.3 else "upsert"
    say("begin", number, kind, ids)
    if kind == "upsert":
        rows = np.random.default_rng(number).normal(size=(batch, dim)).astype(np.float32)
        texts = [Document(i, f"{i} at {number}", "eng_Latn", {"v": number}) for i in ids]
        store.upsert("demo", texts, rows)
    else:
        store.delete("demo", ids)
    say("end", number)
    if index and number % 15 == 0:
        store._table.find("demo").build()
    elif number % 40 == 0:
        store.flush("demo")
"""


def vector_of(doc_id, number, ids):
    rows = np.random.default_rng(number).normal(size=(BATCH, DIM)).astype(np.float32)
    return rows[ids.index(doc_id)]


def run_until_killed(root, seed, first, delay_s, index=False, acknowledge_early=False):
    """Run the writer, kill it after a delay, and return the complete lines that it wrote."""
    script = WRITER
    if acknowledge_early:  # The negative control: the reply leaves before the work
        script = script.replace('    say("end", number)\n', "").replace(
            '    if kind == "upsert":', '    say("end", number)\n    if kind == "upsert":', 1
        )
    arguments = [str(root), str(seed), str(first), str(DIM), str(BATCH), str(int(index))]
    with subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert json.loads(writer.stdout.readline()) == ["ready"]
        deadline = time.monotonic() + delay_s
        while time.monotonic() < deadline:
            time.sleep(0.001)
        writer.send_signal(signal.SIGKILL)
        lines = [line for line in writer.stdout.read().split("\n")[:-1] if line]
    assert writer.returncode == -signal.SIGKILL
    return [json.loads(line) for line in lines]


class Ledger:
    """What the acknowledged operations add up to, and the one that may have been in flight."""

    def __init__(self):
        self.state: dict[str, tuple[int, list[str]]] = {}
        self.next = 0
        self.pending = None

    def read(self, lines):
        self.pending = None
        for line in lines:
            if line[0] == "begin":
                self.pending = line[1:]
                self.next = line[1] + 1
            else:
                assert self.pending is not None
                self.apply(*self.pending)
                self.pending = None

    def apply(self, number, kind, ids):
        for doc_id in ids:
            if kind == "upsert":
                self.state[doc_id] = (number, ids)
            else:
                self.state.pop(doc_id, None)

    def compare(self, root):
        """Return (lost, stale, resurrected, partial batches) of the reopened store."""
        store = EdgeStore.open(root, reserve_bytes=0)
        try:
            assert store.unavailable() == {}
            found = {d.doc_id: d for d in store.get("demo", [f"d{i}" for i in range(400)])}
            assert store.count("demo") == len(found)
            partial = self.settle(found)
            lost = self.state.keys() - found.keys()
            back = found.keys() - self.state.keys()
            stale = [
                doc_id
                for doc_id, document in found.items()
                if doc_id in self.state and document != self.expected(doc_id)
            ]
            sample = sorted(self.state)[:20]
            rows = np.stack([vector_of(d, *self.state[d]) for d in sample])
            for doc_id, hits in zip(sample, store.search("demo", rows, 1), strict=True):
                if hits[0].document.doc_id != doc_id or hits[0].score < 0.999:
                    stale.append(doc_id)
            return len(lost), len(stale), len(back), partial
        finally:
            store.close()

    def settle(self, found):
        """Decide from one document whether the operation in flight took place; count the halves."""
        if self.pending is None:
            return 0
        number, kind, ids = self.pending
        if kind == "upsert":
            done = [i in found and found[i].metadata["v"] == number for i in ids]
        else:
            done = [i not in found for i in ids if i in self.state]
        if any(done):
            self.apply(number, kind, ids)
        return int(any(done) and not all(done))

    def expected(self, doc_id):
        number, _ = self.state[doc_id]
        return Document(doc_id, f"{doc_id} at {number}", "eng_Latn", {"v": number})


@pytest.mark.parametrize("index", [False, True], ids=["writing", "writing and building"])
def test_sigkill_at_random_moments_loses_nothing_acknowledged(tmp_path, index):
    ledger, moments = Ledger(), random.Random(1)
    operations = 0
    for seed in range(ROUNDS if not index else max(3, ROUNDS // 2)):
        lines = run_until_killed(tmp_path, seed, ledger.next, moments.uniform(0.0, 0.8), index)
        operations += len(lines) // 2
        ledger.read(lines)
        assert ledger.compare(tmp_path) == (0, 0, 0, 0)
    assert operations > 20
    assert len(ledger.state) > 100


def test_sigkill_with_replies_sent_before_the_work_is_caught(tmp_path):
    ledger, moments = Ledger(), random.Random(2)
    wrong = 0
    for seed in range(20):
        lines = run_until_killed(
            tmp_path, seed, ledger.next, moments.uniform(0.05, 0.2), acknowledge_early=True
        )
        ledger.read(lines)
        lost, stale, back, _ = ledger.compare(tmp_path)
        wrong += lost + stale + back
        if wrong:
            return
    pytest.fail("20 kills of a writer that replies too early went unnoticed")


def test_sigkill_while_creating_and_dropping_leaves_whole_collections(tmp_path):
    script = """
import sys
from pathlib import Path
from app.retrieval.edge import EdgeStore
store = EdgeStore.open(Path(sys.argv[1]), reserve_bytes=0)
print("ready", flush=True)
while True:
    for name in "abc":
        store.create(name, 4, "m")
    for name in "abc":
        store.drop(name)
"""
    moments = random.Random(3)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 1.0))
            writer.kill()
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
        assert store.unavailable() == {}
        for collection in store.collections():
            assert collection.count == 0
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"store.lock"} | {c.name for c in store.collections()}
        store.close()
