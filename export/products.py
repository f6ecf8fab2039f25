"""Products of a transformer in bytes, with scales that no batch mate has a say in.

Each token's row of activations is rounded to bytes between its least and its greatest entry, each
column of weights to integers of eight bits with a scale of its own. The product is one of integers,
exact in any order; what was taken off each row, times the sums of the columns, is added back. Where
the outputs are few, the inputs are cut in blocks with scales of their own: nearer, and cheap there.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.parts import DOMAIN

_MOST = 255
_BLOCK = 512  # inputs that share their scales, at most, where outputs are few
_FLAT = 1e-12  # the range of a row whose entries are all the same

_CONSTANTS: dict[str, NDArray[Any]] = {
    "bytes.axis": np.array([-1], dtype=np.int64),
    "bytes.flat": np.array(_FLAT, dtype=np.float32),
    "bytes.one": np.array(1, dtype=np.float32),
    "bytes.step": np.array(1 / _MOST, dtype=np.float32),
    "bytes.zero": np.array(0, dtype=np.uint8),
}

Replacement = tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]


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


def byte_product(node: onnx.NodeProto, weights: NDArray[np.float32]) -> Replacement:
    """Write a product of activations and weights in bytes.

    Args:
        node: A ``MatMul``.
        weights: Its second factor, shape (inputs, outputs).

    Returns:
        Nodes that give the same output, and the tensors that they need. Nodes that round one
        input for several products are equal, and ONNX Runtime keeps one of each.
    """
    rows, name, out = node.input[0], node.input[1], node.output[0]
    parts = np.array_split(weights, blocks_of(*weights.shape))
    if len(parts) == 1:
        return _part((rows, name, out), weights)
    sizes = np.array([len(part) for part in parts], dtype=np.int64)
    tensors: dict[str, NDArray[Any]] = {f"bytes.{'+'.join(map(str, sizes))}": sizes}
    inputs = [f"{out}.rows{number}" for number in range(len(parts))]
    nodes = [helper.make_node("Split", [rows, *tensors], inputs, axis=-1)]
    total = ""
    for number, (source, part) in enumerate(zip(inputs, parts, strict=True)):
        some, needed = _part((source, f"{name}.{number}", f"{out}.{number}"), part)
        nodes += some
        tensors |= needed
        if number:
            last = number == len(parts) - 1
            so_far = out if last else f"{out}.{number}.total"
            nodes.append(helper.make_node("Add", [total, f"{out}.{number}"], [so_far]))
        total = f"{out}.{number}.total" if number else f"{out}.0"
    return nodes, tensors


def blocks_of(inputs: int, outputs: int) -> int:
    """In how many blocks the inputs are cut: each costs a pass over the outputs."""
    return 1 if outputs > inputs else max(2, -(-inputs // _BLOCK))


def _part(names: tuple[str, str, str], weights: NDArray[np.float32]) -> Replacement:
    """Multiply rows and weights, by the names of rows, weights and output."""
    rows, name, out = names
    columns, scales = quantize_rows(weights.T)
    tensors: dict[str, NDArray[Any]] = {
        **_CONSTANTS,
        f"{name}.integers": np.ascontiguousarray(columns.T),
        f"{name}.scales": scales,
        f"{name}.zeros": np.zeros(len(scales), dtype=np.int8),
        f"{name}.sums": columns.sum(axis=1, dtype=np.int64).astype(np.float32) * scales,
    }
    factors = [f"{out}.bytes", f"{name}.integers", "bytes.one", f"{name}.scales"]
    steps = [
        ("ReduceMin", [rows, "bytes.axis"], "low"),
        ("ReduceMax", [rows, "bytes.axis"], "high"),
        ("Sub", [f"{out}.high", f"{out}.low"], "range"),
        ("Max", [f"{out}.range", "bytes.flat"], "safe"),
        ("Mul", [f"{out}.safe", "bytes.step"], "scale"),
        ("Sub", [rows, f"{out}.low"], "shifted"),
        ("Div", [f"{out}.shifted", f"{out}.scale"], "scaled"),
        ("QuantizeLinear", [f"{out}.scaled", "bytes.one", "bytes.zero"], "bytes"),
        ("MatMulIntegerToFloat", [*factors, "bytes.zero", f"{name}.zeros"], "product"),
        ("Mul", [f"{out}.product", f"{out}.scale"], "restored"),
        ("Mul", [f"{out}.low", f"{name}.sums"], "lift"),
    ]
    nodes = [
        helper.make_node(
            kind, inputs, [f"{out}.{part}"], domain=DOMAIN if kind.startswith("MatMul") else ""
        )
        for kind, inputs, part in steps
    ]
    return [*nodes, helper.make_node("Add", [f"{out}.restored", f"{out}.lift"], [out])], tensors
