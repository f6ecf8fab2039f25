"""A graph's weights beside it: one safetensors file for all graphs of a precision.

ONNX Runtime would read external data from a path, and so open a file that nobody checked. Here the
values are views of the very bytes that were hashed. They are handed over by name, one graph takes
some and another graph others, and ONNX Runtime copies or packs each once, so that after loading
the bytes can be let go. Which names a graph takes is read from the graph itself (``outline``).
"""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.encoder.outline import read_inside, read_outline, require_no_paths
from app.errors import ArtifactError

DTYPES = {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "<i1", "U8": "<u1"}
"""Of safetensors' names those that our graphs use, in numpy's."""

_ONNX_DTYPES = {1: "<f4", 2: "<u1", 3: "<i1", 6: "<i4", 7: "<i8", 10: "<f2"}
_ONNX_START = b"\x08"  # the key of an ONNX file's first field, its version

_REMEDY = "Export the artifact again."


def external_tensors(graph: bytes, weights: bytes | None) -> dict[str, NDArray[Any]]:
    """Find the tensors that a graph takes from outside.

    Args:
        graph: An ONNX file.
        weights: A safetensors file; None: there is none.

    Returns:
        By name a read-only view of ``weights`` for each such tensor.

    Raises:
        ArtifactError: If a tensor is not there, the graph names another file by its path, or
            either file is malformed.
    """
    outline = read_outline(graph)
    require_no_paths(outline)
    names = list(outline.outside)
    views = read_weights(weights) if weights is not None else {}
    if missing := [name for name in names if name not in views]:
        raise ArtifactError(
            f"got a graph that ONNX Runtime cannot load: {len(missing)} of its weights, "
            f"{missing[0]} among them, stand neither in it nor in a weights file of the manifest; "
            f"expected all of them. {_REMEDY}"
        )
    return {name: views[name] for name in names}


def read_weights(content: bytes) -> dict[str, NDArray[Any]]:
    """View a file's tensors, without a copy.

    Args:
        content: A safetensors file; or an ONNX graph that holds its weights itself, for the graphs
            of a white box that share them.

    Raises:
        ArtifactError: If it is malformed.

    References:
        https://github.com/huggingface/safetensors#format
    """
    if content[:1] == _ONNX_START and content[8:9] != b"{":
        return _read_graph(content)
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
            # Not the error itself: it may hold the whole file.
            f"got weights that are no safetensors file of our types ({type(error).__name__}); "
            f"expected {', '.join(DTYPES)} in one. {_REMEDY}"
        ) from error


def _read_graph(content: bytes) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name, (kind, shape, raw) in read_inside(content).items():
        if kind in _ONNX_DTYPES:
            try:
                found[name] = np.frombuffer(raw, dtype=_ONNX_DTYPES[kind]).reshape(shape)
            except ValueError as error:
                raise ArtifactError(
                    f"got a graph whose tensor {name} is not of the shape that it says ({error}); "
                    f"expected {shape}. {_REMEDY}"
                ) from error
    return found


def _view(
    content: bytes, start: int, dtype: str, shape: list[int], offsets: list[int]
) -> NDArray[Any]:
    first, last = offsets
    if not 0 <= first <= last <= len(content) - start:
        raise ValueError(f"offsets {offsets} of {len(content) - start} bytes")
    buffer = memoryview(content)[start + first : start + last]
    return np.frombuffer(buffer, dtype=DTYPES[dtype]).reshape(shape)
