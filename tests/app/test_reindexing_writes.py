"""Writes while a collection is encoded anew: all of them are in what takes its place."""

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ConflictError, InvalidInputError
from app.guard import Changes, HeldUpError, WriteGuard
from app.reencoding import PAGE
from app.retrieval.filters import In
from app.retrieval.store import Document

from .reindexing_world import HIDDEN, World

ROW = np.eye(2, dtype=np.float32)[:1]


@pytest.fixture
def world(fakes_module: Any, tmp_path: Path) -> Iterator[World]:
    encoder, store = fakes_module()
    made = World(encoder, store, tmp_path)
    yield made
    made.slow.permits.release(1000)
    made.reindexer.close()


def write(world: World, *documents: Document) -> None:
    names = [document.doc_id for document in documents]
    with world.guard.writing(world.store, "a", names):
        world.store.upsert("a", list(documents), np.tile(ROW, (len(documents), 1)))


def delete(world: World, *names: str) -> None:
    with world.guard.writing(world.store, "a", names):
        world.store.delete("a", names)


def contents(world: World, name: str = "a") -> dict[str, str]:
    return {one.doc_id: one.text for one in world.store.scan(name, None, 1000).documents}


def encoded_pages(world: World, count: int) -> None:
    world.begin()
    world.slow.permits.release(count)
    world.wait(lambda progress: progress.done == count * PAGE)


def test_writes_meanwhile_are_in_the_new_collection(world: World) -> None:
    encoded_pages(world, 1)
    behind, ahead = "d0003", "d0500"  # pages that were read, and that will be
    write(world, Document(behind, "changed"), Document(ahead, "changed too"))
    write(world, Document("a-new", "first of all"), Document("z-new", "last of all"))
    delete(world, "d0004", "d0501", "d0005")
    write(world, Document("d0005", "back again"))
    expected = contents(world)
    world.slow.permits.release(9)
    ended = world.ended()
    assert ended.state == "done"
    assert ended.done == ended.total
    assert world.store.describe("a").model == world.slow.model_id
    assert contents(world) == expected
    vector = world.slow.encode_document(["changed"])
    assert world.store.search("a", vector, 1)[0][0].document.doc_id == behind


def test_write_to_the_page_under_way_wins(world: World) -> None:
    world.begin()
    deadline = time.monotonic() + 10
    while world.slow.calls < 1 and time.monotonic() < deadline:
        time.sleep(0.002)
    write(world, Document("d0000", "newer"))  # its old text is being encoded
    delete(world, "d0001")
    world.slow.permits.release(9)
    assert world.ended().state == "done"
    found = contents(world)
    assert found["d0000"] == "newer"
    assert "d0001" not in found


def test_deletion_by_a_filter_reaches_what_was_encoded(world: World) -> None:
    encoded_pages(world, 1)
    where = In("doc_id", ("d0001", "d0002", "d0511"))
    with world.guard.writing(world.store, "a", None):
        assert world.store.delete_where("a", where) == 3
    expected = contents(world)
    world.slow.permits.release(9)
    assert world.ended().state == "done"
    assert contents(world) == expected
    assert len(expected) == 2 * PAGE + 1 - 3


def test_searches_go_to_the_old_collection_until_the_end(world: World) -> None:
    encoded_pages(world, 1)
    write(world, Document("new", "new"))
    hits = world.store.search("a", ROW, 1000)[0]
    assert len(hits) == 2 * PAGE + 2
    assert world.store.describe("a").model == "old@000000000000"


def test_what_goes_on_after_a_restart_has_the_writes_too(world: World) -> None:
    encoded_pages(world, 1)
    write(world, Document("d0003", "changed"))
    delete(world, "d0004")
    threading.Timer(0.05, world.slow.permits.release).start()
    world.reindexer.close()
    world.store.delete("a", ["d0007"])  # by who is not bound by our guard
    world.reindexer = world.another()
    world.reindexer.resume()
    write(world, Document("d0006", "changed before it went on"))
    expected = contents(world)
    world.slow.permits.release(99)
    assert world.ended().state == "done"
    assert contents(world) == expected


