"""Filling the collection ``demo``."""

import json
from pathlib import Path
from typing import Any

import pytest

from app.demo import DOCUMENTS, NAME, fill_demo, read_documents
from app.errors import NotReadyError
from app.retrieval.store import Document


@pytest.fixture
def path(tmp_path: Path) -> Path:
    lines = [
        {"doc_id": "a", "text": "maji", "lang": "swh_Latn", "metadata": {"topic": "water"}},
        {"doc_id": "b", "text": "water"},
    ]
    file = tmp_path / "documents.jsonl"
    file.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    return file


def test_read_documents_reads_all_fields(path: Path) -> None:
    assert list(read_documents(path)) == [
        Document("a", "maji", "swh_Latn", {"topic": "water"}),
        Document("b", "water", None, {}),
    ]


def test_fill_demo_fills_once(fakes_module: Any, path: Path) -> None:
    encoder, store = fakes_module()
    assert fill_demo(encoder, store, path) == 2
    assert fill_demo(encoder, store, path) == 0
    assert store.describe(NAME).model == encoder.model_id


def test_fill_demo_makes_good_what_is_missing_and_keeps_the_rest(
    fakes_module: Any, path: Path
) -> None:
    encoder, store = fakes_module()
    fill_demo(encoder, store, path)
    store.delete(NAME, ["b"])
    own = Document("own", "mine")
    changed = Document("a", "changed")
    store.upsert(NAME, [own, changed], encoder.encode_document(["mine", "changed"]))
    assert fill_demo(encoder, store, path) == 1
    assert store.get(NAME, ["a", "b", "own"]) == [changed, Document("b", "water"), own]


def test_fill_demo_begins_anew_with_another_encoder(fakes_module: Any, path: Path) -> None:
    encoder, store = fakes_module()
    fill_demo(encoder, store, path)
    store.upsert(NAME, [Document("own", "mine")], encoder.encode_document(["mine"]))
    encoder.model_id = "other@111111111111"
    assert fill_demo(encoder, store, path) == 2
    assert store.count(NAME) == 2
    assert store.describe(NAME).model == "other@111111111111"


def test_fill_demo_leaves_a_damaged_collection_alone(
    fakes_module: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, store = fakes_module()
    fill_demo(encoder, store, path)

    def damaged(name: str) -> None:
        raise NotReadyError(f"The collection {name} is unavailable")

    monkeypatch.setattr(store, "describe", damaged)
    assert fill_demo(encoder, store, path) == 0
    assert NAME in store.made


def test_default_documents_can_be_read() -> None:
    documents = list(read_documents(DOCUMENTS))
    assert len({document.doc_id for document in documents}) == len(documents) > 50
