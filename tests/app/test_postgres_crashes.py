"""Servers that die: what was acknowledged is there afterwards, and calls say what happened."""

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import threading
import time

import numpy as np
import psycopg
import pytest

from app.errors import NotReadyError, ServiceError, StoreError
from app.retrieval.documents import Document
from app.retrieval.postgres.store import PostgresStore

from .contract_data import DIM, corpus, fill, vectors_of
from .postgres_server import CannotStartError, running

pytestmark = pytest.mark.postgres
KILLS = int(os.environ.get("TYNTEGRA_TEST_POSTGRES_KILLS", "4"))
BATCH = 20


@pytest.fixture(scope="module")
def mortal(postgres):
    """A server of this module's own, to be killed."""
    try:
        with running() as server:
            yield server
    except CannotStartError as error:
        pytest.skip(f"no second server: {error}")


@pytest.fixture
def place(mortal):
    with mortal.database() as url:
        yield url


def batch(number):
    """Documents of two passages each, and again the first of the batch before."""
    names = [f"{number}-{i}" for i in range(BATCH)] + [f"{max(number - 1, 0)}-0"]
    documents = [Document(name, f"first {number}. second {number}.") for name in names]
    spans = [[(0, d.text.index(".")), (d.text.index("second"), len(d.text))] for d in documents]
    rows = np.repeat(vectors_of(len(names), number), 2, axis=0)
    return documents, rows, spans


class Ingest(threading.Thread):
    """Writes batch after batch; of one that failed it is not known whether it was written."""

    def __init__(self, store):
        super().__init__()
        self.store = store
        self.acknowledged: dict[str, int] = {}
        self.unknown: set[int] = set()
        self.failures: list[BaseException] = []
        self.stop = threading.Event()

    def run(self):
        for number in itertools.count():
            documents, rows, spans = batch(number)
            while not self.stop.is_set():
                try:
                    self.store.upsert("demo", documents, rows, spans)
                except ServiceError as error:
                    self.unknown.add(number)
                    self.failures.append(error)
                    time.sleep(0.02)
                    continue
                except BaseException as error:  # What the API would answer with a 500
                    self.failures.append(error)
                    return
                self.acknowledged |= {document.doc_id: number for document in documents}
                break
            if self.stop.is_set():
                return

    def end(self):
        self.stop.set()
        self.join(30)
        assert not self.is_alive()
        assert all(isinstance(error, NotReadyError | StoreError) for error in self.failures)


def assert_nothing_lost(store, ingest):
    """Each acknowledged document is there, as last written, and none is half there."""
    wait_for(lambda: store.count("demo"))
    found, after = {}, None
    while True:
        page = store.scan("demo", after)
        found |= {d.doc_id: (d, s) for d, s in zip(page.documents, page.spans, strict=True)}
        after = page.next
        if after is None:
            break
    assert len(ingest.acknowledged) > BATCH
    for name, number in ingest.acknowledged.items():
        document, _ = found[name]
        written = int(document.text.split(" ")[1].rstrip("."))
        assert written == number or written in ingest.unknown
    for name, (document, spans) in found.items():
        assert [document.text[a:b].split(" ")[0] for a, b in spans] == ["first", "second"], name
    assert store.count("demo") == len(found)
    exact = store.search("demo", vectors_of(1), 1000, exact=True)[0]
    assert len(exact) == min(len(found), 1000)


def backends(url):
    with psycopg.connect(url) as connection:
        return [
            pid
            for (pid,) in connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'tyntegra'"
            )
        ]


def wait_for(call):
    deadline = time.monotonic() + 60
    while True:
        try:
            return call()
        except (psycopg.OperationalError, NotReadyError):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_backends_killed_during_ingest_lose_nothing_acknowledged(place):
    store = PostgresStore.open(place)
    store.create("demo", DIM, "m")
    ingest = Ingest(store)
    ingest.start()
    rng = np.random.default_rng(0)
    killed = 0
    for _ in range(KILLS):
        time.sleep(float(rng.uniform(0.1, 0.4)))
        for pid in wait_for(lambda: backends(place)):
            with contextlib.suppress(ProcessLookupError):  # The first one's death ends the others
                os.kill(pid, signal.SIGKILL)
                killed += 1
    wait_for(lambda: store.count("demo"))
    ingest.end()
    assert killed  # Whether a write was under way is a matter of luck
    assert_nothing_lost(store, ingest)
    store.close()


def test_server_killed_whole_during_ingest_loses_nothing_acknowledged(mortal, place):
    store = PostgresStore.open(place)
    store.create("demo", DIM, "m")
    ingest = Ingest(store)
    ingest.start()
    for _ in range(2):
        time.sleep(0.4)
        mortal.kill()
        mortal.start()
    wait_for(lambda: store.count("demo"))
    ingest.end()
    store.close()
    again = PostgresStore.open(place)
    assert_nothing_lost(again, ingest)
    again.close()


def test_server_away_is_said_within_seconds_and_over_when_it_is_back(
    mortal, place, caplog, monkeypatch
):
    # A service that another test ran in this process may have kept its log to itself.
    monkeypatch.setattr(logging.getLogger("app"), "propagate", True)
    caplog.set_level(logging.WARNING, "app")
    store = PostgresStore.open(place)
    fill(store)
    mortal.stop()
    began = time.monotonic()
    calls = [
        store.collections,
        store.unavailable,
        lambda: store.search("demo", vectors_of(1), 3),
        lambda: store.upsert("demo", *corpus(2)),
        lambda: store.flush("demo"),
    ]
    for call in calls:
        with pytest.raises(NotReadyError, match=r"PostgreSQL .*(does not answer|be reached)") as no:
            call()
        assert "127.0.0.1" not in no.value.message  # Where it is, only the log says
    assert f"127.0.0.1:{mortal.port}" in caplog.text
    assert mortal.password not in caplog.text
    assert time.monotonic() - began < 20
    mortal.start()
    assert len(wait_for(lambda: store.search("demo", vectors_of(1), 3))[0]) == 3
    store.close()


def test_read_over_a_connection_that_broke_is_asked_again(mortal, place):
    store = PostgresStore.open(place, connections=1)
    fill(store)
    for _ in range(3):
        for pid in backends(place):
            with psycopg.connect(place, autocommit=True) as connection:
                connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        assert store.count("demo") == 60
    store.close()


def test_service_whose_server_is_away_answers_503_and_not_500(mortal, place, start):
    store = PostgresStore.open(place)

    async def check():
        async with start(store=store) as running:
            made = await running.client.put("/collections/demo", json={})
            assert made.status_code == 200
            mortal.stop()
            sent = {"documents": [{"doc_id": "a", "text": "text"}]}
            for reply in [
                await running.client.get("/health/ready"),
                await running.client.get("/collections"),
                await running.client.post("/search", json={"collection": "demo", "queries": "x"}),
                await running.client.post("/collections/demo/documents", json=sent),
            ]:
                assert reply.status_code == 503, reply.text
                assert "PostgreSQL" in reply.json()["detail"]
                assert "127.0.0.1" not in reply.text
                assert mortal.password not in reply.text
            assert (await running.client.get("/health/live")).status_code == 200
            mortal.start()

    asyncio.run(check())


def test_server_that_does_not_sync_is_refused(mortal, place):
    try:
        with psycopg.connect(mortal.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        time.sleep(0.3)
        with pytest.raises(StoreError, match="fsync off"):
            PostgresStore.open(place)
    finally:
        with psycopg.connect(mortal.url(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM RESET fsync")
            connection.execute("SELECT pg_reload_conf()")