def test_writers_wait_for_the_exchange_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    replace, inside, go_on = world.store.replace, threading.Event(), threading.Event()

    def slowly(name: str, by: str) -> Any:
        inside.set()
        assert go_on.wait(10)
        return replace(name, by)

    monkeypatch.setattr(world.store, "replace", slowly)
    world.slow.permits.release(9)
    world.begin()
    assert inside.wait(10)
    with pytest.raises(HeldUpError, match="put in place"):
        delete(world, "d0001")
    go_on.set()
    assert world.ended().state == "done"
    world.guard.settle("a", 5)
    delete(world, "d0001")
    assert "d0001" not in contents(world)


def test_exchange_waits_for_those_who_write(world: World) -> None:
    with world.guard.writing(world.store, "a", ["late"]):
        world.slow.permits.release(9)
        world.begin()
        world.wait(lambda progress: progress.done == progress.total)
        time.sleep(0.05)
        assert world.store.describe("a").model == "old@000000000000"
        world.store.upsert("a", [Document("late", "late")], ROW)
    assert world.ended().state == "done"
    assert contents(world)["late"] == "late"


def test_restoring_over_a_collection_that_is_encoded_anew_is_refused(world: World) -> None:
    world.begin()
    world.wait(lambda progress: progress.state == "running")
    with pytest.raises(ConflictError, match="encoded anew"), world.guard.alone("a"):
        pass


def test_writers_far_ahead_are_held_up(world: World) -> None:
    with world.guard.following("a") as changes:
        changes.most = 2
        delete(world, "d0001", "d0002")
        with pytest.raises(HeldUpError, match="2 documents were written"):
            delete(world, "d0003")
        assert changes.take() == (["d0001", "d0002"], False)
        delete(world, "d0003")
    assert "d0003" not in contents(world)


def test_changes_are_taken_once() -> None:
    changes = Changes()
    changes.note(["b", "a"])
    changes.note(None)
    changes.note(["b"])
    assert (changes.count, changes.unnamed) == (2, True)
    assert changes.take() == (["a", "b"], True)
    assert changes.take() == ([], False)


def change(world: World, rng: random.Random) -> None:
    """Write a document, or delete one, by its name or by a filter."""
    name, what = f"d{rng.randrange(300):04}", rng.random()
    if what < 0.3:
        delete(world, name)
    elif what < 0.4:
        with world.guard.writing(world.store, "a", None):
            world.store.delete_where("a", In("doc_id", (name,)))
    else:
        write(world, Document(name, f"text {what}"))


@pytest.mark.parametrize("seed", range(3))
def test_random_writes_from_threads_are_all_carried_over(world: World, seed: int) -> None:
    stop = threading.Event()

    def client(number: int) -> None:
        rng = random.Random(f"{seed} {number}")
        while not stop.is_set():
            with contextlib.suppress(HeldUpError, InvalidInputError):  # another dimension now
                change(world, rng)
            time.sleep(0.001)

    clients = [threading.Thread(target=client, args=(number,)) for number in range(3)]
    world.begin()
    for thread in clients:
        thread.start()
    seen: dict[str, str] = {}
    replace = world.store.replace

    def watched(name: str, by: str) -> Any:
        seen.update(contents(world))
        assert contents(world, HIDDEN) == seen
        return replace(name, by)

    world.store.replace = watched
    for _ in range(12):
        time.sleep(0.01)
        world.slow.permits.release()
    world.slow.permits.release(500)
    ended = world.ended()
    stop.set()
    for thread in clients:
        thread.join()
    assert ended.state == "done", ended
    assert seen


def test_guard_of_another_process_refuses_what_is_encoded_anew(world: World) -> None:
    world.store.create(HIDDEN, 2, "x@000000000000")
    with (
        pytest.raises(ConflictError, match="by another process"),
        WriteGuard().writing(world.store, "a", ["d0001"]),
    ):
        pass
