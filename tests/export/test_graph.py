import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from app.encoder.session import INPUTS, OUTPUT
from export.graph import static_graph, static_int8_graph
from export.precision import quantize_rows

TABLE = np.array([[9, 9], [3, 0], [0, 4], [1, 0], [-1, 0]], dtype=np.float32)


def run(model: onnx.ModelProto, ids: list[list[int]], mask: list[list[int]]) -> np.ndarray:
    feed = {"input_ids": np.array(ids), "attention_mask": np.array(mask)}
    (vectors,) = ReferenceEvaluator(model).run([OUTPUT], feed)
    return np.asarray(vectors)


@pytest.fixture(params=["fp32", "int8"])
def model(request: pytest.FixtureRequest) -> onnx.ModelProto:
    return {"fp32": static_graph(TABLE), "int8": static_int8_graph(*quantize_rows(TABLE))}[
        request.param
    ]


def test_static_graph_normalizes_the_sum(model: onnx.ModelProto) -> None:
    # 3, 0 and 0, 4 sum to 3, 4, of length 5.
    np.testing.assert_allclose(run(model, [[1, 2]], [[1, 1]]), [[0.6, 0.8]], atol=1e-6)


def test_static_graph_padding_counts_for_nothing(model: onnx.ModelProto) -> None:
    vectors = run(model, [[1, 2, 0, 0], [3, 0, 0, 0]], [[1, 1, 0, 0], [1, 0, 0, 0]])

    np.testing.assert_allclose(vectors, [[0.6, 0.8], [1, 0]], atol=1e-6)


@pytest.mark.parametrize("mask", [[1, 1], [0, 0]])
def test_static_graph_zero_sum_gives_a_unit_vector(model: onnx.ModelProto, mask: list[int]) -> None:
    vectors = run(model, [[3, 4]], [mask])

    np.testing.assert_allclose(vectors, [[0.5**0.5, 0.5**0.5]], atol=1e-6)


def test_static_graph_keeps_its_weights_inside(model: onnx.ModelProto) -> None:
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    shapes = {
        node.name: [dim.dim_param or dim.dim_value for dim in node.type.tensor_type.shape.dim]
        for node in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {**{name: ["batch", "seq"] for name in INPUTS}, OUTPUT: ["batch", 2]}
