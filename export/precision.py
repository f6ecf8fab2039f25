"""Eight bits for weights alone: smaller files whose vectors do not depend on batch mates.

Activations stay float32. Quantizing them on the fly takes its scale from the whole batch, so a
text's vector would change with the texts it happens to be run with. Tables get a scale for each
row; matrices of a transformer get one for each block of 32 weights (``MatMulNBits``).
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.graph import finish

BLOCK = 32
ZERO_POINT = 128
"""What ``MatMulNBits`` takes for zero in 8 bits unless told otherwise."""

_DOMAIN = "com.microsoft"


def quantize_rows(table: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each row to integers in units of a scale of its own.

    Args:
        table: Shape (rows, dim).

    Returns:
        The integers, shape (rows, dim), within -127 to 127, and the scales, shape (rows,).
    """
    scales = np.abs(table).max(axis=1) / np.float32(127)
    # A row of zeros has no scale; 1 leaves it zeros.
    scales = np.where(scales > 0, scales, np.float32(1)).astype(np.float32)
    return np.rint(table / scales[:, None]).astype(np.int8), scales


def quantize_blocks(
    weights: NDArray[np.float32],
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Round a matrix to bytes with a scale for each block of ``BLOCK`` inputs of an output.

    Args:
        weights: Shape (inputs, outputs).

    Returns:
        The bytes, ``ZERO_POINT`` standing for zero, shape (outputs, blocks, BLOCK), and the scales,
        shape (outputs, blocks). The last block is filled up with zeros.
    """
    inputs, outputs = weights.shape
    blocks = -(-inputs // BLOCK)
    padded = np.zeros((outputs, blocks * BLOCK), dtype=np.float32)
    padded[:, :inputs] = weights.T
    grouped = padded.reshape(outputs * blocks, BLOCK)
    integers, scales = quantize_rows(grouped)
    data = (integers.astype(np.int16) + ZERO_POINT).astype(np.uint8)
    return data.reshape(outputs, blocks, BLOCK), scales.reshape(outputs, blocks)


def quantize_transformer(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put a traced transformer's matrices and embedding tables into eight bits.

    Args:
        model: A float32 graph; left as it is.

    Returns:
        A new graph with the same inputs and output.
    """
    quantized = onnx.ModelProto()
    quantized.CopyFrom(model)
    graph = quantized.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        replaced = _replace(node, weights)
        if replaced is None:
            nodes.append(node)
            continue
        new_nodes, tensors = replaced
        nodes.extend(new_nodes)
        graph.initializer.extend(tensors)
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend({tensor.name: tensor for tensor in kept}.values())
    if _DOMAIN not in {opset.domain for opset in quantized.opset_import}:
        quantized.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return finish(quantized)


Replacement = tuple[list[onnx.NodeProto], list[onnx.TensorProto]]


def _replace(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> Replacement | None:
    """Give the nodes and tensors that stand in for a node, or None where it stays."""
    if node.op_type == "MatMul" and node.input[1] in weights:
        tensor = weights[node.input[1]]
        return _matmul(node, tensor) if _is_matrix(tensor) else None
    if node.op_type == "Gather" and node.input[0] in weights:
        tensor = weights[node.input[0]]
        return _gather(node, tensor) if _is_matrix(tensor) else None
    return None


def _is_matrix(tensor: onnx.TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2


def _matmul(node: onnx.NodeProto, tensor: onnx.TensorProto) -> Replacement:
    inputs, outputs = tensor.dims
    data, scales = quantize_blocks(numpy_helper.to_array(tensor))
    tensors = [
        numpy_helper.from_array(data, f"{tensor.name}.bytes"),
        numpy_helper.from_array(scales, f"{tensor.name}.scales"),
    ]
    new = helper.make_node(
        "MatMulNBits",
        [node.input[0], *(one.name for one in tensors)],
        list(node.output),
        name=node.name,
        domain=_DOMAIN,
        K=inputs,
        N=outputs,
        bits=8,
        block_size=BLOCK,
    )
    return [new], tensors


def _gather(node: onnx.NodeProto, tensor: onnx.TensorProto) -> Replacement:
    integers, scales = quantize_rows(numpy_helper.to_array(tensor))
    tensors = [
        numpy_helper.from_array(integers, f"{tensor.name}.integers"),
        numpy_helper.from_array(scales[:, None], f"{tensor.name}.scales"),
    ]
    output = node.output[0]
    new = [
        helper.make_node("Gather", [tensors[0].name, node.input[1]], [f"{output}.integers"]),
        helper.make_node(
            "Cast", [f"{output}.integers"], [f"{output}.floats"], to=TensorProto.FLOAT
        ),
        helper.make_node("Gather", [tensors[1].name, node.input[1]], [f"{output}.scales"]),
        helper.make_node("Mul", [f"{output}.floats", f"{output}.scales"], [output]),
    ]
    return new, tensors
