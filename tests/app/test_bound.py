from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.artifact import Manifest, load_manifest
from app.encoder.bound import BucketedRuns, Memory, memory_of
from app.encoder.buckets import Buckets
from app.encoder.hardware import CPU, MOST_ROWS
from app.encoder.jobs import Job, Queue
from app.encoder.session import INPUTS, OUTPUT, Session, onnxruntime
from app.encoder.split import Cost, cheapest_run

MAX_TOKENS = 64
BUCKETS = Buckets.up_to(MAX_TOKENS, 128)


class Recorded:
    """A session that notes the shapes of its runs, and by which buffers and options they went."""

    def __init__(self, session: Any) -> None:
        self.session = session
        self.runs: list[tuple[Any, Any]] = []

    def io_binding(self) -> Any:
        return self.session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self.runs.append((binding, options))
        self.session.run_with_iobinding(binding)


@pytest.fixture(scope="module")
def manifest(tiny_artifact: Path) -> Manifest:
    return load_manifest(tiny_artifact)


@pytest.fixture(scope="module")
def session(tiny_artifact: Path, manifest: Manifest) -> Session:
    graph = (tiny_artifact / "model.fp32.onnx").read_bytes()
    return Session(graph, manifest, device="cpu", threads=1)


Make = Callable[[], tuple[BucketedRuns, Recorded]]


def memory_apart() -> Memory:
    """Buffers of the host and of a device that are copied, though both lie in the same memory."""

    def on_host(shape: tuple[int, int], kind: Any) -> tuple[Any, Any]:
        array = np.zeros(shape, dtype=kind)
        return array, array

    return Memory(on_host, onnxruntime.OrtValue.ortvalue_from_shape_and_type)


@pytest.fixture(params=["shared", "apart"])
def make(request: pytest.FixtureRequest, session: Session, manifest: Manifest) -> Make:
    def made() -> tuple[BucketedRuns, Recorded]:
        recorded = Recorded(session._session)
        is_shared = request.param == "shared"
        runs = BucketedRuns(
            recorded,
            (*INPUTS, OUTPUT),
            BUCKETS,
            memory_of(onnxruntime, CPU, 0) if is_shared else memory_apart(),
            dim=manifest.dim,
            pad_id=manifest.pad_id,
            options=lambda number: number,
        )
        return runs, recorded

    return made


@given(st.integers(1, 64), st.integers(1, 128))
def test_shape_of_holds_the_texts_and_is_warm(rows: int, longest: int) -> None:
    buckets = Buckets.up_to(128, 512)

    batch, length = buckets.shape_of(rows, longest)

    assert length >= longest
    assert length <= max(8, 1.5 * longest)
    assert batch >= min(rows, buckets.most_rows(length))
    assert (batch, length) in buckets.shapes()
    assert batch == 1 or batch * length <= 512


def test_shapes_begin_with_the_largest_and_the_corners() -> None:
    shapes = Buckets.up_to(100, 256).shapes()

    assert shapes[0] == (32, 8)
    assert {(1, 100), (1, 8)} <= set(shapes[:4])
    assert len(set(shapes)) == len(shapes)


@pytest.mark.parametrize("longest", [4, 8, 100, 512, 8192])
def test_buckets_end_with_the_longest_text_and_are_few(longest: int) -> None:
    buckets = Buckets.up_to(longest, 32768)

    assert buckets.lengths[-1] == longest
    assert list(buckets.lengths) == sorted(set(buckets.lengths))
    assert len(buckets.shapes()) < 200
    assert max(batch for batch, _ in buckets.shapes()) <= MOST_ROWS


def test_run_gives_what_the_session_gives(make: Make, session: Session) -> None:
    runs, _ = make()
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 16, 40):  # more than a shape holds too
        rows = [rng.integers(1, 900, size=rng.integers(1, 65)).tolist() for _ in range(count)]

        np.testing.assert_allclose(runs.run(rows), session.run(rows), rtol=0, atol=1e-6)


def test_run_leaves_earlier_vectors_alone(make: Make) -> None:
    runs, _ = make()
    first = runs.run([[5, 6, 7]])
    kept = first.copy()

    runs.run([[8, 9]])

    np.testing.assert_array_equal(first, kept)


def test_run_forgets_what_was_in_the_buffers(make: Make) -> None:
    runs, _ = make()
    fresh = runs.run([[5]])
    runs.run([[7] * 8] * 2)
    runs.run([[9] * 8])

    np.testing.assert_array_equal(runs.run([[5]]), fresh)


def test_warm_up_leaves_no_shape_to_be_made(make: Make) -> None:
    runs, recorded = make()
    runs.warm_up()
    bindings = {id(binding) for binding, _ in recorded.runs}
    rng = np.random.default_rng(2)

    for count in range(1, 30):
        runs.run([rng.integers(1, 900, size=rng.integers(1, 65)).tolist() for _ in range(count)])

    assert len(bindings) == len(BUCKETS.shapes())
    assert {id(binding) for binding, _ in recorded.runs} == bindings


def test_run_shape_keeps_its_buffers_and_its_number(make: Make) -> None:
    runs, recorded = make()
    for rows in ([[5]], [[5] * 20], [[6]], [[6] * 20]):
        runs.run(rows)

    (a, one), (b, two), (c, one_again), (d, two_again) = recorded.runs
    assert a is c and b is d and a is not b  # noqa: PT018
    assert (one, two) == (one_again, two_again)
    assert one != two
    assert 0 not in (one, two)


def test_cheapest_run_of_bucketed_texts_fits_one_shape() -> None:
    buckets = Buckets.up_to(256, 1024)
    cost = Cost(50.0, 1024, buckets)
    rng = np.random.default_rng(3)
    queue = Queue(cost)
    queue.add(Job([[1] * n for n in rng.integers(1, 257, size=300)], 0))
    while len(queue):
        batch = queue.take()
        longest = max(len(job.rows[index]) for job, index in batch)
        assert len(batch) <= buckets.most_rows(buckets.shape_of(1, longest)[1])


def test_cheapest_run_texts_of_one_bucket_go_together() -> None:
    cost = Cost(0.0, 1024, Buckets.up_to(256, 1024))

    assert sorted(cheapest_run([9, 12, 10, 11], cost)) == [0, 1, 2, 3]
