"""Index builds of the embedded engine: beside writes and searches, failing, cut off."""

import random
import threading
import time

import numpy as np
import pytest

from app.errors import StoreError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, builder, reader
from app.retrieval.edge import shard as shards
from app.retrieval.filters import languages

from .edge_stores import collection_of, documents_of, make, vectors_of


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
