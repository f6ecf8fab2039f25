"""What the PostgreSQL engine does beyond the contract: migrations, refusals, sharing a database."""

import logging
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest

from app.errors import (
    InvalidInputError,
    NotReadyError,
    OverloadedError,
    StoreError,
)
from app.retrieval.documents import Document
from app.retrieval.filters import In, Range
from app.retrieval.postgres import pool, schema
from app.retrieval.postgres.conditions import Condition
from app.retrieval.postgres.store import PostgresStore
from app.retrieval.store import Options

from .contract_data import DIM, corpus, fill, vectors_of

pytestmark = pytest.mark.postgres


@pytest.fixture
def engine(database):
    opened = PostgresStore.open(database, connections=4)
    yield opened
    opened.close()


def ask(url, query, *parameters):
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, parameters or None)
        return cursor.fetchall() if cursor.description else []


def migrated(url, steps):
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        return schema.migrate(cursor, "tyntegra", steps)


def test_migrate_steps_run_once_and_in_order(database):
    ran = []
    steps = [lambda *_, n=n: ran.append(n) for n in range(3)]
    migrated(database, steps[:2])
    migrated(database, steps[:2])
    migrated(database, steps)
    assert ran == [0, 1, 2]
    assert ask(database, "SELECT version FROM tyntegra.schema_version") == [(3,)]


def test_migrate_an_older_schema_keeps_its_documents(database):
    first = PostgresStore.open(database)
    fill(first)
    first.close()

    def add_a_column(cursor, name):
        cursor.execute(f"ALTER TABLE {name}.collections ADD COLUMN note text DEFAULT 'kept'")

    migrated(database, (*schema.MIGRATIONS, add_a_column))
    assert ask(database, "SELECT note, documents FROM tyntegra.collections") == [("kept", 60)]


def test_migrate_step_that_fails_changes_nothing(database):
    def fail(cursor, name):
        cursor.execute(f"ALTER TABLE {name}.collections ADD COLUMN note text")
        raise RuntimeError

    PostgresStore.open(database).close()
    with pytest.raises(RuntimeError):
        migrated(database, (*schema.MIGRATIONS, fail))
    assert ask(database, "SELECT version FROM tyntegra.schema_version") == [(1,)]
    PostgresStore.open(database).close()


def test_open_newer_schema_is_refused_by_name(database):
    PostgresStore.open(database).close()
    ask(database, "UPDATE tyntegra.schema_version SET version = 7")
    with pytest.raises(StoreError, match=r"'tyntegra' has version 7, .* knows versions up to 1"):
        PostgresStore.open(database)


def test_open_by_several_processes_at_once_migrates_once(database):
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(lambda _: PostgresStore.open(database), range(8)))
    assert ask(database, "SELECT version FROM tyntegra.schema_version") == [(1,)]
    stores[0].create("demo", DIM, "m")
    assert [store.describe("demo").dim for store in stores] == [DIM] * 8
    for store in stores:
        store.close()


def test_open_database_that_cannot_hold_every_text_is_refused(postgres):
    refused = pytest.raises(StoreError, match=r"LATIN1.*UTF8")
    with postgres.database(encoding="LATIN1") as url, refused:
        PostgresStore.open(url)


def test_open_where_nothing_listens_says_where_and_no_password(postgres, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NotReadyError, match=r"127\.0\.0\.1:9/d cannot be reached") as refusal:
        PostgresStore.open("postgresql://owner:hush-hush@127.0.0.1:9/d")
    assert "hush" not in refusal.value.message + caplog.text


def test_open_with_a_wrong_password_says_so_and_shows_none(postgres, caplog):
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://owner:hush-hush@127.0.0.1:{postgres.port}/postgres"
    with pytest.raises(NotReadyError, match="password authentication failed") as refusal:
        PostgresStore.open(url)
    assert "hush" not in refusal.value.message + caplog.text


def test_open_missing_database_is_named(postgres):
    with pytest.raises(NotReadyError, match='database "none" does not exist'):
        PostgresStore.open(postgres.url("none"))


@pytest.mark.parametrize("url", ["postgresql://u:hush@h/d?hush=1", "user=u password='hush"])
def test_open_url_that_cannot_be_read_is_not_repeated(url):
    with pytest.raises(InvalidInputError, match="cannot be read") as refusal:
        PostgresStore.open(url)
    assert "hush" not in refusal.value.message


def test_open_session_commits_to_disk_even_if_the_role_does_not(postgres, database):
    name = database.rpartition("/")[2]
    ask(database, f"ALTER DATABASE {name} SET synchronous_commit = off")
    store = PostgresStore.open(database)
    with store._database.write() as cursor:
        assert cursor.execute("SHOW synchronous_commit").fetchone() == ("on",)
    store.close()


def test_calls_beyond_the_pool_wait_and_then_say_that_it_is_busy(database, monkeypatch):
    monkeypatch.setattr(pool, "WAIT_S", 0.2)
    store = PostgresStore.open(database, connections=1)
    with store._database.read(), pytest.raises(OverloadedError, match="busy"):
        store.collections()
    assert store.collections() == []
    store.close()


