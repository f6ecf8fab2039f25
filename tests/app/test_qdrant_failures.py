"""What the distributed engine does when nodes fail: it tries again, or says what is wrong."""

import contextlib
import hashlib
import socket
import time

import pytest

from app.errors import NotReadyError, ServiceError, StoreError, TooLargeError
from app.retrieval.documents import Document
from app.retrieval.filters import In

from .contract_data import DIM, corpus, fill, vectors_of

pytest.importorskip("qdrant_client", reason="needs the extra qdrant")

from app.retrieval.qdrant import nodes
from app.retrieval.qdrant.store import Cluster, QdrantStore

from .qdrant_routes import Fault
from .qdrant_server import serving

PASSING = [503, 500, "reset", "lost"]
CALLS = {
    "search": lambda store: store.search("demo", vectors_of(2), 5),
    "match": lambda store: store.match("demo", ["text 7"], 5),
    "get": lambda store: store.get("demo", ["d1", "none", "d2"]),
    "scan": lambda store: store.scan("demo", None, 7).documents,
    "count": lambda store: store.count("demo", In("metadata.even", (True,))),
    "collections": lambda store: store.collections(),
    "languages": lambda store: store.languages("demo"),
    "flush": lambda store: store.flush("demo"),
    "upsert": lambda store: store.upsert("demo", *corpus(3, seed=5)),
    "delete": lambda store: store.delete("demo", ["d1", "d2", "none"]),
    "delete_where": lambda store: store.delete_where("demo", In("metadata.n", (1, 2, 99))),
    "create": lambda store: store.create("other", DIM, "m"),
    "replace": lambda store: store.replace("demo", "next").count,
    "drop": lambda store: store.drop("demo"),
}


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


def open_filled(server, place):
    store = QdrantStore.open(server.url(place), Cluster(timeout_s=3))
    for name, count in (("demo", 20), ("next", 4)):
        store.create(name, DIM, "m")
        store.upsert(name, *corpus(count))
    return store


@pytest.fixture
def store(server, place):
    opened = open_filled(server, place)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def calm(server):
    """What each call gives, and leaves, where nothing fails."""
    outcomes = {}
    for call, make in CALLS.items():
        store = open_filled(server, f"calm-{call}")
        outcomes[call] = (make(store), store.collections())
        store.close()
    return outcomes


@pytest.fixture
def hasty(monkeypatch):
    """Pauses that take no time, and how many there were."""
    pauses = []
    monkeypatch.setattr(nodes.time, "sleep", pauses.append)
    return pauses


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("kind", PASSING)
def test_call_that_fails_twice_succeeds_as_if_nothing_had_been(
    store, backend, calm, hasty, kind, call
):
    backend.faults = [Fault(kind, times=2)]
    assert (CALLS[call](store), store.collections()) == calm[call]
    assert (backend.faults[0].times, len(hasty)) == (0, 2)
    assert store.unavailable() == {}
    named = {alias.collection_name for alias in backend.local.get_aliases().aliases}
    assert {found.name for found in backend.local.get_collections().collections} == named


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("create", "PUT /collections/tyntegra.other"),
        ("create", "/index"),
        ("create", "POST /collections/aliases"),
        ("replace", "POST /collections/aliases"),
        ("replace", "DELETE /collections/tyntegra.demo"),
        ("drop", "POST /collections/aliases"),
        ("drop", "DELETE /collections/tyntegra.demo"),
        ("upsert", "points/batch"),
        ("delete", "points/batch"),
        ("delete_where", "points/batch"),
    ],
)
def test_change_whose_answer_is_lost_is_made_once(store, backend, hasty, call, path):
    backend.faults = [Fault("lost", path=path)]
    CALLS[call](store)
    assert (backend.faults[0].times, len(hasty)) == (0, 1)
    names = {"create": {"demo", "next", "other"}, "replace": {"demo"}, "drop": {"next"}}
    assert {found.name for found in store.collections()} == names.get(call, {"demo", "next"})
    named = {alias.collection_name for alias in backend.local.get_aliases().aliases}
    assert {found.name for found in backend.local.get_collections().collections} == named


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (503, NotReadyError, "did not serve while .*: 503: told to fail"),
        (429, NotReadyError, "did not serve"),
        ("reset", NotReadyError, "did not serve while .*: (ReadError|RemoteProtocolError)"),
        (500, StoreError, "failed while .*: 500: told to fail"),
    ],
)
def test_call_that_goes_on_failing_says_what_is_wrong(store, backend, kind, error, message):
    backend.faults = [Fault(kind, times=10**6)]
    began = time.monotonic()
    with pytest.raises(error, match=message):
        store.search("demo", vectors_of(1), 1)
    assert 1 < time.monotonic() - began < 6
    assert 10**6 - 40 < backend.faults[0].times < 10**6 - 2
    backend.faults = []
    assert len(store.search("demo", vectors_of(1), 1)[0]) == 1


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        (400, StoreError, "failed while .*: 400: told to fail"),
        (422, StoreError, "422"),
        (401, StoreError, "TYNTEGRA_QDRANT_KEY"),
        (403, StoreError, "TYNTEGRA_QDRANT_KEY"),
        (413, TooLargeError, "send less"),
        ("junk", StoreError, "answered something unknown"),
    ],
)
def test_call_that_is_refused_is_not_sent_again(store, backend, hasty, kind, error, message):
    backend.faults = [Fault(kind, times=9)]
    for call in ("upsert", "search", "scan"):
        with pytest.raises(error, match=message):
            CALLS[call](store)
    assert backend.faults[0].times == 6
    assert hasty == []


