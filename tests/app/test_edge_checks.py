"""What the embedded engine checks after a crash: the account, vectors, and each text once more."""

import shutil
import signal
import time
from typing import Any

import numpy as np
import pytest

from app.errors import NotReadyError, StoreError
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore, builder, layout, reader
from app.retrieval.edge.account import Account, AccountFile, read_accounts
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.tally import Tally
from app.retrieval.filters import languages

from .edge_stores import collection_of, make, start, vectors_of

TEXT = "kettle"


@pytest.fixture(scope="module")
def wreck(tmp_path_factory):
    """A root whose writer was killed after a flush; every document holds the word kettle."""
    root = tmp_path_factory.mktemp("wreck") / "root"
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests/app")
from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore
from edge_stores import vectors_of
store = EdgeStore.open(Path(sys.argv[1]), reserve_bytes=0)
store.create("demo", 8, "m")
texts = [Document(f"d{i:02}", f"kettle {i:02} of many", "eng_Latn") for i in range(40)]
store.upsert("demo", texts, vectors_of(80), [[(0, 9), (10, 17)]] * 40)
store.flush("demo")
os.kill(os.getpid(), 9)
"""
    with start(code, root) as writer:
        pass
    assert writer.returncode == -signal.SIGKILL
    return root


@pytest.fixture
def root(wreck, tmp_path):
    shutil.copytree(wreck, tmp_path / "root")
    return tmp_path / "root"


def shard_of(root):
    return root / "demo" / layout.read_meta(root / "demo").shard


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def alter(root, *, ids=None, **payload):
    """Change payloads of points behind the store's back."""
    shard = Shard.load(shard_of(root))
    from qdrant_edge import UpdateOperation

    some = ids or [row.point_id for row in shard.scan(fields=("text",)) if "text" in row.payload]
    points: list[Any] = list(some[:1])
    shard._engine.update(UpdateOperation.set_payload(points, payload))
    shard.flush()
    shard.close()


def test_check_after_a_crash_reads_every_document_and_then_rests(root):
    store = EdgeStore.open(root, reserve_bytes=0)
    assert layout.read_meta(root / "demo").unchecked
    wait_for(lambda: not collection_of(store).meta.unchecked)
    assert not layout.read_meta(root / "demo").unchecked
    assert len(store.match("demo", [TEXT], 100)[0]) == 40
    store.close()
    store = EdgeStore.open(root, reserve_bytes=0)
    assert not collection_of(store).meta.unchecked
    store.close()


def test_check_that_a_close_cut_short_goes_on_after_reopening(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(EdgeStore, "unavailable", lambda _: {})
        patch.setattr("app.retrieval.edge.scrub.Scrub.step", lambda _: False)
        EdgeStore.open(root, reserve_bytes=0).close()
    assert layout.read_meta(root / "demo").unchecked
    assert layout.is_sealed(root / "demo")
    store = EdgeStore.open(root, reserve_bytes=0)
    wait_for(lambda: not collection_of(store).meta.unchecked)
    store.close()


def test_text_altered_at_a_crash_is_never_answered(root, monkeypatch):
    monkeypatch.setattr("app.retrieval.edge.scrub.Scrub.step", lambda _: False)
    alter(root, text="no kettle here at all")
    store = EdgeStore.open(root, reserve_bytes=0)
    assert store.unavailable() == {}
    with pytest.raises(StoreError, match="does not fit its check sum"):
        store.search("demo", vectors_of(1), 1000)
    assert "check sum" in store.unavailable()["demo"]
    with pytest.raises(NotReadyError, match="snapshot"):
        store.count("demo", languages("eng_Latn"))
    store.close()
    assert not layout.is_sealed(root / "demo")


def test_text_altered_at_a_crash_is_found_in_the_background(root):
    alter(root, text="no kettle here at all")
    store = EdgeStore.open(root, reserve_bytes=0)
    wait_for(store.unavailable)
    assert "check sum" in store.unavailable()["demo"]
    store.drop("demo")
    assert store.unavailable() == {}
    store.close()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ({"check": 5}, "lacks passages, or has some of another time"),
        ({"parts": 1}, "not those that were acknowledged (0 or 40)"),
        ({"parts": 3}, "lacks passages"),
        ({"probe": 0}, "a vector is not as it was written"),
    ],
)
def test_books_that_do_not_fit_keep_the_collection_closed(root, payload, reason):
    alter(root, **payload)
    store = EdgeStore.open(root, reserve_bytes=0)
    assert reason in store.unavailable()["demo"]
    store.close()


