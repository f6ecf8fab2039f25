"""Encoding anew and snapshots on every engine, as the service does them."""

import time
from pathlib import Path
from typing import Any

import pytest

from app.binding import options_for
from app.guard import REINDEX, WriteGuard, exists
from app.hidden import hidden_name
from app.reencoding import Progress
from app.reindexing import Reindexer
from app.retrieval.store import Document, VectorStore
from app.snapshots import Snapshots
from app.windows import Windows

DOCUMENTS = [
    *(Document(f"d{n:03}", f"text number {n}", "eng_Latn", {"n": n}) for n in range(300)),
    Document("long", " ".join(f"w{n}" for n in range(20))),
]
ENDED = ("done", "failed", "cancelled", "interrupted")


@pytest.fixture
def encoder(fakes_module: Any) -> Any:
    return fakes_module()[0]


@pytest.fixture
def full(store: VectorStore, encoder: Any) -> VectorStore:
    """A store with a collection of an older encoder."""
    store.create("a", encoder.dim, "old@000000000000")
    store.upsert("a", DOCUMENTS, encoder.encode_document([d.text for d in DOCUMENTS]))
    return store


def ended(reindexer: Reindexer) -> Progress:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        progress = reindexer.progress("a")
        if progress is not None and progress.state in ENDED:
            return progress
        time.sleep(0.01)
    raise AssertionError


def test_reindex_interrupted_goes_on_and_switches(
    full: VectorStore, encoder: Any, tmp_path: Path
) -> None:
    options = options_for(encoder, {"n": "integer"}, Windows(8, 8))
    first = Reindexer(full, encoder, WriteGuard(), tmp_path / "notes")
    encode = encoder.encode

    def once(*args: Any, **kwargs: Any) -> Any:
        first.stop()
        return encode(*args, **kwargs)

    encoder.encode = once
    first.begin("a", options)
    first.close()
    assert ended(first).state == "interrupted"
    assert full.describe("a").model == "old@000000000000"
    assert exists(full, hidden_name(REINDEX, "a"))

    encoder.encode = encode
    second = Reindexer(full, encoder, WriteGuard(), tmp_path / "notes")
    second.resume()
    assert ended(second) == second.progress("a")
    second.close()
    found = full.describe("a")
    assert (found.model, found.options) == (encoder.model_id, options)
    assert found.count == len(DOCUMENTS)
    assert [collection.name for collection in full.collections()] == ["a"]
    hits = full.search("a", encoder.encode_query(["w8 w9 w10 w11"]), 1)[0]
    assert hits[0].document == DOCUMENTS[-1]
    start, end = hits[0].span or (0, 0)
    assert DOCUMENTS[-1].text[start:end].startswith("w8 ")


def test_snapshot_is_put_in_the_place_of_its_collection(
    full: VectorStore, encoder: Any, tmp_path: Path
) -> None:
    snapshots = Snapshots(full, WriteGuard(), tmp_path / ".snapshots", 4)
    made = snapshots.create("a")
    full.delete("a", ["d001", "long"])
    full.upsert("a", [Document("later", "x")], encoder.encode_document(["x"]))
    restored = snapshots.restore("a", made.name, "a", replace=True)
    assert (restored.name, restored.count) == ("a", len(DOCUMENTS))
    assert full.get("a", ["later", "d001"]) == [DOCUMENTS[1]]
    beside = snapshots.restore("a", made.name, "b", replace=False)
    assert (beside.name, beside.count) == ("b", len(DOCUMENTS))
    assert [collection.name for collection in full.collections()] == ["a", "b"]