@pytest.mark.parametrize("call", CALLS)
def test_any_failure_anywhere_is_one_that_the_service_explains(
    store, backend, hasty, monkeypatch, call
):
    """Each request of the call fails in its turn, and all after it."""
    monkeypatch.setattr(store._nodes, "_timeout_s", 0.05)
    for kind in (503, 500, 404, 418, "reset", "lost", "junk"):
        for spared in range(3):
            backend.faults = [Fault("slow", times=spared), Fault(kind, times=10**6)]
            with contextlib.suppress(ServiceError):
                CALLS[call](store)


def test_slow_node_is_given_up_and_the_call_sent_again(store, backend):
    backend.faults = [Fault("slow", path="count", seconds=1.6)]
    began = time.monotonic()
    assert store.count("demo") == 20
    assert 0.9 < time.monotonic() - began < 2.9


def test_server_that_is_too_busy_says_when_to_come_back(store, backend, hasty):
    backend.faults = [Fault(429, seconds=2.0)]
    assert store.count("demo") == 20
    assert 2.0 < hasty[0] < 2.5


def test_pauses_grow_and_have_some_chance(store, backend, hasty):
    backend.faults = [Fault(503, times=4)]
    assert store.count("demo") == 20
    for attempt, pause in enumerate(hasty, 1):
        assert 0.05 * 2**attempt <= pause <= 0.15 * 2**attempt
    assert len({round(pause / 2**attempt, 6) for attempt, pause in enumerate(hasty, 1)}) == 4


@pytest.fixture
def dead():
    """The address of a node that is not there."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def test_store_of_several_nodes_goes_on_without_one(server, place, dead):
    urls = f"{dead}, {server.url(place)}"
    store = QdrantStore.open(urls, Cluster(timeout_s=3))
    fill(store)
    assert store.count("demo") == 60
    assert [len(hits) for hits in store.search("demo", vectors_of(3), 5)] == [5, 5, 5]
    store.close()


def test_failures_name_no_address_to_callers(store, backend, hasty, monkeypatch):
    monkeypatch.setattr(store._nodes, "_timeout_s", 0.05)
    for kind in (503, 500, 404, "reset", "junk"):
        backend.faults = [Fault(kind, times=10**6)]
        with pytest.raises(ServiceError) as failure:
            store.search("demo", vectors_of(1), 1)
        assert "127.0.0.1" not in failure.value.message


def test_close_during_a_call_is_told_and_not_a_bug(store, backend):
    backend.before["query"] = store.close
    with pytest.raises(NotReadyError):
        store.search("demo", vectors_of(1), 5)


def test_open_where_nothing_answers_says_so(dead):
    began = time.monotonic()
    with pytest.raises(NotReadyError, match="did not serve while asking for its version"):
        QdrantStore.open(dead, Cluster(timeout_s=1))
    assert time.monotonic() - began < 3


def test_open_what_is_no_qdrant_says_so(server, place, backend):
    backend.title = "another service"
    with pytest.raises(StoreError, match="another service"):
        QdrantStore.open(server.url(place))
    backend.faults = [Fault("junk")]
    with pytest.raises(StoreError, match="answered something unknown"):
        QdrantStore.open(server.url(place))


def test_write_that_fails_for_good_leaves_each_document_whole(server, place, backend, hasty):
    store = QdrantStore.open(server.url(place), Cluster(timeout_s=0.05, shards=3))
    store.create("demo", DIM, "m")
    documents = [Document(f"d{i}", "one two") for i in range(12)]
    old, new = vectors_of(24), vectors_of(12, seed=1)
    store.upsert("demo", documents, old, [[(0, 3), (4, 7)]] * 12)
    backend.faults = [Fault("half", path="points/batch", times=10**6)]
    shorter = [Document(f"d{i}", "three") for i in range(12)]
    with pytest.raises(NotReadyError):
        store.upsert("demo", shorter, new)
    backend.faults = []
    page = store.scan("demo", vectors=True)
    texts = {document.doc_id: document.text for document in page.documents}
    assert set(texts.values()) == {"one two", "three"}  # One shard of three had its part
    for document, spans in zip(page.documents, page.spans, strict=True):
        assert spans == ([(0, 5)] if document.text == "three" else [(0, 3), (4, 7)])
    for row in range(12):
        for hit in store.search("demo", new[row : row + 1], 12)[0]:
            assert hit.document.text == texts[hit.document.doc_id]
            assert (hit.span is None) == (hit.document.text == "three")
    hits = store.search("demo", old, 12)
    assert all(len({hit.document.doc_id for hit in found}) == 12 for found in hits)
    assert store.upsert("demo", shorter, new) == 12
    assert store.match("demo", ["two"], 5) == [[]]
    assert sum(map(len, store.scan("demo").spans)) == 12
    assert backend.local.count(backend.real("tyntegra.demo")).count == 12
    store.close()
