"""What every engine must do: exchange collections, copy them out and bring them back."""

import threading

import pytest

from app.errors import ConflictError, InvalidInputError, NotFoundError
from app.retrieval.documents import Document
from app.retrieval.filters import In
from app.retrieval.store import Options

from .contract_data import DIM, corpus, vectors_of

OPTIONS = Options("full", "", {"n": "integer"}, 64, 32)


def several(store, name):
    """A collection with options and passages."""
    store.create(name, DIM, "model@2", OPTIONS)
    documents = [Document(f"s{i}", "one two", "hin_Deva", {"n": i, "a.b": "x"}) for i in range(12)]
    store.upsert(name, documents, vectors_of(24, seed=5), [[(0, 3), (4, 7)]] * 12)


def everything(store, name):
    page = store.scan(name, vectors=True)
    assert page.next is None
    described = store.describe(name)
    return (
        (described.dim, described.model, described.count, described.options),
        sorted(zip(map(repr, page.documents), map(repr, page.spans), strict=True)),
        store.search(name, vectors_of(2, seed=9), 50),
        store.match(name, ["two", "text"], 50),
        store.languages(name),
        store.count(name, In("metadata.n", (3, 4))),
    )


def test_replace_puts_one_in_the_place_of_the_other(filled):
    several(filled, "fresh")
    wanted = everything(filled, "fresh")
    done = filled.replace("demo", "fresh")
    assert (done.name, done.model, done.count, done.options) == ("demo", "model@2", 12, OPTIONS)
    assert [c.name for c in filled.collections()] == ["demo"]
    assert everything(filled, "demo") == wanted
    with pytest.raises(NotFoundError, match="fresh"):
        filled.describe("fresh")
    assert filled.get("demo", ["d1"]) == []


def test_replaced_collection_goes_on_and_its_old_name_is_free(filled):
    several(filled, "fresh")
    filled.replace("demo", "fresh")
    assert filled.upsert("demo", [Document("new", "new", None, {"n": 1})], vectors_of(1)) == 1
    assert filled.count("demo") == 13
    filled.create("fresh", DIM, "model@3")
    assert filled.count("fresh") == 0
    filled.upsert("fresh", *corpus(5))
    filled.replace("demo", "fresh")
    assert filled.count("demo") == 5
    filled.drop("demo")
    assert filled.collections() == []
    assert filled.create("demo", DIM + 1, "other").count == 0


def test_replace_is_there_after_reopening(open_store, tmp_path):
    store = open_store(tmp_path)
    store.create("demo", DIM, "m")
    several(store, "fresh")
    store.replace("demo", "fresh")
    before = everything(store, "demo")
    store.close()
    again = open_store(tmp_path)
    try:
        assert [c.name for c in again.collections()] == ["demo"]
        assert everything(again, "demo") == before
    finally:
        again.close()


def test_replace_by_itself_changes_nothing(filled):
    assert filled.replace("demo", "demo").count == 60
    assert filled.count("demo") == 60


def test_searches_during_a_replace_see_the_old_or_the_new(filled):
    fresh = [Document(f"f{i}", "fresh") for i in range(20)]
    found, stop = [], threading.Event()

    def search():
        while not stop.is_set():
            hits = filled.search("demo", vectors_of(1), 5)[0]
            found.append({hit.document.doc_id[0] for hit in hits})

    thread = threading.Thread(target=search)
    thread.start()
    try:
        for _ in range(3):
            filled.create("fresh", DIM, "model@1")
            filled.upsert("fresh", fresh, vectors_of(20, seed=1))
            filled.replace("demo", "fresh")
    finally:
        stop.set()
        thread.join()
    assert found
    assert all(seen in ({"d"}, {"f"}) for seen in found)


def test_snapshot_comes_back_under_another_name_and_in_another_store(open_store, tmp_path):
    store, other = open_store(tmp_path / "a"), open_store(tmp_path / "b")
    try:
        several(store, "demo")
        before = everything(store, "demo")
        path = store.snapshot("demo", tmp_path / "copies")
        assert path.is_relative_to(tmp_path / "copies")
        store.delete("demo", ["s1", "s2"])
        restored = store.restore("again", path)
        assert (restored.name, restored.count, restored.options) == ("again", 12, OPTIONS)
        assert everything(store, "again") == before
        assert store.count("demo") == 10
        other.restore("moved", path)
        assert everything(other, "moved") == before
        other.upsert("moved", [Document("new", "new")], vectors_of(1))
        assert other.count("moved") == 13
        assert store.count("again") == 12
    finally:
        store.close()
        other.close()


def test_restored_collection_is_there_after_reopening(open_store, tmp_path):
    store = open_store(tmp_path / "a")
    several(store, "demo")
    before = everything(store, "demo")
    path = store.snapshot("demo", tmp_path / "copies")
    store.drop("demo")
    store.restore("demo", path)
    store.close()
    again = open_store(tmp_path / "a")
    try:
        assert everything(again, "demo") == before
    finally:
        again.close()


def test_snapshot_of_nothing_comes_back(store, tmp_path):
    store.create("empty", 3, "m", OPTIONS)
    path = store.snapshot("empty", tmp_path / "copies")
    store.drop("empty")
    assert store.restore("empty", path) == store.describe("empty")
    assert store.describe("empty").options == OPTIONS


def test_snapshot_into_a_place_that_is_taken_is_refused(filled, tmp_path):
    filled.snapshot("demo", tmp_path)
    with pytest.raises(ConflictError, match="demo"):
        filled.snapshot("demo", tmp_path)


def test_restore_over_a_collection_is_refused(filled, tmp_path):
    path = filled.snapshot("demo", tmp_path)
    filled.create("other", DIM, "m")
    with pytest.raises(ConflictError, match="other"):
        filled.restore("other", path)
    assert (filled.count("other"), filled.count("demo")) == (0, 60)


@pytest.mark.parametrize("harm", ["missing", "empty", "cut", "flipped", "lost", "zeroed"])
def test_restore_of_a_damaged_snapshot_is_refused_and_leaves_nothing(filled, tmp_path, harm):
    path = filled.snapshot("demo", tmp_path / "copies")
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    victim = max(files, key=lambda file: (len(file.read_bytes().strip(b"\0")), file.name))
    content = victim.read_bytes()
    middle = len(content.strip(b"\0")) // 2
    match harm:
        case "missing":
            path = tmp_path / "nothing"
        case "empty":
            path = tmp_path / "bare"
            path.mkdir()
        case "cut":
            victim.write_bytes(content[:middle])
        case "flipped":
            flipped = bytes([content[middle] ^ 1])
            victim.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        case "lost":
            victim.unlink()
        case "zeroed":
            victim.write_bytes(bytes(len(content)))
    with pytest.raises(InvalidInputError):
        filled.restore("again", path)
    assert [c.name for c in filled.collections()] == ["demo"]
    assert filled.unavailable() == {}
    assert filled.create("again", DIM, "m").count == 0
