"""Collections written by earlier releases: opened by writing them anew, with nothing lost."""

import json
import uuid
import zlib
from typing import Any

import numpy as np
import pytest
import qdrant_edge as engine

from app.errors import StoreError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, files, layout
from app.retrieval.filters import In, Range, languages

DIM = 8
NAMESPACE = uuid.UUID("6f1b8a52-2d1e-5f0c-9a37-4c1f6d0e7b11")


def documents_of(n):
    return [
        Document(f"d{i}", f"text {i} AB-{i}", "eng_Latn" if i % 3 else None, {"n": i, "b": 2**70})
        for i in range(n)
    ]


def vectors_of(n):
    rows = np.random.default_rng(0).normal(size=(n, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def write_format1(root, n=30, *, sealed=True, wrong=None):
    """Write a collection as release 0.1 did; ``wrong`` names a document with another text."""
    shard = "shard-0123456789ab"
    path = root / "demo" / shard
    path.mkdir(parents=True)
    store = engine.EdgeShard.create(
        str(path),
        engine.EdgeConfig(
            vectors=engine.EdgeVectorParams(size=DIM, distance=engine.Distance.Dot),
            optimizers=engine.EdgeOptimizersConfig(default_segment_number=1),
        ),
    )
    store.update(
        engine.UpdateOperation.create_field_index("lang", engine.PayloadSchemaType.Keyword)
    )
    points = []
    for document, vector in zip(documents_of(n), vectors_of(n), strict=True):
        metadata = json.dumps(dict(document.metadata))
        fields = [document.doc_id, document.text, metadata, document.lang]
        payload: dict[str, Any] = dict(
            zip(("doc_id", "text", "metadata", "lang"), fields, strict=True)
        )
        payload["check"] = zlib.crc32(vector.tobytes(), zlib.crc32(json.dumps(fields).encode()))
        if document.doc_id == wrong:
            payload["text"] = "another"
        payload = {key: value for key, value in payload.items() if value is not None}
        point_id = str(uuid.uuid5(NAMESPACE, document.doc_id))
        points.append(engine.Point(point_id, vector.tolist(), payload))
    store.update(engine.UpdateOperation.upsert_points(points))
    store.close()
    meta = {
        "name": "demo",
        "dim": DIM,
        "model": "m",
        "created": "2026",
        "shard": shard,
        "format": 1,
    }
    check = layout._digest(meta)
    (root / "demo" / layout.META).write_text(json.dumps(meta | {"check": check}))
    if sealed:
        layout.seal(root / "demo", shard)


@pytest.mark.parametrize("sealed", [True, False], ids=["closed", "crashed"])
def test_open_format_1_keeps_all_documents_and_gains_filters_and_words(tmp_path, sealed):
    write_format1(tmp_path, sealed=sealed)
    for _ in range(2):
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
        assert store.unavailable() == {}
        assert store.describe("demo").count == 30
        assert store.get("demo", [f"d{i}" for i in range(30)]) == documents_of(30)
        hits = store.search("demo", vectors_of(30)[7:8], 1)[0]
        assert (hits[0].document.doc_id, round(hits[0].score, 5)) == ("d7", 1.0)
        assert store.match("demo", ["AB-12"], 1)[0][0].document.doc_id == "d12"
        assert store.count("demo", In("metadata.n", (3, 4))) == 2
        assert store.count("demo", Range("metadata.n", gte=10)) == 20
        assert store.count("demo", languages("eng_Latn")) == 20
        assert store.upsert("demo", documents_of(2), vectors_of(2)) == 2
        store.close()
    assert json.loads((tmp_path / "demo" / layout.META).read_text())["format"] == layout.FORMAT
    assert len(list((tmp_path / "demo").glob("shard-*"))) == 1


def test_open_format_1_after_a_migration_that_failed_migrates_again(tmp_path, monkeypatch):
    write_format1(tmp_path)
    migrate = files.offline.migrate

    def fail(directory, old, new, dim):
        migrate(directory, old, new, dim)
        raise StoreError("killed by SIGKILL")

    with monkeypatch.context() as patch:
        patch.setattr(files.offline, "migrate", fail)
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
        assert "SIGKILL" in store.unavailable()["demo"]
        store.close()
    assert len(list((tmp_path / "demo").glob("shard-*"))) == 2
    store = EdgeStore.open(tmp_path, reserve_bytes=0)
    assert store.get("demo", [f"d{i}" for i in range(30)]) == documents_of(30)
    store.close()
    assert len(list((tmp_path / "demo").glob("shard-*"))) == 1


def test_open_format_1_with_an_altered_document_is_unavailable_and_untouched(tmp_path):
    write_format1(tmp_path, sealed=False, wrong="d5")
    store = EdgeStore.open(tmp_path, reserve_bytes=0)
    assert "'d5' does not fit" in store.unavailable()["demo"]
    store.close()
    assert json.loads((tmp_path / "demo" / layout.META).read_text())["format"] == 1


def test_open_format_1_on_a_full_disk_is_unavailable_and_untouched(tmp_path):
    write_format1(tmp_path)
    store = EdgeStore.open(tmp_path, reserve_bytes=1 << 60)
    assert "free some space" in store.unavailable()["demo"]
    store.close()
    store = EdgeStore.open(tmp_path, reserve_bytes=0)
    assert store.count("demo") == 30
    store.close()


def test_restore_snapshot_of_format_1_brings_it_up_to_date(tmp_path):
    write_format1(tmp_path / "old")
    store = EdgeStore.open(tmp_path / "root", reserve_bytes=0)
    assert store.restore("again", tmp_path / "old" / "demo").count == 30
    assert store.match("again", ["AB-12"], 1)[0][0].document.doc_id == "d12"
    store.close()
