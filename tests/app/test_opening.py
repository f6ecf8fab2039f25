"""From the setting to the store: each engine by its address, and clear words where one is not."""

import sys

import numpy as np
import pytest

from app.address import engine_of
from app.errors import NotReadyError, StoreError
from app.opening import open_store
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore
from app.settings import Settings


@pytest.mark.parametrize(
    ("store", "engine"),
    [
        ("embedded", "embedded"),
        ("postgresql://h/d", "postgresql"),
        ("postgres:///d", "postgresql"),
        ("http://h:6333", "qdrant"),
        ("https://h", "qdrant"),
    ],
)
def test_engine_of_goes_by_the_scheme(store, engine):
    assert engine_of(store) == engine


@pytest.mark.parametrize("store", ["", "embedded://x", "file:///x", "h:6333", "//h", "postgresql"])
def test_engine_of_anything_else_is_refused_without_repeating_it(store):
    with pytest.raises(ValueError, match="names no engine") as refusal:
        engine_of(store)
    assert not store or f"'{store}'" not in str(refusal.value)


def test_open_store_embedded_is_in_the_state_directory(tmp_path):
    store = open_store(Settings(state=tmp_path))
    assert isinstance(store, EdgeStore)
    store.close()
    assert (tmp_path / "store.lock").exists()


@pytest.mark.postgres
def test_open_store_postgresql_keeps_documents_between_openings(database, tmp_path):
    settings = Settings(store=database, state=tmp_path)
    store = open_store(settings)
    store.create("demo", 2, "m")
    store.upsert("demo", [Document("a", "text")], np.eye(2, dtype=np.float32)[:1])
    store.close()
    again = open_store(settings)
    assert again.get("demo", ["a"]) == [Document("a", "text")]
    again.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.postgres
def test_open_store_postgresql_that_is_away_says_where(tmp_path):
    with pytest.raises(NotReadyError, match=r"127\.0\.0\.1:9/d") as refusal:
        open_store(Settings(store="postgresql://u:hush@127.0.0.1:9/d", state=tmp_path))
    assert "hush" not in refusal.value.message


@pytest.mark.parametrize(
    ("store", "client", "extra"),
    [
        ("postgresql://u:hush@h/d", "psycopg", "postgres"),
        ("http://h:6333", "qdrant_client", "qdrant"),
    ],
)
def test_open_store_without_the_client_says_what_to_install(monkeypatch, store, client, extra):
    for name in list(sys.modules):
        ours = name.startswith(("app.retrieval.postgres", "app.retrieval.qdrant"))
        if ours or name.partition(".")[0] in (client, "psycopg_pool"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, client, None)
    with pytest.raises(StoreError, match=rf"pip install -e '\.\[{extra}\]'") as refusal:
        open_store(Settings(store=store))
    assert "hush" not in refusal.value.message
    assert "\n" not in refusal.value.message
