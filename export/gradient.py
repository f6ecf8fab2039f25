"""The gradient of an encoder as an ONNX graph, so that a probe needs no torch.

A graph from token embeddings to vectors is differentiated node by node, backwards, and what comes
out is one more graph over the same weights, under the same names. It gives a vector-Jacobian
product: for a cotangent dL/dvector the gradient dL/dembedding of any loss L of the vectors.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from app.encoder.gradient import COTANGENT, GRADIENTS
from app.encoder.session import INPUTS, OUTPUT
from export.derivatives import BROADCAST, RULES
from export.parts import EMBEDDINGS, Tensors, copy_of, cut, stamp
from export.running import run_graph
from export.tape import Tape, attribute, unsupported

MASK = INPUTS[1]


def gradient_of(encode: onnx.ModelProto, tensors: Tensors) -> onnx.ModelProto:
    """Differentiate a graph from token embeddings and mask to vectors.

    Args:
        encode: The graph; left as it is.
        tensors: What it keeps outside.

    Returns:
        A graph with the same inputs and ``cotangent``, shape (batch, dim), to the vectors and
        ``token_gradients``, (batch, seq, hidden), which are 0 where the mask is.

    Raises:
        ArtifactError: If it has an operator without a rule; names the operator.
    """
    active = _active(encode)
    tape = Tape(_shapes(encode, tensors, active))
    gradients = {OUTPUT: COTANGENT}
    for node in reversed(encode.graph.node):
        gradient = _arriving(tape, node, gradients)
        if node.output[0] not in active or gradient is None:
            continue
        for index, name in enumerate(node.input):
            if name not in active:
                continue
            found = _through(tape, node, gradient, index)
            gradients[name] = (
                tape.add("Add", gradients[name], found) if name in gradients else found
            )
    if EMBEDDINGS not in gradients:
        raise unsupported(encode.graph.node[-1], "that no token embedding leads to")
    _mask_out(tape, gradients[EMBEDDINGS])
    return _with_tape(encode, tape)


def _arriving(tape: Tape, node: onnx.NodeProto, gradients: Mapping[str, str]) -> str | None:
    """Name the gradient of a node's output, or of all parts of a split; None: nothing needs it."""
    if node.op_type != "Split":
        return gradients.get(node.output[0])
    if gradients.keys().isdisjoint(node.output):
        return None
    zero = tape.number(0)
    parts = [gradients.get(name) or tape.add("Mul", name, zero) for name in node.output]
    return tape.add("Concat", *parts, axis=attribute(node, "axis", 0))


def _through(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    """Carry a gradient from a node's output to one of its inputs."""
    name, output = node.input[index], node.output[0]
    if rule := BROADCAST.get(node.op_type):
        found = rule(tape, node, gradient, index)
        return tape.summed(found, tape.shapes[output], tape.shapes[name])
    if rule := RULES.get(node.op_type):
        return rule(tape, node, gradient, index)
    raise unsupported(node, "on the way from token embeddings to vectors")


def _active(encode: onnx.ModelProto) -> set[str]:
    """Name the float tensors that depend on the token embeddings by their values."""
    found = {EMBEDDINGS}
    for node in encode.graph.node:
        # Of these only the shape of the input matters, or its order.
        if node.op_type in ("Shape", "Size", "Equal", "Less", "Greater", "ArgMax"):
            continue
        if found.intersection(node.input):
            found.update(node.output)
    return found


def _shapes(
    encode: onnx.ModelProto, tensors: Tensors, active: set[str]
) -> dict[str, tuple[int, ...]]:
    """Run the graph once to learn its tensors' shapes."""
    wanted = sorted(
        {
            name
            for node in encode.graph.node
            if active.intersection(node.output)
            for name in (*node.input, *node.output)
            if name
        }
    )
    known = {tensor.name: tuple(tensor.dims) for tensor in encode.graph.initializer}
    hidden = _width(encode.graph.input, EMBEDDINGS)
    feed: dict[str, NDArray[np.generic]] = {
        EMBEDDINGS: np.ones((3, 5, hidden), np.float32),
        MASK: np.ones((3, 5), np.int64),
    }
    known |= {name: value.shape for name, value in feed.items()}
    missing = [name for name in wanted if name not in known]
    found = run_graph(encode, tensors, feed, missing)
    return known | {name: np.shape(value) for name, value in found.items()}


def _mask_out(tape: Tape, gradient: str) -> None:
    """End the tape with the gradient where the mask is 1, and 0 elsewhere."""
    is_token = tape.add("Cast", MASK, to=TensorProto.BOOL)  # (batch, seq)
    is_row = tape.add("Unsqueeze", is_token, tape.axes([-1]))  # (batch, seq, 1)
    inputs = [is_row, gradient, tape.number(0)]
    tape.nodes.append(helper.make_node("Where", inputs, [GRADIENTS]))


def _with_tape(encode: onnx.ModelProto, tape: Tape) -> onnx.ModelProto:
    """Append the tape to the graph and drop what nothing needs."""
    whole = copy_of(encode)
    whole.graph.node.extend(tape.nodes)
    whole.graph.initializer.extend(tape.constants.values())
    dim = _width(encode.graph.output, OUTPUT)
    hidden = _width(encode.graph.input, EMBEDDINGS)
    make = helper.make_tensor_value_info
    cotangent = make(COTANGENT, TensorProto.FLOAT, ["batch", dim])
    gradients = make(GRADIENTS, TensorProto.FLOAT, ["batch", "seq", hidden])
    inputs = [*encode.graph.input, cotangent]
    return stamp(cut(whole, inputs, [*encode.graph.output, gradients]))


def _width(values: object, name: str) -> int:
    (value,) = [one for one in values if one.name == name]  # type: ignore[attr-defined]
    return value.type.tensor_type.shape.dim[-1].dim_value
