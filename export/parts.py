"""The graphs of one precision, and how they share their weights.

A graph keeps large tensors outside: its protobuf names them, and one safetensors file holds each
of them once for all graphs of the precision. The file is written tensor by tensor, so weights of
any size pass, beyond the 2 GiB that a protobuf may have too.
"""

import json
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.encoder.weights import DTYPES
from app.errors import ArtifactError

OPSET = 20
EPSILON = 1e-6
"""A pooled vector shorter than this has no direction: rounding leaves a sum that cancels out
lengths of 1e-8, other ones on other processors."""

DOMAIN = "com.microsoft"
"""Of the operators that ONNX Runtime has beyond the standard."""

EMBEDDINGS = "token_embeddings"
OUTSIDE_BYTES = 1024
"""Smaller tensors stay in the graph: shapes, scalars and the like."""

_ALIGNMENT = 64
_DTYPE_NAMES = {np.dtype(kind): name for name, kind in DTYPES.items()}

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class GraphSet:
    """The graphs of one precision.

    Attributes:
        graph: Token ids and mask to vectors.
        tensors: By name the weights that the graphs keep outside; none: all stand inside.
        lookup: Token ids to token embeddings, or None without a white box.
        encode: Token embeddings and mask to vectors, or None.
        gradient: Token embeddings, mask and cotangent to vectors and gradients, or None.
        refusal: Why there is no white box though one was asked for; empty: there is one, or none
            was asked for.
    """

    graph: onnx.ModelProto
    tensors: Tensors = field(default_factory=dict)
    lookup: onnx.ModelProto | None = None
    encode: onnx.ModelProto | None = None
    gradient: onnx.ModelProto | None = None
    refusal: str = ""

    def models(self) -> dict[str, onnx.ModelProto]:
        """Give the graphs by their role in the manifest, those that there are."""
        found = {
            "graph": self.graph,
            "lookup": self.lookup,
            "encode": self.encode,
            "gradient": self.gradient,
        }
        return {role: model for role, model in found.items() if model is not None}


def stamp(model: onnx.ModelProto) -> onnx.ModelProto:
    """Put our name and the oldest file version that holds it on a graph."""
    model.ir_version = 10
    model.producer_name = "tyntegra"
    model.producer_version = ""
    model.doc_string = ""
    return model


def finish(model: onnx.ModelProto) -> onnx.ModelProto:
    """Stamp a graph that has all its weights inside, and check it."""
    onnx.checker.check_model(stamp(model), full_check=True)
    return model


def copy_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a graph."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    return copied


def move_outside(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """Take the large tensors out of a graph.

    Returns:
        A graph that names them, and the tensors by name.
    """
    moved = copy_of(model)
    tensors: dict[str, NDArray[Any]] = {}
    for tensor in moved.graph.initializer:
        if len(tensor.raw_data) >= OUTSIDE_BYTES:
            tensors[tensor.name] = numpy_helper.to_array(tensor)
            tensor.CopyFrom(outside_tensor(tensor.name, tensors[tensor.name]))
    return moved, tensors


def move_inside(model: onnx.ModelProto, tensors: Tensors) -> onnx.ModelProto:
    """Put a graph's weights into it, where they are few enough for one file."""
    whole = copy_of(model)
    for tensor in whole.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            value = np.asarray(tensors[tensor.name], order="C")
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return whole


def initializer(name: str, value: NDArray[Any]) -> onnx.TensorProto:
    """Make a tensor of a graph: a large one is only named, a small one stands inside."""
    if value.nbytes >= OUTSIDE_BYTES:
        return outside_tensor(name, value)
    return numpy_helper.from_array(np.asarray(value, order="C"), name)


def tensors_of(model: onnx.ModelProto, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Choose the tensors that a graph keeps outside."""
    return {
        one.name: tensors[one.name]
        for one in model.graph.initializer
        if one.data_location == TensorProto.EXTERNAL
    }


def outside_tensor(name: str, value: NDArray[Any]) -> onnx.TensorProto:
    """Describe a tensor that is kept outside; where it lies is filled in when it is written."""
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    tensor = TensorProto(name=name, data_type=kind, dims=value.shape)
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def cut(
    model: onnx.ModelProto,
    inputs: Collection[onnx.ValueInfoProto],
    outputs: Collection[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Cut the part out of a graph that leads from some tensors to others.

    Raises:
        ArtifactError: If the part needs another input of the graph.
    """
    given = {value.name for value in inputs}
    maker = {name: node for node in model.graph.node for name in node.output}
    needed: set[str] = set()
    waiting = [value.name for value in outputs]
    while waiting:
        name = waiting.pop()
        if name in needed or not name:
            continue
        needed.add(name)
        if name not in given and name in maker:
            waiting.extend(maker[name].input)
    if foreign := sorted({one.name for one in model.graph.input} & needed - given):
        raise ArtifactError(
            f"got a graph whose part from {', '.join(sorted(given))} needs {foreign[0]} too; "
            "expected one that can be cut there. This architecture is not supported."
        )
    nodes = [node for node in model.graph.node if needed.intersection(node.output) - given]
    kept = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    graph = helper.make_graph(nodes, model.graph.name, list(inputs), list(outputs), kept)
    return stamp(helper.make_model(graph, opset_imports=model.opset_import))


def write_weights(path: Path, tensors: Tensors) -> dict[str, tuple[int, int]]:
    """Write tensors as one safetensors file, one after the other.

    Returns:
        Offset and length in bytes of each within the file.
    """
    # The widest first, so that each begins at a multiple of its item.
    order = sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    header: dict[str, Any] = {}
    end = 0
    for name in order:
        value = tensors[name]
        first, end = end, end + value.nbytes
        header[name] = {
            "dtype": _DTYPE_NAMES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [first, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 8) % _ALIGNMENT)
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            # A transposed view becomes a block of its own here, one tensor at a time.
            out.write(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)
        out.flush()
        os.fsync(out.fileno())
    start = len(text) + 8
    return {name: (start + header[name]["data_offsets"][0], tensors[name].nbytes) for name in order}


def placed(
    model: onnx.ModelProto, location: str, places: Mapping[str, tuple[int, int]]
) -> onnx.ModelProto:
    """Fill in where a graph's outside tensors lie.

    Args:
        model: Left as it is.
        location: Name of the file beside the graph.
        places: Offset and length in bytes of each tensor.
    """
    filled = copy_of(model)
    for tensor in filled.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            offset, length = places[tensor.name]
            del tensor.external_data[:]
            for key, value in (("location", location), ("offset", offset), ("length", length)):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, str(value)
    return filled
