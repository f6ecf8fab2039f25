"""Stores of the embedded engine to test on."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from app.retrieval.documents import Document
from app.retrieval.edge import EdgeStore

DIM = 8

REPOSITORY = Path(__file__).resolve().parents[2]


def vectors_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)


def documents_of(n, mark="first"):
    return [Document(f"d{i}", f"{mark} {i}", "eng_Latn", {"n": i}) for i in range(n)]


def make(root, n=50, names=("demo",)):
    store = EdgeStore.open(root, reserve_bytes=0)
    for name in names:
        store.create(name, DIM, "m")
        store.upsert(name, documents_of(n), vectors_of(n))
    return store


def collection_of(store, name="demo"):
    return store._table.find(name)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        cwd=REPOSITORY,
        text=True,
    )


def shard_files(root, name="demo"):
    return sorted(path for path in (root / name).rglob("*") if path.is_file())
