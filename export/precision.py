"""Eight or four bits for weights alone: smaller files, vectors that depend on no batch mates.

Tables get a scale for each row, of eight bits or, in a static encoder, of four; matrices of a
transformer get one for each column. Activations stay float32 between the products; for one they are
rounded to bytes too, with scales for each token (``products``). Schemes that take a scale from the
whole batch would make a text's vector depend on the texts it happens to be run with.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.errors import ArtifactError
from export.parts import DOMAIN, GraphSet, initializer, stamp, tensors_of
from export.products import Replacement, byte_product, quantize_rows

NIBBLE_MOST = 7  # of four bits: the largest integer, and the smallest below zero
NIBBLE_ZERO = 8
"""What stands for zero in four bits."""
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)  # of the largest entry, cut above it


def quantize_nibbles(
    table: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round each row to integers of four bits in units of a scale of its own.

    Of a few scales the one is taken that misses the row by least: a smaller one cuts the largest
    entries and is finer for all others.

    Args:
        table: Shape (rows, dim).

    Returns:
        Two integers a byte, each plus ``NIBBLE_ZERO``, shape (rows, dim / 2): entry j in the low
        half of byte j, entry j + dim / 2 in its high half. And the scales, shape (rows,).

    Raises:
        ArtifactError: If the number of dimensions is odd.
    """
    rows, dim = table.shape
    if dim % 2:
        raise ArtifactError(
            f"got {dim} dimensions for int4, which has two in a byte; expected an even number. "
            "Choose another with python -m training.reduction, or ship int8."
        )
    largest = np.abs(table).max(axis=1)
    largest[largest == 0] = 1  # a row of zeros stays zeros
    scales, best = np.ones(rows, np.float32), np.full(rows, np.inf)
    integers = np.zeros((rows, dim), np.int8)
    for share in _SHARES:
        tried = (largest * np.float32(share / NIBBLE_MOST)).astype(np.float32)
        rounded = np.clip(np.rint(table / tried[:, None]), -NIBBLE_MOST, NIBBLE_MOST)
        missed = np.square(rounded * tried[:, None] - table).sum(axis=1)
        better = missed < best
        integers[better], scales[better] = rounded[better].astype(np.int8), tried[better]
        best[better] = missed[better]
    halves = (integers + np.int8(NIBBLE_ZERO)).astype(np.uint8)
    return halves[:, : dim // 2] | halves[:, dim // 2 :] << np.uint8(4), scales


def nibbles(table: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Take apart what ``quantize_nibbles`` packed: (rows, dim / 2) -> (rows, dim)."""
    halves = np.concatenate([table & 15, table >> 4], axis=1)
    return halves.astype(np.int8) - np.int8(NIBBLE_ZERO)


def quantize_transformer(full: GraphSet) -> GraphSet:
    """Put a traced transformer's matrices and embedding tables into eight bits.

    Args:
        full: Float32 graphs; left as they are.

    Returns:
        The graph alone, with the same inputs and output: of its products there is no derivative.
    """
    graph = full.graph.graph
    inside = {one.name: one for one in graph.initializer if one.name not in full.tensors}
    values: dict[str, NDArray[Any]] = {
        **full.tensors,
        **{name: numpy_helper.to_array(one) for name, one in inside.items()},
    }
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        replaced = _replace(node, values)
        if replaced is None:
            nodes.append(node)
            continue
        new_nodes, tensors = replaced
        nodes.extend(new_nodes)
        values.update(tensors)
    used = {name for node in nodes for name in node.input}
    kept = {name: value for name, value in values.items() if name in used}
    made = helper.make_graph(
        nodes,
        graph.name,
        list(graph.input),
        list(graph.output),
        [initializer(*one) for one in sorted(kept.items())],
    )
    opsets = [*full.graph.opset_import, helper.make_opsetid(DOMAIN, 1)]
    model = stamp(helper.make_model(made, opset_imports=opsets))
    return GraphSet(model, tensors_of(model, kept))


def _replace(node: onnx.NodeProto, values: Mapping[str, NDArray[Any]]) -> Replacement | None:
    """Give the nodes and tensors that stand in for a node, or None where it stays."""
    place = {"MatMul": 1, "Gather": 0}.get(node.op_type)
    if place is None or (weights := values.get(node.input[place])) is None:
        return None
    if weights.dtype != np.float32 or weights.ndim != 2:
        return None
    if node.op_type == "MatMul":
        return byte_product(node, weights)
    return _gather(node, weights)


def _gather(node: onnx.NodeProto, weights: NDArray[np.float32]) -> Replacement:
    integers, scales = quantize_rows(weights)
    name, output = node.input[0], node.output[0]
    tensors: dict[str, NDArray[Any]] = {
        f"{name}.integers": integers,
        f"{name}.scales": scales[:, None],
    }
    new = [
        helper.make_node("Gather", [f"{name}.integers", node.input[1]], [f"{output}.integers"]),
        helper.make_node(
            "Cast", [f"{output}.integers"], [f"{output}.floats"], to=TensorProto.FLOAT
        ),
        helper.make_node("Gather", [f"{name}.scales", node.input[1]], [f"{output}.scales"]),
        helper.make_node("Mul", [f"{output}.floats", f"{output}.scales"], [output]),
    ]
    return new, tensors
