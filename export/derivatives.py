"""Derivatives of ONNX operators: the nodes that carry a gradient from an output to an input.

Each rule is a vector-Jacobian product, written as further nodes of the same graph. They cover what
traced encoders are made of; an operator without a rule is an error that names it.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from export.slopes import SLOPES, Slope
from export.tape import Rule, Tape, attribute, unsupported


def _matmul(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    left, right = node.input
    batch, shape = tape.shapes[node.output[0]][:-2], tape.shapes[node.input[index]]
    if min(len(tape.shapes[left]), len(tape.shapes[right])) < 2:
        raise unsupported(node, "on a vector")
    found = (
        tape.add("MatMul", gradient, tape.swapped(right))
        if index == 0
        else tape.add("MatMul", tape.swapped(left), gradient)
    )
    return tape.summed(found, (*batch, *shape[-2:]), shape)


def _gemm(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    if index or attribute(node, "transA", 0) or attribute(node, "alpha", 1.0) != 1:
        raise unsupported(node, "in a form that Linear layers do not have")
    right = node.input[1]
    is_transposed = attribute(node, "transB", 0)
    return tape.add("MatMul", gradient, right if is_transposed else tape.swapped(right))


def _softmax(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    output, axes = node.output[0], tape.axes([attribute(node, "axis", -1)])
    total = tape.add("ReduceSum", tape.add("Mul", gradient, output), axes, keepdims=1)
    return tape.add("Mul", output, tape.add("Sub", gradient, total))


def _layer_norm(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    """With y = scale * n + bias, n = (x - m) / s: dx = (d - mean(d) - n mean(d n)) / s."""
    rank = len(tape.shapes[node.input[0]])
    if index or attribute(node, "axis", -1) not in (-1, rank - 1):
        raise unsupported(node, "over more than the last axis")
    last = tape.axes([-1])

    def mean(name: str) -> str:
        return tape.add("ReduceMean", name, last, keepdims=1)

    centered = tape.add("Sub", node.input[0], mean(node.input[0]))
    variance = mean(tape.add("Mul", centered, centered))
    epsilon = tape.number(attribute(node, "epsilon", 1e-5))
    deviation = tape.add("Sqrt", tape.add("Add", variance, epsilon))
    normal = tape.add("Div", centered, deviation)
    scaled = tape.add("Mul", gradient, node.input[1])
    along = tape.add("Mul", normal, mean(tape.add("Mul", scaled, normal)))
    rest = tape.add("Sub", tape.add("Sub", scaled, mean(scaled)), along)
    return tape.add("Div", rest, deviation)


def _einsum(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    equation = attribute(node, "equation", b"").decode().replace(" ", "")
    inputs, _, output = equation.partition("->")
    terms = inputs.split(",")
    others = [
        (term, name)
        for n, (term, name) in enumerate(zip(terms, node.input, strict=True))
        if n != index
    ]
    seen = set(output).union(*(term for term, _ in others))
    wanted = terms[index]
    if not output.isalpha() or len(set(wanted)) < len(wanted) or set(wanted) - seen:
        raise unsupported(node, f"of the form {equation}")
    turned = ",".join([output, *(term for term, _ in others)]) + f"->{wanted}"
    return tape.add("Einsum", gradient, *(name for _, name in others), equation=turned)


def _reduce(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    """Spread a sum's, mean's or length's gradient over the elements that went into it."""
    x, shape = node.input[0], tape.shapes[node.input[0]]
    kept = tape.shapes[node.output[0]]
    output = node.output[0]
    if not attribute(node, "keepdims", 1):
        if len(node.input) < 2 or not node.input[1]:
            raise unsupported(node, "over all axes at once")
        gradient, output = (tape.add("Unsqueeze", one, node.input[1]) for one in (gradient, output))
    elif len(kept) != len(shape):
        raise unsupported(node, "of another rank")
    if node.op_type == "ReduceL2":
        # A row of zeros has no direction: its gradient is 0, as torch says.
        is_zero = tape.add("Equal", output, tape.number(0))
        length = tape.add("Where", is_zero, tape.number(1), output)
        return tape.add("Mul", x, tape.add("Div", gradient, length))
    spread = tape.add("Expand", gradient, tape.add("Shape", x))
    if node.op_type == "ReduceSum":
        return spread
    count = tape.add("Div", tape.add("Size", x), tape.add("Size", node.output[0]))
    return tape.add("Div", spread, tape.add("Cast", count, to=TensorProto.FLOAT))


