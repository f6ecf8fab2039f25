"""A static encoder as ONNX graphs: token ids to finished unit vectors, batch and sequence free.

The encoder is a table and a sum, so its graphs are written node by node (a transformer's are
traced, see ``tracing``). Pooling and normalization stand inside, padding never changes a vector,
and text that pools to zero gets a fixed unit vector rather than a division by zero.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.encoder.session import INPUTS, OUTPUT
from export.gradient import gradient_of
from export.parts import EMBEDDINGS, EPSILON, OPSET, GraphSet, cut, finish, move_outside
from export.precision import NIBBLE_ZERO

STATIC_NAME = "static_encoder"
"""What the graphs of static encoders are called inside."""

Step = tuple[str, list[str], str]

_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "Cast": {"to": TensorProto.FLOAT},
    "BitShift": {"direction": "RIGHT"},
    "Concat": {"axis": -1},
}
_NIBBLES: dict[str, NDArray[Any]] = {
    "low_bits": np.array(15, dtype=np.uint8),
    "half_byte": np.array(4, dtype=np.uint8),
    "zero_point": np.array(NIBBLE_ZERO, dtype=np.float32),
}
_NIBBLE_ROWS: list[Step] = [
    ("Gather", ["table", "input_ids"], "bytes"),  # (batch, seq, dim / 2)
    ("BitwiseAnd", ["bytes", "low_bits"], "low"),
    ("BitShift", ["bytes", "half_byte"], "high"),
    ("Concat", ["low", "high"], "halves"),  # (batch, seq, dim)
    ("Cast", ["halves"], "shifted"),
    ("Sub", ["shifted", "zero_point"], "rows"),
]
_LAST: dict[str, NDArray[Any]] = {"last": np.array([-1], dtype=np.int64)}
_SCALED: list[Step] = [
    ("Gather", ["scales", "input_ids"], "row_scales"),  # (batch, seq)
    ("Unsqueeze", ["row_scales", "last"], "row_scale"),  # (batch, seq, 1)
    ("Mul", ["rows", "row_scale"], EMBEDDINGS),
]


def static_graph(table: NDArray[np.float32]) -> onnx.ModelProto:
    """Build the graph of a static encoder: look up, sum where the mask is 1, normalize.

    The mean's division by the number of tokens is left out: normalizing takes it away again.

    Args:
        table: Token vectors, shape (vocab, dim).
    """
    lookups = [("Gather", ["table", "input_ids"], EMBEDDINGS)]
    return _static_model({"table": table}, lookups, EMBEDDINGS, [])


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
    return _static_model({"table": table, "scales": scales}, lookups, "rows", weighting)


def static_int4_graph(table: NDArray[np.uint8], scales: NDArray[np.float32]) -> onnx.ModelProto:
    """Build the graph of a static encoder with two integers of four bits in a byte.

    Args:
        table: As ``quantize_nibbles`` gives it, shape (vocab, dim / 2).
        scales: Scale of each token, shape (vocab,).
    """
    weighting = [
        ("Gather", ["scales", "input_ids"], "row_scales"),
        ("Mul", ["mask", "row_scales"], "weights"),
    ]
    tensors = {"table": table, "scales": scales, **_NIBBLES}
    return _static_model(tensors, _NIBBLE_ROWS, "rows", weighting, 2 * table.shape[1])


def static_half_graphs(table: NDArray[np.float32], *, white_box: bool = True) -> GraphSet:
    """Build all graphs of a static encoder with a table in half precision.

    Args:
        table: As ``static_graph`` takes it; rounded here, the sum stays in float32.
        white_box: Make the graphs of the white box too.
    """
    lookups: list[Step] = [
        ("Gather", ["table", "input_ids"], "halves"),
        ("Cast", ["halves"], EMBEDDINGS),
    ]
    halves = {"table": table.astype(np.float16)}
    return _with_white_box(_static_model(halves, lookups, EMBEDDINGS, []), white_box)


def static_graphs(table: NDArray[np.float32], *, white_box: bool = True) -> GraphSet:
    """Build all graphs of a static encoder; ``table`` as ``static_graph`` takes it."""
    return _with_white_box(static_graph(table), white_box)


def static_int8_graphs(
    table: NDArray[np.int8], scales: NDArray[np.float32], *, white_box: bool = True
) -> GraphSet:
    """Build all graphs of a static encoder; arguments as ``static_int8_graph`` takes them."""
    graph, tensors = move_outside(static_int8_graph(table, scales))
    if not white_box:
        return GraphSet(graph, tensors)
    lookup, _ = move_outside(static_int8_lookup(table, scales))
    return GraphSet(graph, tensors, lookup, *static_white_box(table.shape[1]))


def static_int8_lookup(table: NDArray[np.int8], scales: NDArray[np.float32]) -> onnx.ModelProto:
    """Build the look-up of the vectors that an int8 encoder sums: integers times their scale."""
    steps = [
        ("Gather", ["table", "input_ids"], "integers"),
        ("Cast", ["integers"], "rows"),
        *_SCALED,
    ]
    constants = {"table": table, "scales": scales, **_LAST}
    return _model(steps, [_ids("input_ids")], [_embeddings(table.shape[1])], constants)


def static_int4_graphs(
    table: NDArray[np.uint8], scales: NDArray[np.float32], *, white_box: bool = True
) -> GraphSet:
    """Build all graphs of a static encoder; arguments as ``static_int4_graph`` takes them."""
    graph, tensors = move_outside(static_int4_graph(table, scales))
    if not white_box:
        return GraphSet(graph, tensors)
    dim = 2 * table.shape[1]
    steps = [*_NIBBLE_ROWS, *_SCALED]
    constants = {"table": table, "scales": scales, **_NIBBLES, **_LAST}
    lookup, _ = move_outside(_model(steps, [_ids("input_ids")], [_embeddings(dim)], constants))
    return GraphSet(graph, tensors, lookup, *static_white_box(dim))


def static_white_box(dim: int) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Build what leads from token embeddings to vectors, and its gradient; without a table."""
    whole = static_graph(np.zeros((1, dim), dtype=np.float32))
    encode = cut(whole, [_embeddings(dim), _ids("attention_mask")], whole.graph.output)
    return encode, gradient_of(encode, {})


