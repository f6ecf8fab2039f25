"""What the distributed engine asks of its server, and how it stands changes from elsewhere."""

import hashlib
import time

import pytest

from app.errors import NotFoundError, StoreError
from app.opening import open_store
from app.retrieval.documents import Document
from app.retrieval.filters import In
from app.retrieval.store import Options
from app.settings import Settings

from .contract_data import DIM, agree_on_match, agree_on_search, corpus, fill, vectors_of
from .reference_store import ReferenceStore

pytest.importorskip("qdrant_client", reason="needs the extra qdrant")

from qdrant_client import models

from app.retrieval.payload import index_paths, point_ids
from app.retrieval.qdrant.nodes import Cluster
from app.retrieval.qdrant.store import QdrantStore

from .qdrant_server import serving

SPREAD = Cluster("ours", "a-key", shards=3, replicas=2, read="majority", timeout_s=10)


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
def opened(server, place, backend):
    """Opens stores on one server, and closes them."""
    stores = []

    def open_one(cluster=None):
        stores.append(QdrantStore.open(server.url(place), cluster or Cluster(timeout_s=10)))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()
    assert backend.wrong == []


def test_create_asks_for_shards_replicas_and_indexes(opened, backend):
    opened(SPREAD).create("demo", 5, "m", Options(fields={"year": "integer", "a.b": "string"}))
    ((physical, made),) = backend.created.items()
    assert made.vectors == models.VectorParams(size=5, distance=models.Distance.DOT)
    assert list(made.sparse_vectors or {}) == ["words"]
    assert (made.shard_number, made.sharding_method) == (1, models.ShardingMethod.CUSTOM)
    assert (made.replication_factor, made.write_consistency_factor) == (2, 2)
    assert backend.shards[physical] == {"s0", "s1", "s2"}
    assert made.strict_mode_config == models.StrictModeConfig(enabled=False)
    assert backend.indexes[physical] == index_paths(["year", "a.b"]) | {"t": "integer"}


def test_create_on_one_node_asks_for_no_shards(opened, backend):
    opened().create("demo", 5, "m")
    (made,) = backend.created.values()
    assert (made.sharding_method, made.replication_factor) == (None, 1)
    assert backend.shards == {}


def test_requests_carry_key_consistency_and_wait(opened, backend):
    store = fill(opened(SPREAD))
    store.search("demo", vectors_of(1), 3)
    store.match("demo", ["text"], 3)
    store.delete("demo", ["d1"])
    store.delete_where("demo", In("metadata.n", (2,)))
    store.scan("demo")
    assert all(headers["api-key"] == "a-key" for _, _, headers in backend.asked)
    asked = {name: options for name, options, _ in backend.asked}
    for reading in ("query", "scroll", "retrieve"):
        assert asked[reading]["consistency"] == ["majority"]
    writes = [options for name, options, _ in backend.asked if name == "update"]
    assert len(writes) == 3
    assert all(one["wait"] == ["true"] and one["ordering"] == ["medium"] for one in writes)


def test_documents_of_a_spread_collection_stay_in_one_shard_each(opened, backend):
    store = opened(SPREAD)
    store.create("demo", DIM, "m")
    documents = [Document(f"d{i}", "one two") for i in range(30)]
    store.upsert("demo", documents, vectors_of(60), [[(0, 3), (4, 7)]] * 30)
    shards = {point: shard for (_, point), shard in backend.shard_of.items()}
    used = set()
    for document in documents:
        first, second = point_ids(document.doc_id, 2)
        assert shards[first] == shards[second]
        used.add(shards[first])
    assert used == {"s0", "s1", "s2"}


def test_replace_moves_the_name_in_one_request(opened, backend):
    store = fill(opened())
    store.create("next", DIM, "m")
    backend.seen.clear()
    store.replace("demo", "next")
    assert backend.seen["POST change_aliases"] == 1


def test_other_process_meets_what_was_replaced_dropped_and_written(opened):
    one, other = opened(), opened()
    fill(one)
    assert other.count("demo") == 60
    one.upsert("demo", [Document("new", "new")], vectors_of(1, seed=3))
    assert other.search("demo", vectors_of(1, seed=3), 1)[0][0].document.doc_id == "new"
    one.create("next", DIM, "m")
    one.upsert("next", *corpus(3))
    one.replace("demo", "next")
    assert len(other.search("demo", vectors_of(1), 100)[0]) == 3
    assert other.upsert("demo", [Document("new", "new")], vectors_of(1)) == 1
    assert one.count("demo") == 4
    one.drop("demo")
    with pytest.raises(NotFoundError, match="demo"):
        other.search("demo", vectors_of(1), 1)
    assert other.create("demo", DIM + 1, "m").count == 0
    assert one.describe("demo").dim == DIM + 1


def test_stores_of_two_prefixes_on_one_server_do_not_meet(opened):
    one, other = opened(Cluster("a")), opened(Cluster("b"))
    fill(one)
    assert other.collections() == []
    other.create("demo", 3, "m")
    assert [c.dim for c in one.collections()] == [DIM]
    other.drop("demo")
    assert one.count("demo") == 60


def test_what_others_keep_on_the_server_is_left_alone(opened, backend):
    for name in ("theirs", "tyntegra.theirs", "tyntegra.x.0123456789ab.y"):
        backend.local.create_collection(name, vectors_config={})
    store = opened()
    assert store.collections() == []
    assert len(backend.local.get_collections().collections) == 3