def _gather_elements(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    x, places = node.input
    zeros = tape.add("Mul", x, tape.number(0))
    axis = attribute(node, "axis", 0)
    return tape.add("ScatterElements", zeros, places, gradient, axis=axis, reduction="add")


def _gather(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    """Put the gradient at the one place of an axis that was taken, and 0 elsewhere."""
    x, place = node.input
    rank, axis = len(tape.shapes[x]), attribute(node, "axis", 0)
    if index or tape.shapes[place] != ():
        return _taken(tape, node, gradient, index)
    size = tape.add("Gather", tape.add("Shape", x), tape.axes([axis]))  # (1,)
    places = tape.add("Range", tape.whole(0), tape.add("Squeeze", size), tape.whole(1))
    wanted = tape.add("Mod", tape.add("Add", place, size), size)  # counts from the end if below 0
    lined = [-1 if n == axis % rank else 1 for n in range(rank)]
    is_taken = tape.add("Reshape", tape.add("Equal", places, wanted), tape.axes(lined))
    spread = tape.add("Unsqueeze", gradient, tape.axes([axis]))
    return tape.add("Where", is_taken, spread, tape.number(0))


def _taken(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    """Add the gradient up where the numbers came from: the node itself tells, given the places."""
    if index:
        raise unsupported(node, "at places that depend on token embeddings")
    x, flat = node.input[0], tape.axes([-1])
    shape = tape.add("Shape", x)
    numbers = tape.add("Range", tape.whole(0), tape.add("Size", x), tape.whole(1))
    options = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    places = tape.add("Reshape", numbers, shape)
    taken = tape.add(node.op_type, places, *node.input[1:], **options)
    zeros = tape.add("Expand", tape.number(0), tape.add("Shape", numbers))
    rows = [tape.add("Reshape", name, flat) for name in (taken, gradient)]
    found = tape.add("ScatterElements", zeros, *rows, axis=0, reduction="add")
    return tape.add("Reshape", found, shape)


def _concat(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    axis = tape.axes([attribute(node, "axis", 0)])

    def size(name: str) -> str:
        return tape.add("Gather", tape.add("Shape", name), axis)  # (1,)

    start = tape.axes([0])
    for name in node.input[:index]:
        start = tape.add("Add", start, size(name))
    end = tape.add("Add", start, size(node.input[index]))
    return tape.add("Slice", gradient, start, end, axis)


def _cast(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    if attribute(node, "to", 0) != TensorProto.FLOAT:
        raise unsupported(node, "to another type than float32")
    return gradient


def _transpose(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    order = attribute(node, "perm", list(reversed(range(len(tape.shapes[node.input[0]])))))
    return tape.add("Transpose", gradient, perm=[int(n) for n in np.argsort(order)])


def _where(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    sides = [gradient, tape.number(0)]
    return tape.add("Where", node.input[0], *(sides if index == 1 else sides[::-1]))


def _clip(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    is_kept = tape.add("Equal", node.input[0], node.output[0])
    return tape.add("Where", is_kept, gradient, tape.number(0))


def _divide(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    share = tape.add("Div", gradient, node.input[1])
    return share if index == 0 else tape.add("Neg", tape.add("Mul", share, node.output[0]))


def _power(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    if index:
        raise unsupported(node, "with an exponent that depends on the text")
    x, exponent = node.input
    lower = tape.add("Pow", x, tape.add("Sub", exponent, tape.number(1)))
    return tape.add("Mul", gradient, tape.add("Mul", exponent, lower))


def _pointwise(slope: Slope) -> Rule:
    """Make the rule of a function of one number from its slope."""

    def rule(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
        return tape.add("Mul", gradient, slope(tape, node))

    return rule


def _same(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    return gradient


def _reshaped(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    return tape.like(gradient, node.input[0])


def _negated(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    return tape.add("Neg", gradient)


def _subtract(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    return tape.add("Neg", gradient) if index else gradient


def _multiply(tape: Tape, node: onnx.NodeProto, gradient: str, index: int) -> str:
    return tape.add("Mul", gradient, node.input[1 - index])


BROADCAST: dict[str, Rule] = {
    "Add": _same,
    "Sub": _subtract,
    "Mul": _multiply,
    "Div": _divide,
    "Pow": _power,
    "Where": _where,
    "Expand": _same,
}
"""Rules whose gradient has the output's shape, which the input may have been stretched to."""

RULES: dict[str, Rule] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Softmax": _softmax,
    "LayerNormalization": _layer_norm,
    "ReduceSum": _reduce,
    "ReduceMean": _reduce,
    "ReduceL2": _reduce,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Slice": _taken,
    "Split": _same,
    "Cast": _cast,
    "Concat": _concat,
    "Transpose": _transpose,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Flatten": _reshaped,
    "Clip": _clip,
    "Identity": _same,
    "Neg": _negated,
    **{kind: _pointwise(slope) for kind, slope in SLOPES.items()},
}
"""All other rules; their gradient has the input's shape."""
