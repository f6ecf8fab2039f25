"""Nodes that are added to a graph to carry gradients, and what their rules need to know."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.errors import ArtifactError


class Tape:
    """The nodes and constants that are added to a graph.

    Attributes:
        nodes: In the order in which they run.
        constants: Initializers.
        shapes: Shape of each tensor of the forward part at a run whose batch and sequence are not
            1; what is equal or 1 there is so everywhere.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.shapes = shapes

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; gives the name of its output."""
        output = f"gradient/{len(self.nodes)}/{kind}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def number(self, value: float) -> str:
        """Give a float constant."""
        return self._constant(np.array(value, dtype=np.float32))

    def whole(self, value: int) -> str:
        """Give an integer constant."""
        return self._constant(np.array(value, dtype=np.int64))

    def axes(self, values: Sequence[int]) -> str:
        """Give a constant list of integers."""
        return self._constant(np.array(values, dtype=np.int64))

    def _constant(self, value: NDArray[Any]) -> str:
        name = f"gradient/constant/{value.dtype}{value.tolist()}"
        self.constants[name] = numpy_helper.from_array(value, name)
        return name

    def like(self, gradient: str, name: str) -> str:
        """Give a gradient the shape of a tensor of as many elements."""
        return self.add("Reshape", gradient, self.add("Shape", name))

    def swapped(self, name: str) -> str:
        """Swap the last two axes of a tensor, a weight for one."""
        order = list(range(len(self.shapes[name])))
        return self.add("Transpose", name, perm=[*order[:-2], order[-1], order[-2]])

    def summed(self, gradient: str, stretched: tuple[int, ...], shape: tuple[int, ...]) -> str:
        """Sum a gradient over the axes along which an input was broadcast.

        Args:
            gradient: Of shape ``stretched``.
            stretched: The shape after broadcasting.
            shape: The input's shape.
        """
        ahead = len(stretched) - len(shape)
        pairs = enumerate(zip(stretched[ahead:], shape, strict=True), start=ahead)
        within = [axis for axis, (wide, narrow) in pairs if wide != narrow]
        if within:
            gradient = self.add("ReduceSum", gradient, self.axes(within), keepdims=1)
        if ahead:
            gradient = self.add("ReduceSum", gradient, self.axes(range(ahead)), keepdims=0)
        return gradient


Rule = Callable[[Tape, onnx.NodeProto, str, int], str]
"""(tape, node, gradient of its first output, number of the input) -> gradient of that input."""


def unsupported(node: onnx.NodeProto, why: str) -> ArtifactError:
    """Make the error for a node that cannot be differentiated."""
    return ArtifactError(
        f"got an encoder with the operator {node.op_type} {why}; expected operators that "
        "export/derivatives.py has a rule for. Export without the white box (--no-white-box), or "
        "add the rule."
    )


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Read an attribute of a node."""
    for found in node.attribute:
        if found.name == name:
            return helper.get_attribute_value(found)
    return default
