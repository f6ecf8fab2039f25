from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file

from app.encoder.weights import read_weights
from app.errors import ArtifactError
from export.graph import static_graph
from export.parts import cut, move_inside, move_outside, placed, write_weights

TABLE = np.arange(512, dtype=np.float32).reshape(64, 8)
FEED = {"input_ids": np.array([[3, 5]]), "attention_mask": np.array([[1, 1]])}


def run(model: onnx.ModelProto) -> np.ndarray:
    (vectors,) = ReferenceEvaluator(model).run(None, FEED)
    return np.asarray(vectors)


def test_write_weights_is_read_by_the_library_and_by_ours(tmp_path: Path) -> None:
    tensors = {
        "bytes": np.arange(5, dtype=np.uint8),
        "half": np.ones((2, 3), np.float16),
        "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "whole": np.arange(4, dtype=np.int64),
        "empty": np.zeros((0, 3), np.float32),
    }

    places = write_weights(tmp_path / "w.safetensors", tensors)

    content = (tmp_path / "w.safetensors").read_bytes()
    ours, library = read_weights(content), load_file(tmp_path / "w.safetensors")
    for name, value in tensors.items():
        offset, length = places[name]
        np.testing.assert_array_equal(ours[name], value)
        np.testing.assert_array_equal(library[name], value)
        assert content[offset : offset + length] == value.tobytes()
        assert offset % value.itemsize == 0


def test_write_weights_same_tensors_give_the_same_file(tmp_path: Path) -> None:
    tensors = {"b": np.ones(3, np.float32), "a": np.zeros(2, np.float32)}

    write_weights(tmp_path / "one", tensors)
    write_weights(tmp_path / "two", dict(reversed(tensors.items())))

    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_move_outside_keeps_small_tensors_and_move_inside_restores() -> None:
    model = static_graph(TABLE)

    moved, tensors = move_outside(model)

    assert list(tensors) == ["table"]
    assert len(moved.SerializeToString()) < TABLE.nbytes
    np.testing.assert_array_equal(run(move_inside(moved, tensors)), run(model))


def test_placed_graph_is_loaded_by_path_as_external_data_is(tmp_path: Path) -> None:
    moved, tensors = move_outside(static_graph(TABLE))
    places = write_weights(tmp_path / "weights", tensors)
    path = tmp_path / "model.onnx"

    path.write_bytes(placed(moved, "weights", places).SerializeToString())

    onnx.checker.check_model(str(path), full_check=True)
    np.testing.assert_array_equal(run(onnx.load(path)), run(static_graph(TABLE)))


def test_cut_that_needs_another_input_is_refused() -> None:
    model = static_graph(TABLE)

    with pytest.raises(ArtifactError, match="from input_ids needs attention_mask too"):
        cut(model, [model.graph.input[0]], list(model.graph.output))


def test_cut_drops_what_nothing_needs() -> None:
    model = static_graph(TABLE)
    rows = onnx.helper.make_tensor_value_info(
        "token_embeddings", onnx.TensorProto.FLOAT, ["batch", "seq", 8]
    )

    lookup = cut(model, [model.graph.input[0]], [rows])

    assert [node.op_type for node in lookup.graph.node] == ["Gather"]
    assert [one.name for one in lookup.graph.initializer] == ["table"]
