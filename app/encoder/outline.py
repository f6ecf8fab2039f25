"""What an ONNX file says about itself, read without building it: opsets and other files it names.

A graph may keep tensors in other files and name them by path, so a file from outside could make
the runtime read whatever path it likes. ONNX Runtime refuses most of that by itself; here nothing
is left to it: the paths are read from the file first, and one that is not the weights' own is
refused. The file is a protobuf; this walks down to where tensors may stand and skips all else, so
the weights inside cost nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from app.errors import ArtifactError

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR = "model", "graph", "node", "attribute", "tensor"
_ENTRY, _OPSET, _SPARSE, _FUNCTION, _TRAINING = "entry", "opset", "sparse", "function", "training"

# Message -> number of a field that leads to tensors, opsets or paths -> its message (onnx.proto).
FIELDS: Mapping[str, Mapping[int, str]] = {
    _MODEL: {7: _GRAPH, 8: _OPSET, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {13: _ENTRY},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 9: _OPSET, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
MOST_DEPTH = 64

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Outline:
    """What an ONNX file says about itself.

    Attributes:
        opsets: Version of each operator set; the standard one is "ai.onnx".
        locations: Paths of other files that its tensors are kept in.
    """

    opsets: dict[str, int]
    locations: frozenset[str]


def read_outline(graph: bytes) -> Outline:
    """Read an ONNX file's outline.

    Raises:
        ArtifactError: If it is no protobuf of that form.
    """
    opsets: dict[str, int] = {}
    locations: set[str] = set()
    try:
        for kind, content in _walk(memoryview(graph), _MODEL, 0):
            if kind == _OPSET:
                found = dict(_fields(content))
                opsets[_text(found.get(1, b"")) or "ai.onnx"] = int(found.get(2, 0))
                continue
            found = dict(_fields(content))
            if _text(found.get(1, b"")) == "location":
                locations.add(_text(found.get(2, b"")))
    except (ValueError, IndexError, TypeError) as error:
        raise ArtifactError(
            f"got a graph that is no ONNX file ({error}); expected one that `python -m export` "
            "wrote. Export the artifact again."
        ) from error
    return Outline(opsets, frozenset(locations))


def require_own_weights(graph: bytes, weights: str | None) -> None:
    """Refuse a graph that names any file but its own weights.

    Args:
        graph: Content of the ONNX file.
        weights: Name of the file of weights that goes with it, or None.

    Raises:
        ArtifactError: If it names another path.
    """
    expected = {weights} if weights else set[str]()
    if foreign := sorted(read_outline(graph).locations - expected):
        raise ArtifactError(
            f"got a graph with tensors in {foreign[0]!r:.80} (one of {len(foreign)} such paths); "
            f"expected them in {weights or 'the graph itself'}, for no other file is checked. "
            "Do not use this artifact; export it again, or fetch it anew."
        )


def _walk(content: memoryview, kind: str, depth: int) -> Iterator[tuple[str, memoryview]]:
    """Give every opset and every entry of external data, however deep it stands."""
    if depth > MOST_DEPTH:
        raise ValueError(f"messages more than {MOST_DEPTH} deep")
    inner = FIELDS[kind]
    for number, value in _fields(content):
        if number not in inner or isinstance(value, int):
            continue
        if inner[number] in (_ENTRY, _OPSET):
            yield inner[number], value
        else:
            yield from _walk(value, inner[number], depth + 1)


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
