"""The distributed engine with shards and replicas."""

import hashlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from app.errors import InvalidInputError

pytest.importorskip("qdrant_client", reason="needs the extra qdrant")

from app.retrieval.qdrant.nodes import Cluster
from app.retrieval.qdrant.store import QdrantStore

from .qdrant_server import serving


@pytest.fixture(scope="module")
def server():
    with serving() as running:
        yield running


@pytest.fixture
def place(request):
    return hashlib.blake2b(request.node.nodeid.encode(), digest_size=6).hexdigest()


@pytest.mark.parametrize(
    ("replicas", "write_replicas", "read", "fits"),
    [
        (1, 0, "one", True),
        (3, 0, "one", True),
        (3, 2, "majority", True),
        (3, 2, "quorum", True),
        (3, 1, "all", True),
        (3, 2, "one", False),
        (3, 1, "majority", False),
        (2, 3, "all", False),
    ],
)
def test_replicas_that_could_hide_a_write_are_refused(
    server, place, replicas, write_replicas, read, fits
):
    cluster = Cluster(replicas=replicas, write_replicas=write_replicas, read=read)
    if fits:
        QdrantStore.open(server.url(place), cluster).close()
        return
    with pytest.raises(InvalidInputError, match="replicas cannot be"):
        QdrantStore.open(server.url(place), cluster)


def test_spread_collection_answers_as_the_judge_does(server):
    from .test_store_contract_programs import Program

    cluster = Cluster(shards=3, replicas=2, timeout_s=10)

    def open_spread(root):
        place = hashlib.blake2b(str(root).encode(), digest_size=6).hexdigest()
        return QdrantStore.open(server.url(place), cluster)

    machine = type("SpreadProgram", (Program,), {"open_store": staticmethod(open_spread)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=3,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )
    assert all(backend.wrong == [] for backend in server.backends.values())
