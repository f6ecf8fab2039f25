"""SIGKILL at random moments of ingest, for the retrieval benchmark: what is lost, and how long.

A child process writes documents of one to three passages into a store that has some already and
says which calls returned; it is killed, and the store opened and compared.
"""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from retrieval_corpus import DIM, NAME, lang_of

from app.retrieval.documents import Document, Span
from app.retrieval.edge import EdgeStore
from app.retrieval.filters import In

_BATCH = 50
_POOL = 2_000


def written(number: int, version: int) -> tuple[Document, list[Span]]:
    """Make the document of a number as a version wrote it, with its passages."""
    words = [f"d{number}v{version}p{part}" for part in range((number + version) % 3 + 1)]
    starts = np.cumsum([0, *(len(word) + 1 for word in words)])
    document = Document(f"k{number}", " ".join(words), lang_of(number), {"v": version})
    spans = zip(starts.tolist(), words, strict=False)
    return document, [(start, start + len(word)) for start, word in spans]


def rows_of(number: int, version: int, passages: int) -> NDArray[np.float32]:
    """Make a document's vectors, shape (passages, DIM)."""
    rows = np.random.default_rng((number, version)).normal(size=(passages, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_until_killed(root: Path, first: int) -> None:
    """Write batches for ever, saying when each begins and has returned."""
    store = EdgeStore.open(root)
    rng = random.Random(first)
    for version in range(first, first + 10**6):
        numbers = rng.sample(range(_POOL), _BATCH)
        say(["begin", version, numbers])
        made = [written(number, version) for number in numbers]
        rows = [
            rows_of(number, version, len(spans))
            for number, (_, spans) in zip(numbers, made, strict=True)
        ]
        documents, spans = [document for document, _ in made], [spans for _, spans in made]
        store.upsert(NAME, documents, np.concatenate(rows), spans)
        say(["end", version])


def say(line: list[object]) -> None:
    """Write a line that is whole or not there."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def kill_rounds(root: Path, rounds: int, *, others: int) -> dict[str, object]:
    """Kill a writer at random moments and compare what it leaves each time.

    Args:
        root: The store, closed; its collection stays as it is but for the documents written.
        rounds: How many kills.
        others: Documents that the collection has beside those of the writer.
    """
    moments, state = random.Random(0), versions_in(root)
    # Above all that is there: else what an earlier driver wrote looks like half of a later call
    version = max(state.values(), default=0)
    lost = halves = acknowledged = 0
    opened: list[float] = []
    for _ in range(rounds):
        lines = _killed(root, version + 1, moments.uniform(0.05, 1.5))
        pending: list[int] = []
        for line in lines:
            if line[0] == "begin":
                version, pending = line[1], line[2]
            else:
                state |= dict.fromkeys(pending, line[1])
                acknowledged += len(pending)
                pending = []
        began = time.perf_counter()
        store = EdgeStore.open(root)
        opened.append(time.perf_counter() - began)
        found = _found(store)
        now = {number: found.get(number, (0, False))[0] for number in state}
        lost += sum(now[n] != state[n] and not (n in pending and now[n] == version) for n in state)
        halves += sum(not whole for _, whole in found.values())
        in_flight = {number: found.get(number, (0, False))[0] == version for number in pending}
        halves += int(any(in_flight.values()) and not all(in_flight.values()))
        state |= {number: version for number, done in in_flight.items() if done}
        lost += int(store.count(NAME) != others + len(found))
        store.close()
    return {
        "kills": rounds,
        "acknowledged": acknowledged,
        "lost": lost,
        "half_documents": halves,
        "open_after_kill_s": {
            "median": round(float(np.median(opened)), 2),
            "max": round(max(opened), 2),
        },
    }


def versions_in(root: Path) -> dict[int, int]:
    """Read which documents of earlier drivers a store has, with their versions."""
    store = EdgeStore.open(root)
    found = {number: version for number, (version, _) in _found(store).items()}
    store.close()
    return found


def _found(store: EdgeStore) -> dict[int, tuple[int, bool]]:
    """Read the writer's documents: the version of each, and whether it is as it was written."""
    found: dict[int, tuple[int, bool]] = {}
    names = [f"k{number}" for number in range(_POOL)]
    for document in store.get(NAME, names):
        number, version = int(document.doc_id[1:]), int(document.metadata["v"])
        expected, spans = written(number, version)
        row = rows_of(number, version, len(spans))[-1:]
        # Among its own passages alone: thousands are asked for, and without an index.
        hit = store.search(NAME, row, 1, In("doc_id", (document.doc_id,)))[0][0]
        found[number] = (
            version,
            document == expected
            and hit.document == expected
            and hit.score > 0.9999
            and hit.span == (spans[-1] if len(spans) > 1 else None),
        )
    return found


def _killed(root: Path, first: int, delay_s: float) -> list[list]:
    command = [sys.executable, __file__, str(root), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        line = writer.stdout.readline()
        time.sleep(delay_s)
        writer.kill()
        rest = writer.stdout.read()
    return [json.loads(text) for text in (line + rest).split("\n")[:-1] if text]


if __name__ == "__main__":
    write_until_killed(Path(sys.argv[1]), int(sys.argv[2]))
