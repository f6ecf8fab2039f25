"""What an ONNX file says about itself, read without building it: opsets and other files it names.

A graph may keep tensors in other files and name them by path, so a file from outside could make
the runtime read whatever path it likes. ONNX Runtime refuses most of that by itself (of graphs
loaded from bytes it still opens files in the working directory); here nothing is left to it: the
paths are read first, and a graph that names any is refused. The file is a protobuf; this walks
down to where tensors may stand and skips all else, so the weights inside cost nothing.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from app.errors import ArtifactError

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR = "model", "graph", "node", "attribute", "tensor"
_OPSET, _SPARSE, _FUNCTION, _TRAINING = "opset", "sparse", "function", "training"

# Message -> number of a field that leads to tensors or opsets -> its message (onnx.proto).
FIELDS: Mapping[str, Mapping[int, str]] = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 9: _OPSET, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
MOST_DEPTH = 64

_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION, _EXTERNAL = 8, 13, 14, 1
_DATA_TYPE, _RAW_DATA = 2, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
"""A name without a path, as the manifest lists files."""


@dataclass(frozen=True)
class Outline:
    """What an ONNX file says about itself.

    Attributes:
        opsets: Version of each operator set; the standard one is "ai.onnx".
        outside: Initializers of the main graph that are kept in another file, by name with the
            path of that file. Only these can be handed over from memory.
        hidden: Paths of files that tensors anywhere else (branches, constants, functions) are in.
    """

    opsets: dict[str, int] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)


def read_outline(graph: bytes) -> Outline:
    """Read an ONNX file's outline.

    Raises:
        ArtifactError: If it is no protobuf of that form.
    """
    outline = Outline()
    try:
        for path, content in _walk(memoryview(graph), (_MODEL,)):
            if path[-1] == _OPSET:
                found = dict(_fields(content))
                outline.opsets[_text(found.get(1, b"")) or "ai.onnx"] = int(found.get(2, 0))
            elif (tensor := _outside(content)) is None:
                continue
            elif path == (_MODEL, _GRAPH, _TENSOR):
                outline.outside[tensor[0]] = tensor[1]
            else:
                outline.hidden.add(tensor[1])
    except (ValueError, IndexError, TypeError) as error:
        raise _malformed(error) from error
    return outline


def read_inside(graph: bytes) -> dict[str, tuple[int, list[int], memoryview]]:
    """Find the initializers that stand in an ONNX file itself as raw bytes.

    Returns:
        By name the type's number in onnx.proto, the shape, and a view of the content.

    Raises:
        ArtifactError: If it is no protobuf of that form.
    """
    found: dict[str, tuple[int, list[int], memoryview]] = {}
    try:
        for path, content in _walk(memoryview(graph), (_MODEL,)):
            if path != (_MODEL, _GRAPH, _TENSOR):
                continue
            parts = list(_fields(content))
            single = dict(parts)
            raw, kind = single.get(_RAW_DATA), single.get(_DATA_TYPE)
            if isinstance(raw, memoryview) and isinstance(kind, int):
                shape = [size for number, value in parts if number == 1 for size in _sizes(value)]
                found[_text(single.get(_TENSOR_NAME, b""))] = (kind, shape, raw)
    except (ValueError, IndexError, TypeError) as error:
        raise _malformed(error) from error
    return found


def _malformed(error: Exception) -> ArtifactError:
    return ArtifactError(
        f"got bytes that are no ONNX graph ({error}); ONNX Runtime cannot load them; expected "
        "a graph. Export the artifact again."
    )


def _sizes(value: memoryview | int) -> Iterator[int]:
    """Give the numbers of a field that is a number, or several packed into bytes."""
    if isinstance(value, int):
        yield value
        return
    place = 0
    while place < len(value):
        size, place = _varint(value, place)
        yield size


def require_no_paths(outline: Outline) -> None:
    """Refuse a graph that names files by path, or in places where none can be handed over.

    Raises:
        ArtifactError: If it does.
    """
    paths = outline.hidden | {one for one in outline.outside.values() if not _PLAIN.fullmatch(one)}
    if paths:
        raise ArtifactError(
            f"got a graph that ONNX Runtime would make read {min(paths)!r:.80} (one of "
            f"{len(paths)} such paths); expected its weights in itself or in the manifest's file "
            "of weights, for no other is checked. Do not use this artifact: fetch it anew, or "
            "export it again."
        )


def _outside(tensor: memoryview) -> tuple[str, str] | None:
    """Give a tensor's name and the path of the file that it is in, or None if it is in none."""
    name = location = ""
    is_outside = False
    for number, value in _fields(tensor):
        if number == _TENSOR_NAME:
            name = _text(value)
        elif number == _DATA_LOCATION:
            is_outside |= value == _EXTERNAL
        elif number == _EXTERNAL_DATA and not isinstance(value, int):
            is_outside = True
            entry = dict(_fields(value))
            if _text(entry.get(1, b"")) == "location":
                location = _text(entry.get(2, b""))
    return (name, location) if is_outside else None


def _walk(
    content: memoryview, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], memoryview]]:
    """Give every tensor and opset, however deep it stands, with the kinds of messages above it."""
    if len(path) > MOST_DEPTH:
        raise ValueError(f"messages more than {MOST_DEPTH} deep")
    inner = FIELDS[path[-1]]
    for number, value in _fields(content):
        if number not in inner or isinstance(value, int):
            continue
        below = (*path, inner[number])
        if inner[number] in (_TENSOR, _OPSET):
            yield below, value
        else:
            yield from _walk(value, below)


def _fields(content: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Split a message into its fields: numbers as integers, all else as bytes."""
    place = 0
    while place < len(content):
        key, place = _varint(content, place)
        wire = key & 7
        if wire == _VARINT:
            value, place = _varint(content, place)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            size, place = _varint(content, place)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if size > len(content) - place:
            raise ValueError("a field that ends after the file")
        yield key >> 3, content[place : place + size]
        place += size


def _varint(content: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than ten bytes")


def _text(value: memoryview | bytes | int) -> str:
    if isinstance(value, int):
        raise TypeError("a number where a name belongs")
    return bytes(value).decode()
