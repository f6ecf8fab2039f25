"""Encoding collections anew: what it leaves, keeps, resumes and refuses; on the reference store."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.binding import options_for
from app.errors import ConflictError, InferenceError, NotFoundError
from app.guard import WriteGuard, exists
from app.reencoding import PAGE
from app.retrieval.store import Document
from app.windows import Windows

from .reindexing_world import HIDDEN, World


@pytest.fixture
def world(fakes_module: Any, tmp_path: Path) -> Iterator[World]:
    encoder, store = fakes_module()
    made = World(encoder, store, tmp_path)
    yield made
    made.slow.permits.release(1000)
    made.reindexer.close()


def test_reindex_switches_to_the_new_encoder_at_the_end(world: World) -> None:
    assert world.begin().state in ("waiting", "running")
    world.slow.permits.release()
    world.wait(lambda progress: progress.done == PAGE)
    assert world.store.describe("a").model == "old@000000000000"  # searched until then
    world.slow.permits.release(2)
    ended = world.ended()
    with world.guard.writing(world.store, "a"):
        pass  # who is told that it is done may write
    assert (ended.state, ended.done, ended.total) == ("done", 2 * PAGE + 1, 2 * PAGE + 1)
    found = world.store.describe("a")
    assert (found.model, found.dim, found.count) == (world.slow.model_id, 32, ended.total)
    assert found.options == options_for(world.slow)
    assert not exists(world.store, HIDDEN)
    assert world.notes == []
    vector = world.slow.encode_document(["text number 300"])
    assert world.store.search("a", vector, 1)[0][0].document.doc_id == "d0300"


def test_reindex_can_split_documents_in_windows(world: World) -> None:
    long = Document("long", " ".join(f"w{n}" for n in range(20)))
    world.store.upsert("a", [long], np.eye(2, dtype=np.float32)[:1])
    world.slow.permits.release(9)
    world.begin(Windows(8, 8))
    assert world.ended().state == "done"
    page = world.store.scan("a", "d9999", 10)
    assert [long.text[start:end].split()[0] for start, end in page.spans[0]] == ["w0", "w8", "w16"]


def test_reindex_encodes_many_passages_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.reencoding.MOST_PASSAGES", 100)
    world.slow.permits.release(9)
    world.begin()
    assert world.ended().state == "done"
    assert world.slow.calls == 3 + 3 + 1
    assert world.slow.texts == [f"text number {n}" for n in range(2 * PAGE + 1)]


def test_reindex_of_another_process_refuses_writes_too(world: World) -> None:
    world.store.create(HIDDEN, 2, "x@000000000000")
    with (
        pytest.raises(ConflictError, match="GET /collections/a/reindex"),
        WriteGuard().writing(world.store, "a"),
    ):
        pass
    world.reindexer.cancel("a")
    with WriteGuard().writing(world.store, "a"):
        pass


def test_reindex_cancelled_leaves_the_old_collection(world: World) -> None:
    world.begin()
    world.slow.permits.release()
    world.wait(lambda progress: progress.done == PAGE)
    world.reindexer.cancel("a")
    world.slow.permits.release(9)
    assert world.ended().state == "cancelled"
    world.guard.settle("a", 5)
    assert world.store.describe("a").model == "old@000000000000"
    assert not exists(world.store, HIDDEN)
    assert world.notes == []
    with pytest.raises(NotFoundError, match="nothing to cancel"):
        world.reindexer.cancel("a")
    world.begin()
    assert world.ended().state == "done"


def test_reindex_asked_for_twice_is_one(world: World) -> None:
    assert world.begin().started == world.begin().started
    assert len(world.notes) == 1


def test_reindex_goes_on_after_a_restart_without_encoding_again(world: World) -> None:
    world.begin()
    world.slow.permits.release()
    world.wait(lambda progress: progress.done == PAGE)
    threading.Timer(0.05, world.slow.permits.release).start()
    world.reindexer.close()
    assert world.ended().state == "interrupted"
    assert world.store.describe("a").model == "old@000000000000"
    assert world.notes == ["a.json"]

    # Meanwhile one document was changed by who is not bound by our guard.
    changed = Document("d0003", "changed")
    world.store.upsert("a", [changed], np.eye(2, dtype=np.float32)[:1])
    world.slow.texts.clear()
    world.reindexer = world.another()
    world.reindexer.resume()
    world.slow.permits.release(9)
    assert world.ended().state == "done"
    assert world.slow.texts == ["changed", "text number 512"]
    assert world.store.get("a", ["d0003"]) == [changed]


def test_reindex_resumed_for_yet_another_encoder_begins_anew(world: World) -> None:
    world.begin()
    world.slow.permits.release()
    world.wait(lambda progress: progress.done == PAGE)
    threading.Timer(0.05, world.slow.permits.release).start()
    world.reindexer.close()
    world.slow._encoder.model_id = "newer@222222222222"
    world.slow.texts.clear()
    world.reindexer = world.another()
    world.reindexer.resume()
    world.slow.permits.release(9)
    assert world.ended().state == "done"
    assert len(world.slow.texts) == 2 * PAGE + 1
    assert world.store.describe("a").model == "newer@222222222222"


def test_resume_forgets_what_was_switched_before_the_crash(world: World) -> None:
    world.slow.permits.release(9)
    world.begin()
    world.ended()
    world.reindexer.close()
    assert world.notes == []
    note = world.state / ".reindex" / "a.json"
    note.write_text(json.dumps({"options": {"precision": "full", "prompt": ""}}))
    world.reindexer = world.another()
    world.reindexer.resume()
    assert (world.reindexer.progress("a"), world.notes) == (None, [])


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"options": {"x": 1}}'])
def test_resume_gives_up_what_it_cannot_read(world: World, content: str) -> None:
    (world.state / ".reindex").mkdir()
    (world.state / ".reindex" / "a.json").write_text(content)
    world.store.create(HIDDEN, 2, "x@000000000000")
    world.reindexer.resume()
    assert world.notes == []
    assert not exists(world.store, HIDDEN)
    assert world.store.count("a") == 2 * PAGE + 1


def test_reindex_tries_again_while_the_encoder_is_out_of_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.reencoding.WAIT_S", 0.001)
    world.slow.failures = [InferenceError("node 7"), InferenceError("node 7")]
    world.slow.permits.release(9)
    world.begin()
    assert world.ended().state == "done"
    assert world.slow.calls == 5


def test_reindex_that_fails_says_why_and_leaves_the_old_collection(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.reencoding.WAIT_S", 0.001)
    world.slow.failures = [InferenceError("node 7")] * 9
    world.slow.permits.release(99)
    world.begin()
    ended = world.ended()
    assert (ended.state, ended.error) == ("failed", "node 7")
    world.guard.settle("a", 5)
    assert world.store.describe("a").model == "old@000000000000"
    assert not exists(world.store, HIDDEN)
    assert world.notes == []


def test_reindex_refuses_to_lose_what_somebody_else_wrote(world: World) -> None:
    world.begin()
    world.slow.permits.release()
    world.wait(lambda progress: progress.done == PAGE)
    world.store.upsert("a", [Document("d0001b", "late")], np.eye(2, dtype=np.float32)[:1])
    world.slow.permits.release(9)
    ended = world.ended()
    assert ended.state == "failed"
    assert "another process wrote" in str(ended.error)
    assert world.store.count("a") == 2 * PAGE + 2


def test_reindex_of_a_missing_collection_is_refused(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.reindexer.begin("b", options_for(world.slow))
    assert world.notes == []


def test_reindex_of_a_collection_dropped_meanwhile_ends(world: World) -> None:
    world.begin()
    world.slow.permits.release()
    world.wait(lambda progress: progress.done == PAGE)
    world.store.drop("a")
    world.slow.permits.release(9)
    assert world.ended().state in ("failed", "cancelled")
    world.guard.settle("a", 5)
    assert not exists(world.store, HIDDEN)
