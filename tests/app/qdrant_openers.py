"""Openers of the distributed engine, for the contract suite: on a stand-in, and on a real cluster.

TYNTEGRA_TEST_QDRANT=http://host:6333 make test ARGS="tests/app/test_store_contract*.py"
"""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.retrieval.store import VectorStore

URL = "TYNTEGRA_TEST_QDRANT"
"""Names a server or several nodes; with ``_KEY``, ``_SHARDS``, ``_REPLICAS`` behind, the rest."""


@pytest.fixture(scope="session")
def open_qdrant() -> Iterator[Callable[[Path], VectorStore]]:
    """Opens the engine over the wire, on the client's local mode."""
    pytest.importorskip("qdrant_client", reason="needs the extra qdrant")
    from app.retrieval.qdrant.store import Cluster, QdrantStore

    from .qdrant_server import serving

    with serving() as server:
        yield lambda root: QdrantStore.open(server.url(_place(root)), Cluster(timeout_s=10))
        assert [backend.wrong for backend in server.backends.values() if backend.wrong] == []


@pytest.fixture(scope="session")
def open_qdrant_server() -> Iterator[Callable[[Path], VectorStore]]:
    """Opens the engine on the server or cluster that the environment names."""
    from app.retrieval.qdrant.store import Cluster, QdrantStore

    run, made = secrets.token_hex(4), set()

    def cluster(place: str) -> Cluster:
        return Cluster(
            prefix=f"tyntegra-test-{run}-{place}",
            key=os.environ.get(f"{URL}_KEY"),
            shards=int(os.environ.get(f"{URL}_SHARDS", "1")),
            replicas=int(os.environ.get(f"{URL}_REPLICAS", "1")),
        )

    def open_store(root: Path) -> VectorStore:
        made.add(_place(root))
        return QdrantStore.open(os.environ[URL], cluster(_place(root)))

    yield open_store
    for place in made:
        store = QdrantStore.open(os.environ[URL], cluster(place))
        for collection in store.collections():
            store.drop(collection.name)
        store.close()


def _place(root: Path) -> str:
    return hashlib.blake2b(str(root).encode(), digest_size=6).hexdigest()
