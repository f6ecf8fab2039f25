import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.external_data_helper import set_external_data
from safetensors.numpy import save

from app.artifact import Manifest, load_manifest
from app.encoder.session import Session
from app.encoder.weights import DTYPES, external_tensors, read_weights
from app.errors import ArtifactError

ROWS = [[5, 9, 700], [3], [8, 8]]


@pytest.fixture(scope="module")
def manifest(tiny_artifact: Path) -> Manifest:
    return load_manifest(tiny_artifact)


@pytest.fixture(scope="module")
def inside(tiny_artifact: Path) -> bytes:
    return (tiny_artifact / "model.fp32.onnx").read_bytes()


@pytest.fixture(scope="module")
def outside(inside: bytes) -> tuple[bytes, bytes]:
    """The same graph with its table in a file of its own, and that file."""
    model = onnx.load_from_string(inside)
    tensor = next(one for one in model.graph.initializer if one.name == "table")
    table = onnx.numpy_helper.to_array(tensor)
    set_external_data(tensor, location="weights")
    tensor.ClearField("raw_data")
    other = np.arange(3, dtype=np.int64)  # of another graph
    return model.SerializeToString(), save({"other": other, "table": table})


def run(manifest: Manifest, graph: bytes, weights: bytes | None) -> np.ndarray:
    return Session(graph, manifest, weights=weights, device="cpu", threads=1).run(ROWS)


def test_session_weights_beside_the_graph_give_the_same_vectors(
    manifest: Manifest, inside: bytes, outside: tuple[bytes, bytes]
) -> None:
    np.testing.assert_array_equal(run(manifest, *outside), run(manifest, inside, None))


def test_session_needs_the_bytes_no_longer_once_it_stands(
    manifest: Manifest, outside: tuple[bytes, bytes]
) -> None:
    graph, content = outside
    weights: Any = bytearray(content)
    session = Session(graph, manifest, weights=weights, device="cpu", threads=1)
    before = session.run(ROWS)

    weights[:] = b"\x11" * len(weights)

    np.testing.assert_array_equal(session.run(ROWS), before)


@pytest.mark.parametrize("weights", [None, save({"other": np.zeros(3, np.float32)})])
def test_session_absent_weights_are_refused_and_no_path_is_opened(
    manifest: Manifest,
    outside: tuple[bytes, bytes],
    weights: bytes | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "weights").write_bytes(outside[1])  # where ONNX Runtime itself would look
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ArtifactError, match="table among them"):
        run(manifest, outside[0], weights)


def test_session_weights_of_another_shape_are_refused(
    manifest: Manifest, outside: tuple[bytes, bytes]
) -> None:
    with pytest.raises(ArtifactError, match="cannot load"):
        run(manifest, outside[0], save({"table": np.zeros((4, 4), np.float32)}))


def test_external_tensors_graph_with_all_inside_has_none(inside: bytes) -> None:
    assert external_tensors(inside, None) == {}


@pytest.mark.parametrize("length", [1, 7, 100, 1000, -1])
def test_external_tensors_cut_graph_is_refused(inside: bytes, length: int) -> None:
    with pytest.raises(ArtifactError, match="no ONNX graph"):
        external_tensors(inside[:length], None)


@pytest.mark.parametrize("dtype", sorted(set(DTYPES.values())))
def test_read_weights_views_every_type(dtype: str) -> None:
    values = {"a": np.arange(6).astype(dtype).reshape(2, 3), "b": np.zeros((0, 4), dtype)}

    found = read_weights(save(values))

    for name, value in values.items():
        np.testing.assert_array_equal(found[name], value)
        assert found[name].dtype == value.dtype
        assert not found[name].flags.writeable


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "entry",
    [
        {**ENTRY, "dtype": "F64"},
        {**ENTRY, "shape": [3]},
        {**ENTRY, "data_offsets": [0, 9]},
        {**ENTRY, "data_offsets": [-8, 0]},
        {**ENTRY, "data_offsets": [8, 0]},
        {"dtype": "F32"},
        None,
    ],
)
def test_read_weights_malformed_entry_is_refused(entry: object) -> None:
    header = json.dumps({"a": entry}).encode()

    with pytest.raises(ArtifactError, match="no safetensors file"):
        read_weights(len(header).to_bytes(8, "little") + header + bytes(8))


@pytest.mark.parametrize("content", [b"", b"x" * 7, b"\xff" * 64, bytes(64)])
def test_read_weights_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="no safetensors file"):
        read_weights(content)


def test_read_weights_of_a_graph_views_what_stands_inside(
    inside: bytes, tiny_table: np.ndarray
) -> None:
    found = read_weights(inside)

    np.testing.assert_array_equal(found["table"], tiny_table)
    assert not found["table"].flags.writeable
    assert found["one"].tolist() == [1]
    assert found["fallback"].shape == (1, tiny_table.shape[1])


def test_read_weights_of_a_graph_with_a_wrong_shape_is_refused(inside: bytes) -> None:
    model = onnx.load_from_string(inside)
    next(one for one in model.graph.initializer if one.name == "table").dims[0] += 1

    with pytest.raises(ArtifactError, match="tensor table is not of the shape"):
        read_weights(model.SerializeToString())
