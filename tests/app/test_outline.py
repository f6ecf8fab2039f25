"""What an ONNX file names: read with our own walk, compared with the onnx package's schema."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.encoder.outline import FIELDS, read_outline, require_no_paths
from app.encoder.session import open_graph
from app.errors import ArtifactError

MESSAGES = {
    "model": onnx.ModelProto,
    "graph": onnx.GraphProto,
    "node": onnx.NodeProto,
    "attribute": onnx.AttributeProto,
    "tensor": onnx.TensorProto,
    "opset": onnx.OperatorSetIdProto,
    "sparse": onnx.SparseTensorProto,
    "function": onnx.FunctionProto,
    "training": onnx.TrainingInfoProto,
}


def outside(path: str, name: str = "w") -> TensorProto:
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL
    )
    for key, value in (("location", path), ("offset", "0"), ("length", "8")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def model_of(nodes: list[onnx.NodeProto], tensors: list[TensorProto]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])], tensors
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def initializer(path: str) -> onnx.ModelProto:
    return model_of([helper.make_node("Identity", ["w"], ["y"])], [outside(path)])


def constant(path: str) -> onnx.ModelProto:
    return model_of([helper.make_node("Constant", [], ["y"], value=outside(path))], [])


def branch(path: str) -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])],
        [outside(path)],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    return model_of([node], [numpy_helper.from_array(np.array(True), "c")])


def function(path: str) -> onnx.ModelProto:
    model = model_of([helper.make_node("F", [], ["y"], domain="own")], [])
    node = helper.make_node("Constant", [], ["z"], value=outside(path))
    opset = helper.make_opsetid("", 20)
    model.functions.append(helper.make_function("own", "F", [], ["z"], [node], [opset]))
    return model


def sparse(path: str) -> onnx.ModelProto:
    model = model_of([helper.make_node("Identity", ["w"], ["y"])], [])
    tensor = model.graph.sparse_initializer.add(dims=[2])
    tensor.values.CopyFrom(outside(path))
    return model


PLACES = [initializer, constant, branch, function, sparse]


def test_fields_are_those_of_onnx() -> None:
    kind_of = {message.DESCRIPTOR.full_name: kind for kind, message in MESSAGES.items()}
    for kind, fields in FIELDS.items():
        for number, inner in fields.items():
            field = MESSAGES[kind].DESCRIPTOR.fields_by_number[number]
            assert kind_of[field.message_type.full_name] == inner


def test_fields_lead_to_every_tensor_and_opset_that_onnx_knows() -> None:
    known = {message.DESCRIPTOR.full_name for message in MESSAGES.values()}
    for kind in FIELDS:
        for one in MESSAGES[kind].DESCRIPTOR.fields:
            if one.message_type and one.message_type.full_name in known:
                assert one.number in FIELDS[kind], f"{kind}.{one.name}"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "weights.bin/../x", "\x00"])
def test_require_no_paths_finds_a_path_wherever_it_stands(
    place: Callable[[str], onnx.ModelProto], path: str
) -> None:
    outline = read_outline(place(path).SerializeToString())

    assert {*outline.outside.values(), *outline.hidden} == {path}
    with pytest.raises(ArtifactError, match="would make read"):
        require_no_paths(outline)


def test_require_no_paths_only_initializers_may_be_elsewhere() -> None:
    for place in PLACES:
        outline = read_outline(place("weights.bin").SerializeToString())
        if place is initializer:
            assert outline.outside == {"w": "weights.bin"}
            require_no_paths(outline)
        else:
            with pytest.raises(ArtifactError, match="would make read"):
                require_no_paths(outline)


@pytest.mark.parametrize("place", PLACES[1:])
def test_open_graph_reads_no_file_of_the_working_directory(
    place: Callable[[str], onnx.ModelProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ArtifactError, match=r"would make read 'weights\.bin'"):
        open_graph(place("weights.bin").SerializeToString(), None, "cpu", 1)


def test_read_outline_external_tensor_without_a_path_is_outside() -> None:
    model = initializer("x")
    del model.graph.initializer[0].external_data[:]

    assert read_outline(model.SerializeToString()).outside == {"w": ""}


def test_read_outline_reads_opsets_and_skips_weights_inside() -> None:
    model = model_of(
        [helper.make_node("Identity", ["w"], ["y"])],
        [numpy_helper.from_array(np.arange(50_000, dtype=np.float32), "w")],
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    outline = read_outline(model.SerializeToString())

    assert outline.opsets == {"ai.onnx": 20, "com.microsoft": 1}
    assert not outline.outside
    assert not outline.hidden


def test_read_outline_agrees_with_onnx_on_the_default_graph() -> None:
    path = Path(__file__).parents[2] / "app/default/encoder/model.int4.onnx"
    model = onnx.load(path)

    outline = read_outline(path.read_bytes())

    assert outline.opsets == {one.domain or "ai.onnx": one.version for one in model.opset_import}


@pytest.mark.parametrize(
    "content",
    [
        b"not a graph at all",
        initializer("x").SerializeToString()[:-3],
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x3a\x05",
        b"\x0b",
    ],
)
def test_read_outline_of_something_else_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match="no ONNX graph"):
        read_outline(content)


def test_read_outline_endless_nesting_is_refused() -> None:
    content = b""
    for _ in range(200):  # graph in attribute in node in graph ...
        for number in (6, 5, 1):
            content = bytes([number << 3 | 2]) + _length(len(content)) + content
    content = b"\x3a" + _length(len(content)) + content

    with pytest.raises(ArtifactError, match="deep"):
        read_outline(content)


def _length(size: int) -> bytes:
    parts = []
    while size > 127:
        parts.append(size & 127 | 128)
        size >>= 7
    return bytes([*parts, size])
