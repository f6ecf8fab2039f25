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

from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore

DIM = 16

BATCH = 20

ROUNDS = int(os.environ.get("TYNTEGRA_TEST_KILLS", "8"))

ROOT = Path(__file__).resolve().parents[2]

# Each line: [operation number, "upsert" | "delete" | "where", ids]. "begin" goes out before the
# call and "end" after it, so an operation is acknowledged, or in flight, or was never tried.
WRITER = """
import json, random, sys
from pathlib import Path
sys.path.insert(0, "tests/app")
from app.retrieval.edge import EdgeStore
from app.retrieval.filters import In
from test_durability import GROUPS, NAMES, document_of, group_of, spans_of, vectors_of

root, seed, first, dim, batch, index = Path(sys.argv[1]), *map(int, sys.argv[2:7])
store = EdgeStore.open(root, reserve_bytes=0)
store.create("demo", dim, "m")
rng = random.Random(seed)
def say(*parts):
    sys.stdout.write(json.dumps(parts) + "\\n"); sys.stdout.flush()
say("ready")
for number in range(first, first + 10**6):
    ids = rng.sample(NAMES, batch)
    kind = rng.choices(["upsert", "delete", "where"], [0.7, 0.25, 0.05])[0]
    group = number % GROUPS
    if kind == "where":
        ids = [i for i in NAMES if group_of(i) == group]
    say("begin", number, kind, ids)
    if kind == "upsert":
        documents = [document_of(i, number) for i in ids]
        spans = [spans_of(d) for d in documents]
        store.upsert("demo", documents, vectors_of(ids, number), spans)
    elif kind == "delete":
        store.delete("demo", ids)
    else:
        store.delete_where("demo", In("metadata.group", (group,)))
    say("end", number)
    if index and number % 15 == 0:
        store._table.find("demo").build()
    elif number % 40 == 0:
        store.flush("demo")
"""

NAMES = [f"d{i}" for i in range(400)]

GROUPS = 7


def group_of(doc_id):
    return int(doc_id[1:]) % GROUPS


def parts_of(doc_id, number):
    """One to four passages, another number of them with each version."""
    return (int(doc_id[1:]) + number) % 4 + 1


def document_of(doc_id, number):
    text = " ".join(f"{doc_id}v{number}p{part}" for part in range(parts_of(doc_id, number)))
    return Document(doc_id, text, "eng_Latn", {"v": number, "group": group_of(doc_id)})


def spans_of(document):
    words = document.text.split(" ")
    starts = [sum(len(word) + 1 for word in words[:place]) for place in range(len(words))]
    return [(start, start + len(word)) for start, word in zip(starts, words, strict=True)]


def vectors_of(ids, number):
    """The rows of all passages of a batch, shape (passages, DIM)."""
    return np.concatenate([rows_of(doc_id, number) for doc_id in ids])


def rows_of(doc_id, number):
    rng = np.random.default_rng((int(doc_id[1:]), number))
    rows = rng.normal(size=(parts_of(doc_id, number), DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


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
        self.state: dict[str, int] = {}  # The number of the operation that wrote each document
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
                self.state[doc_id] = number
            else:
                self.state.pop(doc_id, None)

    def compare(self, root):
        """Return (lost, stale, resurrected, partial batches) of the reopened store."""
        store = EdgeStore.open(root, reserve_bytes=0)
        try:
            assert store.unavailable() == {}
            found = {d.doc_id: d for d in store.get("demo", NAMES)}
            assert store.count("demo") == len(found)
            partial = self.settle(found)
            lost = self.state.keys() - found.keys()
            back = found.keys() - self.state.keys()
            stale = [
                doc_id
                for doc_id, document in found.items()
                if doc_id in self.state and document != document_of(doc_id, self.state[doc_id])
            ]
            self.compare_passages(store.scan("demo", vectors=True))
            stale += self.missed(store)
            return len(lost), len(stale), len(back), partial
        finally:
            store.close()

    def compare_passages(self, page):
        """Every document has all its passages, with their vectors, and no others."""
        assert page.next is None
        rows = iter(page.vectors)
        for document, spans in zip(page.documents, page.spans, strict=True):
            assert spans == spans_of(document)
            expected = rows_of(document.doc_id, document.metadata["v"])
            np.testing.assert_allclose([next(rows) for _ in spans], expected, atol=1e-6)
        assert next(rows, None) is None

    def missed(self, store):
        """Name documents that a passage does not find by its vector and by its word."""
        sample = sorted(self.state)[:20]
        if not sample:
            return []
        rows = np.stack([rows_of(d, self.state[d])[-1] for d in sample])
        words = [document_of(d, self.state[d]).text.rpartition(" ")[2] for d in sample]
        by_vector, by_word = store.search("demo", rows, 1), store.match("demo", words, 1)
        return [
            doc_id
            for doc_id, near, same in zip(sample, by_vector, by_word, strict=True)
            if near[0].score < 0.999
            or [hit.document.doc_id for hit in near + same] != [doc_id, doc_id]
        ]

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


def test_sigkill_while_replacing_leaves_the_old_or_the_new(tmp_path):
    script = """
import sys
from pathlib import Path
sys.path.insert(0, "tests/app")
from app.retrieval.edge import EdgeStore
from test_durability import NAMES, document_of, spans_of, vectors_of
store = EdgeStore.open(Path(sys.argv[1]), reserve_bytes=0)
def fill(name, version):
    if any(c.name == name for c in store.collections()):
        store.drop(name)
    store.create(name, 16, "m")
    documents = [document_of(i, version) for i in NAMES[:60]]
    spans = [spans_of(d) for d in documents]
    store.upsert(name, documents, vectors_of(NAMES[:60], version), spans)
if not store.collections():
    fill("demo", 1)
first = store.get("demo", NAMES[:1])[0].metadata["v"]
print(first, flush=True)
for number in range(first + 1, 10**6):
    fill("next", number)
    store.replace("demo", "next")
    print(number, flush=True)
"""
    moments = random.Random(4)
    for _ in range(max(4, ROUNDS // 2)):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            acknowledged = int(writer.stdout.readline())
            time.sleep(moments.uniform(0.1, 1.2))
            writer.kill()
            for line in writer.stdout.read().split("\n")[:-1]:
                acknowledged = int(line)
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
        assert store.unavailable() == {}
        page = store.scan("demo")
        versions = {document.metadata["v"] for document in page.documents}
        assert versions <= {acknowledged, acknowledged + 1}
        assert len(versions) == 1
        (version,) = versions
        assert sorted(page.documents, key=lambda d: NAMES.index(d.doc_id)) == [
            document_of(doc_id, version) for doc_id in NAMES[:60]
        ]
        assert page.spans == [spans_of(document) for document in page.documents]
        names = {path.name for path in tmp_path.iterdir()}
        assert names <= {"store.lock", "demo", "next"}
        store.close()
