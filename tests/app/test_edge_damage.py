"""The embedded engine on damaged files: what is found, and what stays in service."""

import json
import os
import random
import shutil
import signal

import pytest

from app.errors import NotFoundError, NotReadyError, StoreError
from app.retrieval.edge import EdgeStore

from .edge_stores import (
    DIM,
    documents_of,
    make,
    shard_files,
    start,
    vectors_of,
)


@pytest.fixture
def crashed(tmp_path):
    """A root whose writer was killed with everything still in its log."""
    code = """
import os, sys
from pathlib import Path
sys.path.insert(0, "tests/app")
from edge_stores import make
make(Path(sys.argv[1]))
os.kill(os.getpid(), 9)
"""
    with start(code, tmp_path / "root") as writer:
        pass
    assert writer.returncode == -signal.SIGKILL
    return tmp_path / "root"


@pytest.mark.parametrize("damage", ["empty", "garbage", "missing", "other name", "flipped dim"])
def test_open_damaged_metadata_makes_one_collection_unavailable(tmp_path, damage):
    make(tmp_path, names=("bad", "good")).close()
    meta = tmp_path / "bad" / "collection.json"
    content = json.loads(meta.read_text())
    if damage == "missing":
        meta.unlink()
    else:
        texts = {"empty": "", "garbage": "\0{["}
        changed = content | ({"name": "good"} if damage == "other name" else {"dim": DIM + 1})
        meta.write_text(texts.get(damage, json.dumps(changed)))
    store = EdgeStore.open(tmp_path)
    assert list(store.unavailable()) == ["bad"]
    assert [c.name for c in store.collections()] == ["good"]
    assert store.count("good") == 50
    for call in (
        lambda: store.search("bad", vectors_of(1), 1),
        lambda: store.describe("bad"),
        lambda: store.create("bad", DIM, "m"),
    ):
        with pytest.raises(NotReadyError, match="bad"):
            call()
    store.drop("bad")
    assert store.unavailable() == {}
    with pytest.raises(NotFoundError):
        store.count("bad")
    assert store.create("bad", DIM, "m").count == 0
    store.close()


def damage_file(path, moments):
    """Truncate or flip one bit at a random place; return what was done, or None for no change."""
    data = bytearray(path.read_bytes())
    if not data:
        return None
    if moments.random() < 0.5:
        place = moments.randrange(len(data))
        path.write_bytes(data[:place])
        return f"{path.name} cut at {place}"
    used = [i for i, byte in enumerate(data[: 1 << 20]) if byte] or [0]
    place = moments.choice(used) if moments.random() < 0.7 else moments.randrange(len(data))
    data[place] ^= 1 << moments.randrange(8)
    path.write_bytes(data)
    return f"{path.name} bit at {place}"


def test_open_any_file_damaged_after_a_clean_close_is_always_found(tmp_path):
    make(tmp_path / "sound").close()
    moments = random.Random(0)
    files = shard_files(tmp_path / "sound")
    rounds = max(len(files), int(os.environ.get("TYNTEGRA_TEST_DAMAGES", "0")))
    for number in range(rounds):
        shutil.copytree(tmp_path / "sound", tmp_path / "copy")
        path = tmp_path / "copy" / files[number % len(files)].relative_to(tmp_path / "sound")
        done = damage_file(path, moments)
        store = EdgeStore.open(tmp_path / "copy", reserve_bytes=0)
        assert done is None or list(store.unavailable()) == ["demo"], done
        store.close()
        shutil.rmtree(tmp_path / "copy")


def test_open_any_file_damaged_after_a_crash_loses_and_alters_nothing_unseen(crashed, tmp_path):
    """Either all documents are there as they were written, or the damage is told."""
    moments = random.Random(1)
    files = [path for path in shard_files(crashed) if path.stat().st_size]
    rounds = max(14, int(os.environ.get("TYNTEGRA_TEST_DAMAGES", "0")))
    expected = documents_of(50)
    names = [document.doc_id for document in expected]
    refused = told = 0
    for number in range(rounds):
        shutil.copytree(crashed, tmp_path / "copy")
        path = moments.choice(files) if number else crashed / "demo" / "collection.json"
        done = damage_file(tmp_path / "copy" / path.relative_to(crashed), moments)
        store = EdgeStore.open(tmp_path / "copy", reserve_bytes=0)
        if store.unavailable():
            refused += 1
        else:
            try:
                hits = store.search("demo", vectors_of(1), 50)[0]
                assert {hit.document.doc_id for hit in hits} == set(names), done
                assert store.get("demo", names) == expected, done
            except (StoreError, NotReadyError):
                told += 1
                assert list(store.unavailable()) == ["demo"], done
        store.close()
        shutil.rmtree(tmp_path / "copy")
    assert refused >= 1


def test_open_after_a_crash_with_nothing_damaged_finds_all(crashed):
    store = EdgeStore.open(crashed, reserve_bytes=0)
    assert store.unavailable() == {}
    assert store.get("demo", [f"d{i}" for i in range(50)]) == documents_of(50)
    store.close()
