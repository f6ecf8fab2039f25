import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.parts import DOMAIN, OPSET, stamp
from export.products import byte_product, quantize_rows

Array = NDArray[np.float32]


def multiply(rows: Array, weights: Array) -> Array:
    """Run the nodes that stand in for one product, as they are written."""
    node = helper.make_node("MatMul", ["rows", "weights"], ["out"])
    nodes, tensors = byte_product(node, weights)
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, weights.shape[0]])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, weights.shape[1]])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model: onnx.ModelProto = stamp(helper.make_model(graph, opset_imports=opsets))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(["out"], {"rows": rows})[0])


def test_byte_product_hand_computed() -> None:
    rows = np.array([[-1.0, 0.0, 254.0]], dtype=np.float32)  # bytes 0, 1, 255 of step 1, less 1
    weights = np.array([[127, 0, 0, 3], [-127, 1, 0, 0], [1, 0, 0, 0]], dtype=np.float32)

    np.testing.assert_allclose(multiply(rows, weights), [[127, 0, 0, -3]], atol=1e-3)


@pytest.mark.parametrize("inputs", [5, 96, 1100])
def test_byte_product_in_blocks_is_near(inputs: int) -> None:
    draw = np.random.default_rng(2)
    rows = draw.standard_normal((9, inputs)).astype(np.float32)
    rows[:, 0] = 50.0  # an outlier spoils its own block alone
    weights = draw.standard_normal((inputs, 5)).astype(np.float32)

    exact = rows.astype(np.float64) @ weights

    assert np.abs(multiply(rows, weights) - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize("shift", [0.0, 5.0, -5.0])
def test_byte_product_is_off_by_its_rounding_at_most(shift: float) -> None:
    draw = np.random.default_rng(0)
    rows = (draw.standard_normal((20, 96)) + shift).astype(np.float32)
    rows *= np.logspace(-3, 3, 20, dtype=np.float32)[:, None]
    weights = draw.standard_normal((96, 140)).astype(np.float32)

    found = multiply(rows, weights)

    integers, scales = quantize_rows(weights.T)
    rounded = (integers * scales[:, None]).T
    steps = (rows.max(axis=1) - rows.min(axis=1)) / 255
    worst = 0.5001 * steps[:, None] * np.abs(rounded).sum(axis=0)
    assert (np.abs(found - rows.astype(np.float64) @ rounded) <= worst + 1e-5).all()


def test_byte_product_of_a_row_is_the_same_in_any_company() -> None:
    draw = np.random.default_rng(1)
    rows = draw.standard_normal((33, 96)).astype(np.float32)
    rows[7] *= 1000
    weights = draw.standard_normal((96, 40)).astype(np.float32)

    together = multiply(rows, weights)

    for place in (0, 7, 32):
        np.testing.assert_array_equal(
            multiply(rows[place : place + 1], weights)[0], together[place]
        )


def test_byte_product_of_flat_rows_and_columns_is_finite() -> None:
    rows = np.array([[0.0] * 64, [3.0] * 64], dtype=np.float32)
    weights = np.zeros((64, 2), dtype=np.float32)
    weights[:, 1] = 1.0

    np.testing.assert_allclose(multiply(rows, weights), [[0.0, 0.0], [0.0, 192.0]], rtol=1e-5)