def test_collection_with_missing_tables_is_unavailable_and_others_serve(engine, database):
    fill(engine)
    engine.create("other", DIM, "m")
    ask(database, "DROP TABLE tyntegra.postings_1")
    assert list(engine.unavailable()) == ["demo"]
    assert "postings_1" in engine.unavailable()["demo"]
    for call in (
        lambda: engine.match("demo", ["text"], 5),
        lambda: engine.upsert("demo", *corpus(5)),
        lambda: engine.flush("demo"),
    ):
        with pytest.raises(NotReadyError, match="tables of the collection demo are missing"):
            call()
    assert engine.upsert("other", *corpus(5)) == 5
    engine.drop("demo")
    assert engine.unavailable() == {}


def test_values_too_long_for_an_index_are_refused_or_stored_whole(engine):
    engine.create("demo", DIM, "m", Options(fields={"tag": "string"}))
    long = "".join(np.random.default_rng(0).permutation(list("abcdefgh" * 5000)))
    tagged = Document("a", "text", None, {"tag": long})
    assert engine.upsert("demo", [tagged], vectors_of(1)) == 1
    assert engine.count("demo", In("metadata.tag", (long,))) == 1
    assert engine.count("demo", In("metadata.tag", (long[1:],))) == 0
    with pytest.raises(InvalidInputError, match="too long to be indexed"):
        engine.upsert("demo", [Document("b", "text", long)], vectors_of(1))


@pytest.mark.parametrize(
    "where",
    [
        In("lang", ("eng_Latn",)),
        In("script", ("Latn", "Arab")),
        In("metadata.n", (3, 5)),
        Range("metadata.n", gte=3, lt=5),
        In("metadata.tag", ("a", "b")),
        In("doc_id", ("d1",)),
    ],
)
def test_filters_on_declared_fields_use_their_index(engine, database, where):
    options = Options(fields={"n": "integer", "tag": "string"})
    engine.create("demo", DIM, "m", options)
    condition = Condition(where, options.fields)
    with engine._database.read() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        table = schema.find(cursor, "tyntegra", "demo")
        query = "EXPLAIN SELECT FROM {documents} d WHERE {where}"
        cursor.execute(table.fill(query, where=condition.text), condition.parameters)
        assert "Index Cond" in "\n".join(row[0] for row in cursor)


@pytest.mark.parametrize("dim", [1, 1_801, 2_001, 4_001, schema.MAX_DIM])
def test_dimensions_of_every_layout_search_alike(engine, dim):
    engine.create("demo", dim, "m")
    rows = np.random.default_rng(0).normal(size=(5, dim)) + 1e-3
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    documents = [Document("x" * 512 + str(i), "word " * 500) for i in range(5)]
    documents = [Document(d.doc_id[-512:], d.text) for d in documents]
    engine.upsert("demo", documents, rows)
    best = engine.search("demo", rows[3:4], 5)[0][0]
    assert best.score == pytest.approx(1, abs=1e-5)
    assert np.array_equal(engine.scan("demo", vectors=True).vectors, rows)


def test_create_beyond_what_the_server_holds_is_refused(engine):
    with pytest.raises(InvalidInputError, match="16000"):
        engine.create("demo", schema.MAX_DIM + 1, "m")
    assert engine.collections() == []


def test_server_errors_are_logged_without_documents(engine, database, caplog):
    caplog.set_level(logging.INFO)
    fill(engine)
    ask(database, "ALTER TABLE tyntegra.documents_1 ADD CHECK (text <> 'unspeakable')")
    with pytest.raises(StoreError, match="23514") as refusal:
        engine.upsert("demo", [Document("a", "unspeakable")], vectors_of(1))
    assert "unspeakable" not in refusal.value.message + caplog.text


def test_close_while_calls_run_ends_soon(database):
    store = PostgresStore.open(database)
    fill(store)
    began = time.monotonic()
    store.close()
    assert time.monotonic() - began < 5
    with pytest.raises(NotReadyError, match="closed"):
        store.search("demo", vectors_of(1), 1)


def test_role_without_privileges_works_once_the_extension_is_there(postgres, database):
    name, role = database.rpartition("/")[2], f"role_{database[-6:]}"
    ask(database, f"CREATE ROLE {role} LOGIN PASSWORD 'plain'")
    ask(database, f"GRANT CREATE ON DATABASE {name} TO {role}")
    url = f"postgresql://{role}:plain@127.0.0.1:{postgres.port}/{name}"
    try:
        with pytest.raises(StoreError, match="CREATE EXTENSION vector"):
            PostgresStore.open(url)
        ask(
            database,
            "CREATE SCHEMA elsewhere",
        )
        ask(database, f"GRANT USAGE ON SCHEMA elsewhere TO {role}")
        ask(database, "CREATE EXTENSION vector SCHEMA elsewhere")
        store = PostgresStore.open(url)
        fill(store)
        store.flush("demo")
        store.create("next", DIM, "model@1")
        store.replace("demo", "next")
        assert store.upsert("demo", *corpus(5)) == 5
        assert len(store.search("demo", vectors_of(1), 10)[0]) == 5
        store.close()
    finally:
        ask(database, f"DROP OWNED BY {role}")
        ask(database, f"DROP ROLE {role}")
