"""Several processes on one database: nothing is lost, counted twice, or waited for in a circle."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from app.errors import ConflictError, NotFoundError, ServiceError
from app.retrieval.documents import Document
from app.retrieval.filters import In, Not
from app.retrieval.postgres.store import PostgresStore

from .contract_data import DIM, corpus, fill, vectors_of

pytestmark = pytest.mark.postgres


@pytest.fixture
def engine(database):
    opened = PostgresStore.open(database, connections=4)
    yield opened
    opened.close()


def ask(url, query):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query).fetchall()


def test_create_by_many_at_once_makes_one(engine, database):
    other = PostgresStore.open(database)
    with ThreadPoolExecutor(8) as threads:
        made = list(
            threads.map(lambda n: (engine, other)[n % 2].create("demo", DIM, "m"), range(16))
        )
    assert {(one.name, one.dim, one.count) for one in made} == {("demo", DIM, 0)}
    with pytest.raises(ConflictError):
        other.create("demo", DIM + 1, "m")
    other.close()


def test_upserts_by_many_at_once_lose_nothing_and_count_right(engine, database):
    other = PostgresStore.open(database)
    engine.create("demo", DIM, "m")
    vectors = vectors_of(20)

    def write(n):
        # Half of the names are everyone's, in another order for each.
        mine = [Document(f"own{n}-{i}", f"word{n} text") for i in range(10)]
        shared = [Document(f"shared{(i * 3 + n) % 10}", f"by{n}") for i in range(10)]
        assert (engine, other)[n % 2].upsert("demo", mine + shared, vectors) == 20

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(12)))
    assert engine.count("demo") == engine.describe("demo").count == 130
    assert engine.count("demo", Not(In("doc_id", ("none",)))) == 130
    assert ask(database, "SELECT count(*) FROM tyntegra.passages_1") == [(130,)]
    tokens = "SELECT sum(cardinality(tokens)) FROM tyntegra.passages_1"
    assert ask(database, tokens) == ask(database, "SELECT count(*) FROM tyntegra.postings_1")
    assert len(other.match("demo", ["word7"], 100)[0]) == 10
    other.close()


def test_drop_and_create_under_traffic_only_ever_say_that_it_is_missing(engine, database):
    other = PostgresStore.open(database, connections=6)
    fill(engine)
    stop, wrong = threading.Event(), []

    def use(call):
        while not stop.is_set():
            try:
                call()
            except NotFoundError:
                continue
            except ServiceError as error:
                wrong.append(error)

    calls = [
        lambda: other.search("demo", vectors_of(1), 5),
        lambda: other.match("demo", ["text"], 5),
        lambda: other.upsert("demo", *corpus(5)),
        lambda: other.scan("demo", vectors=True),
        lambda: other.size_bytes("demo"),
    ]
    threads = [threading.Thread(target=use, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for _ in range(10):
        engine.drop("demo")
        fill(engine)
    stop.set()
    for thread in threads:
        thread.join()
    other.close()
    assert wrong == []


def test_replace_under_traffic_shows_the_old_documents_or_the_new(engine, database):
    other = PostgresStore.open(database)
    fill(engine)
    stop, seen, wrong = threading.Event(), set(), []

    def look():
        while not stop.is_set():
            try:
                hits = other.search("demo", vectors_of(1), 100)[0]
                seen.add((len(hits), *{hit.document.text.split()[0] for hit in hits}))
            except ServiceError as error:
                wrong.append(error)

    thread = threading.Thread(target=look)
    thread.start()
    for number in range(8):
        engine.create("next", DIM, "model@1")
        documents = [Document(f"n{i}", f"{number} new") for i in range(number + 1)]
        engine.upsert("next", documents, vectors_of(number + 1))
        engine.replace("demo", "next")
    stop.set()
    thread.join()
    other.close()
    assert wrong == []
    assert len(seen) > 1
    assert seen <= {(60, "text")} | {(number + 1, str(number)) for number in range(8)}
    assert [found.name for found in engine.collections()] == ["demo"]
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'tyntegra'"
    assert ask(database, tables) == [(2 + 3,)]
