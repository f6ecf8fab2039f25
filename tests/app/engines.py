"""The engines that the contract suite runs against: registered here and nowhere else.

An opener takes a folder and returns a store; the same folder again gives the same collections,
once the store before was closed. Servers take the folder as the name of a place of its own.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from app.retrieval.store import VectorStore

from .contract_data import fill
from .postgres_server import database, open_postgres, postgres
from .qdrant_openers import URL, open_qdrant, open_qdrant_server
from .reference_store import Made, ReferenceStore

__all__ = [
    "database",
    "filled",
    "open_edge",
    "open_postgres",
    "open_qdrant",
    "open_qdrant_server",
    "open_reference",
    "open_store",
    "postgres",
    "steady",
    "store",
]
"""The fixtures, for ``conftest.py``."""

Opener = Callable[[Path], VectorStore]

# Names of engines, and the fixtures that give their openers.
ENGINES: dict[str, str] = {
    "edge": "open_edge",
    "postgres": "open_postgres",
    "qdrant": "open_qdrant",
    "reference": "open_reference",
}
if URL in os.environ:
    ENGINES["qdrant-server"] = "open_qdrant_server"

if "TYNTEGRA_TEST_ENGINE" in os.environ:  # One of them alone
    ENGINES = {name: ENGINES[name] for name in [os.environ["TYNTEGRA_TEST_ENGINE"]]}


@pytest.fixture(scope="session")
def open_reference() -> Opener:
    """Opens the judge itself: so that the suite is judged as well."""
    places: dict[Path, dict[str, Made]] = {}
    return lambda root: ReferenceStore(places.setdefault(root, {}))


@pytest.fixture(scope="session")
def open_edge() -> Opener:
    """Opens the embedded engine."""
    from app.retrieval.edge import EdgeStore

    return lambda root: EdgeStore.open(root, reserve_bytes=0)


_MARKS = {"postgres": [pytest.mark.postgres]}
_PARAMS = [pytest.param(name, marks=_MARKS.get(name, [])) for name in sorted(ENGINES)]


@pytest.fixture(scope="module", params=_PARAMS)
def open_store(request: pytest.FixtureRequest) -> Opener:
    """The opener of each engine in turn."""
    return request.getfixturevalue(ENGINES[request.param])


@pytest.fixture
def store(open_store: Opener, tmp_path: Path):
    """An empty store."""
    opened = open_store(tmp_path / "root")
    yield opened
    opened.close()


@pytest.fixture
def filled(store: VectorStore) -> VectorStore:
    """A store with the collection ``demo`` of 60 documents."""
    return fill(store)


@pytest.fixture(scope="module")
def steady(open_store: Opener, tmp_path_factory: pytest.TempPathFactory):
    """The same, which many tests share and none changes."""
    opened = open_store(tmp_path_factory.mktemp("steady"))
    yield fill(opened)
    opened.close()
