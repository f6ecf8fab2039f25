"""Snapshots on disk: whole or not there, found again, restored beside or in place; no way out."""

import errno
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from app.guard import REINDEX, WriteGuard
from app.hidden import hidden_name
from app.retrieval.store import Document
from app.snapshots import Snapshots

ROW = np.eye(2, dtype=np.float32)[:1]


class World:
    def __init__(self, store: Any, root: Path) -> None:
        self.store, self.root, self.guard = store, root / ".snapshots", WriteGuard()
        self.snapshots = Snapshots(store, self.guard, self.root, 2)
        store.create("a", 2, "m@000000000000")
        self.add("one")

    def add(self, doc_id: str) -> None:
        self.store.upsert("a", [Document(doc_id, "text")], ROW)

    def names(self, collection: str = "a") -> list[str]:
        return sorted(d.doc_id for d in self.store.scan(collection).documents)


@pytest.fixture
def world(fakes_module: Any, tmp_path: Path) -> World:
    return World(fakes_module()[1], tmp_path)


def test_snapshot_is_listed_and_outlives_its_collection(world: World) -> None:
    assert world.snapshots.list("a") == []
    made = world.snapshots.create("a")
    assert (made.collection, made.documents, made.model) == ("a", 1, "m@000000000000")
    assert made.bytes > 0
    world.store.drop("a")
    assert world.snapshots.list("a") == [made]
    restored = world.snapshots.restore("a", made.name, "a", replace=False)
    assert (restored.count, world.names()) == (1, ["one"])


def test_snapshot_is_restored_under_another_name(world: World) -> None:
    made = world.snapshots.create("a")
    world.add("two")
    world.snapshots.restore("a", made.name, "b", replace=False)
    assert (world.names("a"), world.names("b")) == (["one", "two"], ["one"])


def test_snapshot_replaces_only_when_told(world: World) -> None:
    made = world.snapshots.create("a")
    world.add("two")
    with pytest.raises(ConflictError, match="replace=true"):
        world.snapshots.restore("a", made.name, "a", replace=False)
    assert world.names() == ["one", "two"]
    world.snapshots.restore("a", made.name, "a", replace=True)
    assert world.names() == ["one"]
    assert [c.name for c in world.store.collections()] == ["a"]


def test_snapshots_are_bounded_and_deleted(world: World) -> None:
    first = world.snapshots.create("a")
    world.snapshots.create("a")
    with pytest.raises(ConflictError, match="TYNTEGRA_MAX_SNAPSHOTS"):
        world.snapshots.create("a")
    world.snapshots.delete("a", first.name)
    assert len(world.snapshots.list("a")) == 1
    assert not [path for path in world.root.rglob("*") if path.name.startswith(".draft")]
    with pytest.raises(NotFoundError, match="GET /collections/a/snapshots"):
        world.snapshots.delete("a", first.name)


@pytest.mark.parametrize("name", ["..", "../a", "x", "", "20261125t101500z-0123ab", "a/b", "\0"])
def test_snapshot_of_a_strange_name_is_not_found(world: World, name: str) -> None:
    world.snapshots.create("a")
    for call in (
        lambda: world.snapshots.delete("a", name),
        lambda: world.snapshots.restore("a", name, "b", replace=False),
    ):
        with pytest.raises(NotFoundError):
            call()
    with pytest.raises(InvalidInputError):
        world.snapshots.list("../a")
    assert len(world.snapshots.list("a")) == 1


def test_snapshot_on_a_full_disk_leaves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, target: Path) -> Path:
        (target / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(world.store, "snapshot", full)
    with pytest.raises(StoreError, match="No space left"):
        world.snapshots.create("a")
    assert list((world.root / "a").iterdir()) == []


def test_sweep_removes_what_a_crash_left(world: World) -> None:
    made = world.snapshots.create("a")
    (world.root / "a" / ".draft-x").mkdir()
    world.snapshots.sweep()
    assert [path.name for path in (world.root / "a").iterdir()] == [made.name]


def test_damaged_snapshot_is_left_out_refused_and_deleted(world: World) -> None:
    made = world.snapshots.create("a")
    (world.root / "a" / made.name / "snapshot.json").write_text("{")
    assert world.snapshots.list("a") == []
    with pytest.raises(InvalidInputError, match="delete it"):
        world.snapshots.restore("a", made.name, "b", replace=False)
    world.snapshots.delete("a", made.name)
    assert list((world.root / "a").iterdir()) == []


def test_restore_of_damaged_content_leaves_the_collection(world: World) -> None:
    made = world.snapshots.create("a")
    note = json.loads((world.root / "a" / made.name / "snapshot.json").read_text())
    (world.root / "a" / made.name / note["content"] / "all.json").write_text("{")
    with pytest.raises(InvalidInputError):
        world.snapshots.restore("a", made.name, "a", replace=True)
    assert world.names() == ["one"]


def test_restore_is_refused_while_the_target_is_encoded_anew(world: World) -> None:
    made = world.snapshots.create("a")
    world.store.create(hidden_name(REINDEX, "a"), 2, "x@000000000000")
    with pytest.raises(ConflictError, match="encoded anew"):
        world.snapshots.restore("a", made.name, "a", replace=True)