def _with_white_box(model: onnx.ModelProto, white_box: bool) -> GraphSet:
    """Take the weights out of a graph that token embeddings stand in, and cut it there."""
    graph, tensors = move_outside(model)
    if not white_box:
        return GraphSet(graph, tensors)
    dim = graph.graph.output[0].type.tensor_type.shape.dim[-1].dim_value
    lookup = cut(graph, [_ids("input_ids")], [_embeddings(dim)])
    return GraphSet(graph, tensors, lookup, *static_white_box(dim))


def _static_model(
    tensors: dict[str, NDArray[Any]],
    lookups: Sequence[Step],
    rows: str,
    weighting: Sequence[Step],
    dim: int = 0,
) -> onnx.ModelProto:
    dim = dim or tensors["table"].shape[1]
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
        ("MatMul", ["weight_rows", rows], "sums"),  # (batch, 1, dim)
        ("Squeeze", ["sums", "one"], "pooled"),  # (batch, dim)
        ("ReduceL2", ["pooled", "one"], "norm"),  # (batch, 1)
        ("Less", ["norm", "epsilon"], "directionless"),
        ("Where", ["directionless", "fallback", "pooled"], "numerator"),
        ("Where", ["directionless", "unit", "norm"], "denominator"),
        ("Div", ["numerator", "denominator"], OUTPUT),
    ]
    output = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", dim])
    return _model(steps, [_ids(name) for name in INPUTS], [output], constants)


def _model(
    steps: Sequence[Step],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    constants: dict[str, NDArray[Any]],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [_node(*step) for step in steps],
        STATIC_NAME,
        inputs,
        outputs,
        [numpy_helper.from_array(np.ascontiguousarray(v), k) for k, v in constants.items()],
    )
    return finish(helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]))


def _node(kind: str, inputs: list[str], output: str) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], **_ATTRIBUTES.get(kind, {}))


def _ids(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "seq"])


def _embeddings(dim: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["batch", "seq", dim])
