"""What only the embedded engine promises: one holder, damage found, a full disk, index builds."""

import os
import shutil
import threading
import time

import pytest

from app.errors import ConflictError, NotFoundError, NotReadyError, StoreError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, builder, files, writer
from app.retrieval.filters import languages

from .edge_stores import DIM, collection_of, documents_of, make, start, vectors_of


def test_open_held_by_another_process_names_its_pid(tmp_path):
    code = """
import sys
from pathlib import Path
from app.retrieval.edge import EdgeStore
store = EdgeStore.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read()
"""
    with start(code, tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "ready\n"
        with pytest.raises(ConflictError, match=rf"process {holder.pid};"):
            EdgeStore.open(tmp_path)
        holder.kill()
        holder.wait()
    EdgeStore.open(tmp_path).close()  # The killed holder leaves no stale lock


def test_open_twice_in_one_process_conflicts_until_closed(tmp_path):
    store = EdgeStore.open(tmp_path)
    with pytest.raises(ConflictError, match=str(os.getpid())):
        EdgeStore.open(tmp_path)
    store.close()
    EdgeStore.open(tmp_path).close()


def test_open_root_that_is_a_file_is_a_store_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="directory"):
        EdgeStore.open(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_open_root_without_write_permission_is_a_store_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="write"):
        EdgeStore.open(tmp_path)


def test_open_leftovers_of_a_crash_are_removed(tmp_path):
    make(tmp_path).close()
    for name in (".creating-x", ".dropped-y", "demo/shard-unadopted"):
        (tmp_path / name / "deep").mkdir(parents=True)
    store = EdgeStore.open(tmp_path)
    assert store.count("demo") == 50
    store.close()
    assert {path.name for path in tmp_path.iterdir()} == {"store.lock", "demo"}
    assert len(list((tmp_path / "demo").glob("shard-*"))) == 1


def test_write_on_a_disk_that_is_nearly_full_is_refused_and_reads_go_on(tmp_path):
    make(tmp_path).close()
    store = EdgeStore.open(tmp_path, reserve_bytes=1 << 60)
    with pytest.raises(StoreError, match="free"):
        store.upsert("demo", documents_of(1, "second"), vectors_of(1))
    with pytest.raises(StoreError, match="free"):
        store.create("other", DIM, "m")
    with pytest.raises(StoreError, match="free"):
        store.delete("demo", ["d0"])
    assert store.get("demo", ["d0"]) == documents_of(1)
    assert len(store.search("demo", vectors_of(1), 50)[0]) == 50
    store.close()


def test_snapshot_copied_into_a_root_opens_there(tmp_path):
    store = make(tmp_path / "root")
    copy = store.snapshot("demo", tmp_path / "copies")
    with pytest.raises(ConflictError):
        store.snapshot("demo", tmp_path / "copies")
    store.delete("demo", ["d0"])
    store.close()
    (tmp_path / "other").mkdir()
    shutil.copytree(copy, tmp_path / "other" / "demo")
    restored = EdgeStore.open(tmp_path / "other", reserve_bytes=0)
    assert restored.get("demo", [f"d{i}" for i in range(50)]) == documents_of(50)
    restored.close()


def test_snapshot_that_fails_leaves_nothing_and_can_be_repeated(tmp_path, monkeypatch):
    store = make(tmp_path / "root")

    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(builder.layout, "seal", fail)
        with pytest.raises(StoreError, match="No space left"):
            store.snapshot("demo", tmp_path / "copies")
    assert list((tmp_path / "copies").iterdir()) == []
    assert store.snapshot("demo", tmp_path / "copies").is_dir()
    store.close()


def test_upkeep_after_a_pause_flushes_so_that_a_killed_store_replays_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "IDLE_S", 0.0)
    store = make(tmp_path)
    deadline = time.monotonic() + 20
    while collection_of(store).held.unflushed and time.monotonic() < deadline:
        time.sleep(0.05)
    assert collection_of(store).held.unflushed == 0
    store.close()


def test_one_writer_and_four_readers_see_only_whole_states(tmp_path):
    """Every batch writes all 40 documents with one version, so a reader must never see two."""
    store = EdgeStore.open(tmp_path, reserve_bytes=0)
    store.create("demo", DIM, "m")
    rows = vectors_of(40)

    def batch(version):
        return [Document(f"d{i}", str(version), "eng_Latn", {"v": version}) for i in range(40)]

    store.upsert("demo", batch(0), rows)
    stop, errors, reads = threading.Event(), [], [0] * 4

    def read(number):
        try:
            last = 0
            while not stop.is_set():
                hits = store.search("demo", rows[number][None], 40, languages("eng_Latn"))[0]
                versions = {int(hit.document.metadata["v"]) for hit in hits}
                assert len(hits) == 40
                assert len(versions) == 1
                assert max(versions) >= last
                assert hits[0].document.doc_id == f"d{number}"
                assert store.count("demo") == 40
                last = max(versions)
                reads[number] += 1
        except BaseException as error:
            errors.append(error)
            raise

    readers = [threading.Thread(target=read, args=(number,)) for number in range(4)]
    for thread in readers:
        thread.start()
    for version in range(1, 120):
        store.upsert("demo", batch(version), rows)
        if version == 60:
            collection_of(store).build()
    stop.set()
    for thread in readers:
        thread.join()
    assert errors == []
    assert min(reads) > 5
    store.close()


def test_collection_that_is_being_dropped_is_not_found(tmp_path, monkeypatch):
    store = make(tmp_path)
    entered, go_on = threading.Event(), threading.Event()
    remove = files.remove_collection

    def remove_slowly(directory):
        entered.set()
        assert go_on.wait(10)
        remove(directory)

    monkeypatch.setattr(files, "remove_collection", remove_slowly)
    held = collection_of(store)  # a request that got hold of it before
    thread = threading.Thread(target=store.drop, args=("demo",))
    thread.start()
    assert entered.wait(10)
    try:
        for call in (store.describe, store.count, lambda name: store.get(name, ["d1"])):
            with pytest.raises(NotFoundError, match="no collection"):
                call("demo")
        with pytest.raises(NotFoundError, match="dropped meanwhile"):
            held.get(["d1"])
    finally:
        go_on.set()
        thread.join()
    assert store.create("demo", DIM, "m").count == 0
    store.close()


def test_collection_whose_drop_failed_is_unavailable_until_dropped_again(tmp_path, monkeypatch):
    store = make(tmp_path)

    def fail(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove_collection", fail)
        with pytest.raises(StoreError, match="Input/output"):
            store.drop("demo")
    with pytest.raises(NotReadyError, match="dropping it failed"):
        store.describe("demo")
    store.drop("demo")
    assert store.unavailable() == {}
    store.close()
