"""A static encoder as an ONNX graph: token ids to finished unit vectors, batch and sequence free.

The encoder is a table and a sum, so its graph is written node by node (a transformer's is traced,
see ``tracing``). Pooling and normalization stand inside, padding never changes a vector, and text
that pools to zero gets a fixed unit vector rather than a division by zero.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.encoder.session import INPUTS, OUTPUT

OPSET = 20
EPSILON = 1e-9
"""A pooled vector shorter than this has no direction."""


def static_graph(table: NDArray[np.float32]) -> onnx.ModelProto:
    """Build the graph of a static encoder: look up, sum where the mask is 1, normalize.

    The mean's division by the number of tokens is left out: normalizing takes it away again.

    Args:
        table: Token vectors, shape (vocab, dim).
    """
    lookups = [("Gather", ["table", "input_ids"], "rows")]
    return _static_model({"table": table}, lookups, [])


def static_int8_graph(table: NDArray[np.int8], scales: NDArray[np.float32]) -> onnx.ModelProto:
    """Build the graph of a static encoder whose rows are integers with a scale of their own.

    The scale goes into the mask's place in the sum, so that a row costs no more than its look-up.

    Args:
        table: Token vectors in units of their scale, shape (vocab, dim).
        scales: Scale of each token, shape (vocab,).
    """
    lookups = [
        ("Gather", ["table", "input_ids"], "integers"),
        ("Cast", ["integers"], "rows"),
    ]
    weighting = [
        ("Gather", ["scales", "input_ids"], "row_scales"),
        ("Mul", ["mask", "row_scales"], "weights"),
    ]
    return _static_model({"table": table, "scales": scales}, lookups, weighting)


def _static_model(
    tensors: dict[str, NDArray[Any]],
    lookups: Sequence[tuple[str, list[str], str]],
    weighting: Sequence[tuple[str, list[str], str]],
) -> onnx.ModelProto:
    dim = tensors["table"].shape[1]
    weights = weighting[-1][2] if weighting else "mask"
    constants = {
        **tensors,
        "one": np.array([1], dtype=np.int64),
        "epsilon": np.array(EPSILON, dtype=np.float32),
        "unit": np.array(1, dtype=np.float32),
        "fallback": np.full((1, dim), dim**-0.5, dtype=np.float32),
    }
    steps = [
        *lookups,  # (batch, seq, dim)
        ("Cast", ["attention_mask"], "mask"),  # (batch, seq)
        *weighting,
        ("Unsqueeze", [weights, "one"], "weight_rows"),  # (batch, 1, seq)
        ("MatMul", ["weight_rows", "rows"], "sums"),  # (batch, 1, dim)
        ("Squeeze", ["sums", "one"], "pooled"),  # (batch, dim)
        ("ReduceL2", ["pooled", "one"], "norm"),  # (batch, 1)
        ("Less", ["norm", "epsilon"], "directionless"),
        ("Where", ["directionless", "fallback", "pooled"], "numerator"),
        ("Where", ["directionless", "unit", "norm"], "denominator"),
        ("Div", ["numerator", "denominator"], OUTPUT),
    ]
    nodes = [_node(*step) for step in steps]
    graph = helper.make_graph(
        nodes,
        "static_encoder",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["batch", "seq"]) for n in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", dim])],
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
    )
    return finish(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def _node(kind: str, inputs: list[str], output: str) -> onnx.NodeProto:
    if kind == "Cast":
        return helper.make_node(kind, inputs, [output], to=TensorProto.FLOAT)
    return helper.make_node(kind, inputs, [output])


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stamp a graph with our name and the oldest file version that holds it, and check it."""
    model.ir_version = 10
    model.producer_name = "tyntegra"
    model.doc_string = ""
    onnx.checker.check_model(model, full_check=True)
    return model
