"""Snapshots of the distributed engine: to the embedded one and back, and what spoils them."""

import hashlib
import json
import zlib

import numpy as np
import pytest

from app.errors import InvalidInputError, NotReadyError, StoreError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, layout
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.shard import Shard
from app.retrieval.filters import In, Range
from app.retrieval.lexical import Sparse
from app.retrieval.payload import PointRow, point_ids
from app.retrieval.store import Options

from .contract_data import DIM, LANGS, agree_on_match, agree_on_search, vectors_of
from .reference_store import ReferenceStore

pytest.importorskip("qdrant_client", reason="needs the extra qdrant")

from app.retrieval.qdrant import nodes
from app.retrieval.qdrant.nodes import Cluster
from app.retrieval.qdrant.store import QdrantStore

from .qdrant_routes import Fault
from .qdrant_server import serving

OPTIONS = Options("full", "passage: ", {"year": "integer"}, 64, 48)
DOCUMENTS = [
    Document(
        f"नाम {i}",
        "maji safi" if i % 2 else "kata AB-1",
        LANGS[i % 3],
        {"year": 2**53 + i, "a.b": i},
    )
    for i in range(24)
]
SPANS = [[(0, 4), (5, 9)] if i % 2 else [(0, 9)] for i in range(24)]


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def place(request):
    return hashlib.blake2b(request.node.nodeid.encode(), digest_size=6).hexdigest()


@pytest.fixture
def backend(server, place):
    server.url(place)
    return server.backends[place]


@pytest.fixture
def store(server, place):
    opened = QdrantStore.open(server.url(place), Cluster(shards=2, timeout_s=10))
    yield opened
    opened.close()


@pytest.fixture
def edge(tmp_path):
    opened = EdgeStore.open(tmp_path / "edge", reserve_bytes=0)
    yield opened
    opened.close()


def fill(*stores):
    for one in stores:
        one.create("demo", DIM, "model@1", OPTIONS)
        one.upsert("demo", DOCUMENTS, vectors_of(36), SPANS)


def agree(one, judge):
    assert one.describe("demo") == judge.describe("demo")
    agree_on_search(one, judge, vectors_of(3, seed=5), 50)
    agree_on_search(one, judge, vectors_of(3, seed=5), 5, Range("metadata.year", gt=2**53 + 3))
    agree_on_match(one, judge, ["safi kata", "AB-1"], 50, In("metadata.a.b", (1, 2, 3, 4)))
    names = [document.doc_id for document in DOCUMENTS]
    assert one.get("demo", names) == judge.get("demo", names)


def test_collection_moves_to_the_cluster_and_back(store, edge, tmp_path):
    judge = ReferenceStore()
    fill(edge, judge)
    store.restore("demo", edge.snapshot("demo", tmp_path / "out"))
    agree(store, judge)
    for one in (store, judge):
        one.upsert("demo", [Document("new", "maji")], vectors_of(1, seed=8))
        one.upsert("demo", DOCUMENTS[1:2], vectors_of(1, seed=9))
        one.delete("demo", [DOCUMENTS[2].doc_id])
    edge.drop("demo")
    edge.restore("demo", store.snapshot("demo", tmp_path / "home"))
    agree(edge, judge)
    for one in (edge, judge):
        one.upsert("demo", [Document("newer", "safi maji")], vectors_of(1, seed=7))
    agree(edge, judge)


def test_snapshot_of_the_cluster_opens_as_a_collection_of_the_embedded_engine(store, tmp_path):
    """Copied into a closed store it is checked as after a clean close, then as after a crash."""
    judge = ReferenceStore()
    fill(store, judge)
    path = store.snapshot("demo", tmp_path / "edge")
    for sealed in (True, False):
        assert layout.is_sealed(path) is sealed or not sealed
        if not sealed:
            layout.unseal(path)
        opened = EdgeStore.open(tmp_path / "edge", reserve_bytes=0)
        assert opened.unavailable() == {}
        agree(opened, judge)
        opened.close()


def test_snapshot_while_documents_change_holds_each_as_it_was_at_a_moment(
    store, backend, edge, tmp_path
):
    fill(store)
    backend.before["retrieve"] = lambda: store.upsert(
        "demo", [Document(d.doc_id, "changed") for d in DOCUMENTS], vectors_of(24, seed=3)
    )
    edge.restore("demo", store.snapshot("demo", tmp_path / "out"))
    page = edge.scan("demo")
    assert len(page.documents) == 24
    for document, spans in zip(page.documents, page.spans, strict=True):
        assert spans == ([(0, 7)] if document.text == "changed" else SPANS[0])
    assert "changed" in {document.text for document in page.documents}


@pytest.mark.parametrize("part", [0, 1])
def test_document_that_the_server_altered_is_in_no_snapshot(store, backend, tmp_path, part):
    fill(store)
    physical, point = backend.real("tyntegra.demo"), point_ids(DOCUMENTS[1].doc_id, 2)[part]
    backend.local.set_payload(physical, {"script": "Grek"}, points=[point])
    with pytest.raises(StoreError, match=r"नाम 1.* is not on the server as it was written"):
        store.snapshot("demo", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_restore_that_fails_on_the_way_leaves_nothing(store, backend, tmp_path, monkeypatch):
    fill(store)
    path = store.snapshot("demo", tmp_path / "out")
    monkeypatch.setattr(nodes.time, "sleep", lambda _: None)
    monkeypatch.setattr(store._nodes, "_timeout_s", 0.05)
    backend.faults = [Fault(503, path="points/batch", times=10**6)]
    with pytest.raises(NotReadyError):
        store.restore("again", path)
    backend.faults = []
    assert [c.name for c in store.collections()] == ["demo"]
    assert len(backend.local.get_collections().collections) == 1
    assert store.restore("again", path).count == 24


def test_restore_of_a_snapshot_with_a_link_is_refused(store, tmp_path):
    fill(store)
    path = store.snapshot("demo", tmp_path / "out")
    (path / "extra").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInputError, match="link"):
        store.restore("again", path)


def test_restore_of_a_snapshot_of_format_1_gives_its_documents(store, tmp_path):
    path = tmp_path / "old"
    path.mkdir()
    meta = CollectionMeta("old", DIM, "m", "2026-01-01", "shard-0123456789ab", format=1)
    shard = Shard.create(path / meta.shard, DIM)
    rows = vectors_of(3)
    for i, row in enumerate(rows):
        payload = {"doc_id": f"d{i}", "text": f"maji {i}", "metadata": json.dumps({"n": i})}
        payload["lang"] = "swh_Latn"
        fields = [payload[key] for key in ("doc_id", "text", "metadata", "lang")]
        check = zlib.crc32(row.tobytes(), zlib.crc32(json.dumps(fields).encode()))
        point = PointRow(point_ids(f"d{i}")[0], row, Sparse([], []), payload | {"check": check})
        shard.upsert([point])
    shard.close()
    layout.write_meta(path, meta)
    layout.seal(path, meta.shard)
    assert store.restore("demo", path).count == 3
    assert store.get("demo", ["d1"]) == [Document("d1", "maji 1", "swh_Latn", {"n": 1})]
    assert [hit.document.doc_id for hit in store.match("demo", ["2"], 5)[0]] == ["d2"]
    np.testing.assert_allclose(
        [hits[0].score for hits in store.search("demo", rows, 1)], np.ones(3), atol=1e-6
    )
