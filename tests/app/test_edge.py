"""What only the embedded engine promises: one holder, damage found, a full disk, index builds."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from app.errors import ConflictError, NotFoundError, NotReadyError, StoreError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, builder, files, reader, writer
from app.retrieval.edge import shard as shards
from app.retrieval.filters import languages

DIM = 8
REPOSITORY = Path(__file__).resolve().parents[2]


def vectors_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def documents_of(n, mark="first"):
    return [Document(f"d{i}", f"{mark} {i}", "eng_Latn", {"n": i}) for i in range(n)]


def make(root, n=50, names=("demo",)):
    store = EdgeStore.open(root, reserve_bytes=0)
    for name in names:
        store.create(name, DIM, "m")
        store.upsert(name, documents_of(n), vectors_of(n))
    return store


def collection_of(store, name="demo"):
    return store._table.find(name)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )


def shard_files(root, name="demo"):
    return sorted(path for path in (root / name).rglob("*") if path.is_file())


@pytest.fixture
def crashed(tmp_path):
    """A root whose writer was killed with everything still in its log."""
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests/app")
from test_edge import make
make(Path(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
    with start(code, tmp_path / "root") as writer:
        pass
    assert writer.returncode == -signal.SIGKILL
    return tmp_path / "root"


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


@pytest.mark.parametrize("damage", ["empty", "garbage", "missing", "other name", "flipped dim"])
def test_open_damaged_metadata_makes_one_collection_unavailable(tmp_path, damage):
    make(tmp_path, names=("bad", "good")).close()
    meta = tmp_path / "bad" / "collection.json"
    content = json.loads(meta.read_text())
    if damage == "missing":
        meta.unlink()
    else:
        texts = {"empty": "", "garbage": "\0{["}
        changed = content | ({"name": "good"} if damage == "other name" else {"dim": DIM + 1})
        meta.write_text(texts.get(damage, json.dumps(changed)))
    store = EdgeStore.open(tmp_path)
    assert list(store.unavailable()) == ["bad"]
    assert [c.name for c in store.collections()] == ["good"]
    assert store.count("good") == 50
    for call in (
        lambda: store.search("bad", vectors_of(1), 1),
        lambda: store.describe("bad"),
        lambda: store.create("bad", DIM, "m"),
    ):
        with pytest.raises(NotReadyError, match="bad"):
            call()
    store.drop("bad")
    assert store.unavailable() == {}
    with pytest.raises(NotFoundError):
        store.count("bad")
    assert store.create("bad", DIM, "m").count == 0
    store.close()


def damage_file(path, moments):
    """Truncate or flip one bit at a random place; return what was done, or None for no change."""
    data = bytearray(path.read_bytes())
    if not data:
        return None
    if moments.random() < 0.5:
        place = moments.randrange(len(data))
        path.write_bytes(data[:place])
        return f"{path.name} cut at {place}"
    used = [i for i, byte in enumerate(data[: 1 << 20]) if byte] or [0]
    place = moments.choice(used) if moments.random() < 0.7 else moments.randrange(len(data))
    data[place] ^= 1 << moments.randrange(8)
    path.write_bytes(data)
    return f"{path.name} bit at {place}"


def test_open_any_file_damaged_after_a_clean_close_is_always_found(tmp_path):
    make(tmp_path / "sound").close()
    moments = random.Random(0)
    files = shard_files(tmp_path / "sound")
    rounds = max(len(files), int(os.environ.get("TYNTEGRA_TEST_DAMAGES", "0")))
    for number in range(rounds):
        shutil.copytree(tmp_path / "sound", tmp_path / "copy")
        path = tmp_path / "copy" / files[number % len(files)].relative_to(tmp_path / "sound")
        done = damage_file(path, moments)
        store = EdgeStore.open(tmp_path / "copy", reserve_bytes=0)
        assert done is None or list(store.unavailable()) == ["demo"], done
        store.close()
        shutil.rmtree(tmp_path / "copy")


def test_open_any_file_damaged_after_a_crash_loses_and_alters_nothing_unseen(crashed, tmp_path):
    """Either all documents are there as they were written, or the damage is told."""
    moments = random.Random(1)
    files = [path for path in shard_files(crashed) if path.stat().st_size]
    rounds = max(14, int(os.environ.get("TYNTEGRA_TEST_DAMAGES", "0")))
    expected = documents_of(50)
    names = [document.doc_id for document in expected]
    refused = told = 0
    for number in range(rounds):
        shutil.copytree(crashed, tmp_path / "copy")
        path = moments.choice(files) if number else crashed / "demo" / "collection.json"
        done = damage_file(tmp_path / "copy" / path.relative_to(crashed), moments)
        store = EdgeStore.open(tmp_path / "copy", reserve_bytes=0)
        if store.unavailable():
            refused += 1
        else:
            try:
                hits = store.search("demo", vectors_of(1), 50)[0]
                assert {hit.document.doc_id for hit in hits} == set(names), done
                assert store.get("demo", names) == expected, done
            except (StoreError, NotReadyError):
                told += 1
                assert list(store.unavailable()) == ["demo"], done
        store.close()
        shutil.rmtree(tmp_path / "copy")
    assert refused >= 1


def test_open_after_a_crash_with_nothing_damaged_finds_all(crashed):
    store = EdgeStore.open(crashed, reserve_bytes=0)
    assert store.unavailable() == {}
    assert store.get("demo", [f"d{i}" for i in range(50)]) == documents_of(50)
    store.close()


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


def test_build_while_writing_and_searching_keeps_every_write(tmp_path):
    store = make(tmp_path, 200)
    collection = collection_of(store)
    model = {d.doc_id: d for d in documents_of(200)}
    stop, builds = threading.Event(), []

    def build():
        while not stop.is_set():
            collection.build()
            builds.append(collection.meta.shard)

    thread = threading.Thread(target=build)
    thread.start()
    moments = random.Random(0)
    while len(builds) < 3:
        number = moments.randrange(300)
        if moments.random() < 0.3:
            store.delete("demo", [f"d{number}"])
            model.pop(f"d{number}", None)
        else:
            document = Document(f"d{number}", f"at {moments.random()}", "eng_Latn")
            store.upsert("demo", [document], vectors_of(1, number))
            model[document.doc_id] = document
        assert store.count("demo") == len(model)
        assert len(store.search("demo", vectors_of(1), 1000)[0]) == len(model)
    stop.set()
    thread.join()
    assert len(set(builds)) == len(builds)
    for _ in range(2):
        found = {d.doc_id: d for d in store.get("demo", [f"d{i}" for i in range(300)])}
        assert found == model
        store.close()
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
    store.close()


def test_build_that_fails_leaves_the_collection_as_it_was(tmp_path, monkeypatch):
    store = make(tmp_path)

    def fail(*_):
        raise StoreError("the child was killed")

    monkeypatch.setattr(builder.offline, "optimize", fail)
    with pytest.raises(StoreError, match="child"):
        collection_of(store).build()
    assert store.count("demo") == 50
    assert store.upsert("demo", documents_of(1, "second"), vectors_of(1)) == 1
    assert len(list((tmp_path / "demo").glob("shard-*"))) == 1
    store.close()


def test_close_during_a_build_does_not_wait_for_it(tmp_path, monkeypatch):
    store = make(tmp_path)
    begun = threading.Event()

    def endless(_path, _account, cancelled):
        begun.set()
        while not cancelled():
            time.sleep(0.01)
        raise StoreError("killed")

    monkeypatch.setattr(builder.offline, "optimize", endless)
    failures = []

    def build():
        try:
            collection_of(store).build()
        except StoreError as error:
            failures.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    assert begun.wait(20)
    store.close()
    thread.join()
    assert len(failures) == 1
    store = EdgeStore.open(tmp_path)
    assert store.count("demo") == 50
    store.close()


def test_search_above_the_exact_limit_uses_the_index_and_still_finds(tmp_path, monkeypatch):
    for module in (shards, builder, reader):
        monkeypatch.setattr(module, "EXACT_LIMIT", 1000)
    store = make(tmp_path, 3000)
    collection = collection_of(store)
    assert collection.wants_build(now=True)
    store.flush("demo")
    assert not collection.wants_build(now=True)
    with collection.held.reading() as shard:
        info = shard._engine.info()
    assert info.indexed_vectors_count >= 2 * info.points_count  # Dense and sparse ones
    rows = vectors_of(3000)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    queries = vectors_of(100, seed=7)
    found = store.search("demo", queries, 10, languages("eng_Latn"))
    true = np.argsort(-(queries @ unit.T), axis=1)[:, :10]
    overlap = [
        len({f"d{i}" for i in best} & {h.document.doc_id for h in hits})
        for best, hits in zip(true, found, strict=True)
    ]
    assert np.mean(overlap) >= 9.8
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
