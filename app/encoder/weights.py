"""A graph's weights beside it: one safetensors file for all graphs of a precision.

ONNX Runtime would read external data from a path, and so open a file that nobody checked. Here the
values are views of the very bytes that were hashed. They are handed over by name, one graph takes
some and another graph others, and ONNX Runtime copies or packs each once, so that after loading
the bytes can be let go. Which names a graph takes is read from the graph itself: of protobuf's
wire format that takes one rule, a field is a key and a varint or a length and its content.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ArtifactError

DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "<i1", "U8": "<u1"}
"""Of safetensors' names those that our graphs use, in numpy's."""

# Field numbers in onnx.proto; of a protocol buffer they never change.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_NAME, _TENSOR_LOCATION = 7, 5, 8, 14
_EXTERNAL = 1
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5

_REMEDY = "Export the artifact again."


def external_tensors(graph: bytes, weights: bytes | None) -> dict[str, NDArray[Any]]:
    """Find the tensors that a graph takes from outside.

    Args:
        graph: An ONNX file.
        weights: A safetensors file; None: there is none.

    Returns:
        By name a read-only view of ``weights`` for each such tensor.

    Raises:
        ArtifactError: If a tensor is not there, or either file is malformed.
    """
    try:
        names = list(_external_names(memoryview(graph)))
    except (IndexError, ValueError) as error:
        raise ArtifactError(
            f"got bytes that are no ONNX graph ({error}); ONNX Runtime cannot load them; expected "
            f"a graph. {_REMEDY}"
        ) from error
    views = read_weights(weights) if weights is not None else {}
    if missing := [name for name in names if name not in views]:
        raise ArtifactError(
            f"got a graph that ONNX Runtime cannot load: {len(missing)} of its weights, "
            f"{missing[0]} among them, stand neither in it nor in a weights file of the manifest; "
            f"expected all of them. {_REMEDY}"
        )
    return {name: views[name] for name in names}


def read_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """View a safetensors file's tensors, without a copy.

    Raises:
        ArtifactError: If it is malformed.

    References:
        https://github.com/huggingface/safetensors#format
    """
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        header.pop("__metadata__", None)
        return {
            name: _view(content, 8 + size, entry["dtype"], entry["shape"], entry["data_offsets"])
            for name, entry in header.items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"got weights that are no safetensors file of our types ({error!r}); expected "
            f"{', '.join(DTYPES)} in one. {_REMEDY}"
        ) from error


def _view(
    content: bytes, start: int, dtype: str, shape: list[int], offsets: list[int]
) -> NDArray[Any]:
    first, last = offsets
    if not 0 <= first <= last <= len(content) - start:
        raise ValueError(f"offsets {offsets} of {len(content) - start} bytes")
    buffer = memoryview(content)[start + first : start + last]
    return np.frombuffer(buffer, dtype=DTYPES[dtype]).reshape(shape)


def _external_names(model: memoryview) -> Iterator[str]:
    for number, graph in _fields(model):
        if number != _MODEL_GRAPH or isinstance(graph, int):
            continue
        for kind, tensor in _fields(graph):
            if kind != _GRAPH_INITIALIZER or isinstance(tensor, int):
                continue
            found = dict(_fields(tensor))
            name = found.get(_TENSOR_NAME, b"")
            if found.get(_TENSOR_LOCATION) == _EXTERNAL and not isinstance(name, int):
                yield bytes(name).decode()


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Walk over a protobuf message: numbers and contents of its fields."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _LENGTH:
            size, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"a field of kind {kind} at byte {at}")
        if at + size > len(message):
            raise ValueError(f"a field that ends at {at + size} of {len(message)} bytes")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; gives it and where it ends."""
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError(f"a number without end at byte {at}")