def test_vector_altered_at_a_crash_keeps_the_collection_closed(root):
    from qdrant_edge import PointVectors, UpdateOperation

    shard = Shard.load(shard_of(root))
    row = next(shard.scan(fields=("text",)))
    altered = np.frombuffer(row.vector, np.float32).copy()
    altered[3] += 0.001
    points = [PointVectors(row.point_id, {"": altered.tolist()})]
    shard._engine.update(UpdateOperation.update_vectors(points))
    shard.flush()
    shard.close()
    store = EdgeStore.open(root, reserve_bytes=0)
    assert "a vector is not as it was written" in store.unavailable()["demo"]
    store.close()


def test_document_lost_from_the_engine_is_missed_by_the_account(root):
    shard = Shard.load(shard_of(root))
    (head, *_) = shard.scan(fields=("parts",))
    number = head.point_id[:-1]
    shard.delete([f"{number}0", f"{number}1"])
    shard.flush()
    shard.close()
    store = EdgeStore.open(root, reserve_bytes=0)
    reason = store.unavailable()["demo"]
    assert "39 documents are there" in reason
    store.close()
    account = next((root / "demo").glob("account-*"))
    assert str(account) in reason
    account.unlink()  # What the message offers
    store = EdgeStore.open(root, reserve_bytes=0)
    assert store.count("demo") == 39
    store.close()


def test_passages_left_by_a_write_cut_short_are_removed(root):
    shard = Shard.load(shard_of(root))
    from qdrant_edge import Point, UpdateOperation

    rows = list(shard.scan())
    left = rows[1].payload | {"part": 2}
    point = Point(rows[1].point_id[:-1] + "2", {"": [1.0] + [0.0] * 7}, left)
    shard._engine.update(UpdateOperation.upsert_points([point]))
    shard.flush()
    shard.close()
    store = EdgeStore.open(root, reserve_bytes=0)
    assert store.unavailable() == {}
    assert collection_of(store).held.require_open().count() == 80
    store.close()


def test_account_of_a_write_under_way_is_one_of_two(tmp_path):
    path = tmp_path / "account.bin"
    file = AccountFile(path)
    before = Account().with_written([(1, 5), (2, 7)])
    after = before.with_removed([(1, 5)]).with_written([(3, 2**63 - 1)])
    assert before == Account(2, 3, 12)
    assert after == Account(2, 5, 2**63 + 6)
    file.settle(before)
    assert set(read_accounts(path)) == {before}
    file.announce(after)
    assert set(read_accounts(path)) == {before, after}
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    path.write_bytes(data)
    assert len(read_accounts(path)) == 1
    path.write_bytes(data[:20])
    with pytest.raises(ValueError, match="damaged"):
        read_accounts(path)


def test_tally_counts_what_was_added_and_removed(tmp_path):
    tally = Tally.of(np.array([5, 7, 5, 2**32 - 1], np.uint32))
    tally.add([5, 9])
    tally.remove([7])
    assert [tally.having(token) for token in (5, 7, 9, 2**32 - 1, 1)] == [3, 0, 1, 1, 0]
    tally.save(tmp_path / "tally.npy")
    again = Tally.load(tmp_path / "tally.npy")
    assert [again.having(token) for token in (5, 7, 9, 2**32 - 1, 1)] == [3, 0, 1, 1, 0]
    again.add(range(70_000))
    assert [again.having(token) for token in (5, 69_999, 70_000)] == [4, 1, 0]


def test_build_that_failed_is_tried_again_later_and_ever_more_rarely(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "EXACT_LIMIT", 10)
    store = make(tmp_path, 50)
    one = collection_of(store).builder
    clock = [1000.0]
    monkeypatch.setattr(builder.time, "monotonic", lambda: clock[0])
    with monkeypatch.context() as patch:
        patch.setattr(builder.offline, "optimize", lambda *_: fail())
        for wait in (120, 240, 480):
            assert one.wants_build()
            with pytest.raises(StoreError):
                one.build()
            clock[0] += wait - 1
            assert not one.wants_build()
            clock[0] += 2
    one.build()
    assert not one.wants_build(now=True)
    store.close()


def fail():
    raise StoreError("the child was killed")


def test_search_of_five_thousand_equal_texts_takes_no_long_time(tmp_path):
    store = EdgeStore.open(tmp_path, reserve_bytes=0)
    store.create("demo", 8, "m")
    same = np.repeat(vectors_of(1), 5000, axis=0)
    store.upsert("demo", [Document(f"t{i:04}", "equal text " * 20) for i in range(5000)], same)
    began = time.process_time()
    for _ in range(5):
        hits = store.search("demo", same[:1], 10)[0]
        assert [hit.document.doc_id for hit in hits] == [f"t{i:04}" for i in range(10)]
    assert time.process_time() - began < 5 * 0.3
    assert reader._WHOLE_LIMIT < 100
    store.close()