def test_collection_that_was_not_made_here_is_unavailable(opened, backend):
    store = fill(opened())
    backend.local.create_collection(
        "theirs", vectors_config={}, metadata={"tyntegra": {"format": 9}}
    )
    alias = models.CreateAlias(collection_name="theirs", alias_name="tyntegra.strange")
    backend.local.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    assert list(store.unavailable()) == ["strange"]
    assert [c.name for c in store.collections()] == ["demo"]
    with pytest.raises(StoreError, match="not made by this version"):
        store.search("strange", vectors_of(1), 1)
    store.drop("strange")
    assert store.unavailable() == {}


def test_collection_that_the_server_calls_red_is_reported_and_still_read(opened, backend):
    store = fill(opened())
    backend.red = "No space left on device"
    assert list(store.unavailable()) == ["demo"]
    assert "No space left on device" in store.unavailable()["demo"]
    assert [c.name for c in store.collections()] == ["demo"]
    assert len(store.search("demo", vectors_of(1), 5)[0]) == 5


@pytest.mark.parametrize(("age_s", "left"), [(90_000, 0), (7200, 1)])
def test_leftovers_of_a_crash_are_swept_when_they_are_old(opened, backend, age_s, left):
    own = {"format": 1, "created": time.time() - age_s}
    backend.local.create_collection(
        "tyntegra.demo.0123456789ab", vectors_config={}, metadata={"tyntegra": own}
    )
    fill(opened()).close()
    opened()
    assert len(backend.local.get_collections().collections) == 1 + left


def passages(store, text, seed):
    """Write ``a`` with a passage for each word, and three others."""
    words = text.split()
    ends = [sum(len(word) + 1 for word in words[: i + 1]) - 1 for i in range(len(words))]
    spans = [(end - len(word), end) for word, end in zip(words, ends, strict=True)]
    rows = vectors_of(len(words), seed)
    store.upsert("demo", [Document("a", text)], rows, [spans])
    return rows


def test_document_replaced_while_a_search_reads_it_is_of_one_version(opened, backend):
    store, judge = opened(), ReferenceStore()
    for one in (store, judge):
        one.create("demo", DIM, "m")
        one.upsert("demo", [Document(f"o{i}", "maji") for i in range(3)], vectors_of(3, seed=9))
    rows = passages(store, "maji safi kata", 1)
    backend.before["retrieve"] = lambda: passages(store, "kata", 2)
    found = store.search("demo", rows[2:], 5)
    passages(judge, "kata", 2)
    assert found == store.search("demo", rows[2:], 5)
    agree_on_search(store, judge, rows[2:], 5)
    backend.before["retrieve"] = lambda: passages(store, "kata maji safi", 3)
    found = store.match("demo", ["kata maji"], 5)
    passages(judge, "kata maji safi", 3)
    assert {hit.document.text for hit in found[0]} == {"maji", "kata maji safi"}
    agree_on_match(store, judge, ["kata maji"], 5)


def test_document_replaced_while_a_page_is_read_is_of_one_version(opened, backend):
    store = opened()
    store.create("demo", DIM, "m")
    passages(store, "maji safi kata", 1)
    backend.before["retrieve"] = lambda: passages(store, "one two", 2)
    page = store.scan("demo", vectors=True)
    assert ([d.text for d in page.documents], page.spans) == (["one two"], [[(0, 3), (4, 7)]])
    backend.before["retrieve"] = lambda: store.delete("demo", ["a"])
    assert store.scan("demo", vectors=True).documents == []


def test_passages_that_a_crash_left_behind_are_never_hits_and_go_with_the_next_write(
    opened, backend
):
    store, judge = opened(), ReferenceStore()
    for one in (store, judge):
        one.create("demo", DIM, "m")
        one.upsert("demo", [Document(f"o{i}", "maji") for i in range(30)], vectors_of(30, seed=9))
    rows = passages(store, "maji safi kata", 1)
    physical = backend.real("tyntegra.demo")
    old = backend.local.retrieve(physical, point_ids("a", 3)[1:], with_vectors=True)
    passages(store, "kata", 2)
    backend.local.upsert(
        physical,
        [models.PointStruct(id=r.id, vector=r.vector, payload=r.payload) for r in old],  # pyright: ignore
    )
    passages(judge, "kata", 2)
    for top_k in (1, 2, 31):
        agree_on_search(store, judge, rows, top_k)
    assert [hit.document.text for hit in store.match("demo", ["safi"], 5)[0]] == []
    assert store.count("demo") == 31
    assert store.scan("demo").spans == [[(0, 4)]] * 31
    passages(store, "one", 3)
    assert backend.local.count(physical).count == 31
    passages(store, "maji safi kata", 1)
    passages(store, "kata", 2)
    assert store.delete("demo", ["a"]) == 1
    assert backend.local.count(physical).count == 30


def test_settings_reach_the_server(server, place, backend):
    settings = Settings(
        store=server.url(place),
        qdrant_key="secret",  # pyright: ignore[reportArgumentType]
        qdrant_prefix="mine",
        qdrant_shards=2,
        qdrant_replicas=3,
        qdrant_write_replicas=2,
        qdrant_read="quorum",
    )
    store = fill(open_store(settings))
    store.search("demo", vectors_of(1), 1)
    store.close()
    ((physical, made),) = backend.created.items()
    assert physical.startswith("mine.demo.")
    assert (made.replication_factor, made.write_consistency_factor) == (3, 2)
    assert len(backend.shards[physical]) == 2
    name, options, headers = backend.asked[-1]
    assert (name, options["consistency"], headers["api-key"]) == ("retrieve", ["quorum"], "secret")
