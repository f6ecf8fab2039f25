"""Slopes of ONNX operators that work on one number at a time, as nodes."""

import math
from collections.abc import Callable

import onnx

from export.tape import Tape, attribute

Slope = Callable[[Tape, onnx.NodeProto], str]


def _gelu(tape: Tape, node: onnx.NodeProto) -> str:
    x = node.input[0]
    half, one = tape.number(0.5), tape.number(1)
    square = tape.add("Mul", x, x)
    if attribute(node, "approximate", b"none") == b"tanh":
        root = tape.number(math.sqrt(2 / math.pi))
        cubic = tape.add("Add", one, tape.add("Mul", square, tape.number(0.044715)))
        bent = tape.add("Tanh", tape.add("Mul", root, tape.add("Mul", x, cubic)))
        slope = tape.add("Add", one, tape.add("Mul", square, tape.number(3 * 0.044715)))
        steep = tape.add("Sub", one, tape.add("Mul", bent, bent))
        density = tape.add("Mul", half, tape.add("Mul", steep, tape.add("Mul", root, slope)))
    else:
        bent = tape.add("Erf", tape.add("Mul", x, tape.number(math.sqrt(0.5))))
        bell = tape.add("Exp", tape.add("Mul", square, tape.number(-0.5)))
        density = tape.add("Mul", bell, tape.number(1 / math.sqrt(2 * math.pi)))
    share = tape.add("Mul", half, tape.add("Add", one, bent))
    return tape.add("Add", share, tape.add("Mul", x, density))


def _tanh(tape: Tape, node: onnx.NodeProto) -> str:
    y = node.output[0]
    return tape.add("Sub", tape.number(1), tape.add("Mul", y, y))


def _sigmoid(tape: Tape, node: onnx.NodeProto) -> str:
    y = node.output[0]
    return tape.add("Mul", y, tape.add("Sub", tape.number(1), y))


def _erf(tape: Tape, node: onnx.NodeProto) -> str:
    x = node.input[0]
    bell = tape.add("Exp", tape.add("Neg", tape.add("Mul", x, x)))
    return tape.add("Mul", bell, tape.number(2 / math.sqrt(math.pi)))


def _sqrt(tape: Tape, node: onnx.NodeProto) -> str:
    return tape.add("Div", tape.number(0.5), node.output[0])


def _softplus(tape: Tape, node: onnx.NodeProto) -> str:
    return tape.add("Sigmoid", node.input[0])


def _bent_line(tape: Tape, node: onnx.NodeProto) -> str:
    """Give 1 above zero; below it 0 (Relu), alpha (LeakyRelu) or alpha + y (Elu)."""
    below = tape.number(0)
    if node.op_type == "LeakyRelu":
        below = tape.number(attribute(node, "alpha", 0.01))
    elif node.op_type == "Elu":
        below = tape.add("Add", node.output[0], tape.number(attribute(node, "alpha", 1.0)))
    above = tape.add("Greater", node.input[0], tape.number(0))
    return tape.add("Where", above, tape.number(1), below)


SLOPES: dict[str, Slope] = {
    "Gelu": _gelu,
    "Tanh": _tanh,
    "Sigmoid": _sigmoid,
    "Erf": _erf,
    "Sqrt": _sqrt,
    "Softplus": _softplus,
    "Relu": _bent_line,
    "LeakyRelu": _bent_line,
    "Elu": _bent_line,
}
