"""What an ONNX file names: read with our own walk, compared with the onnx package's schema."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.encoder.outline import FIELDS, read_outline, require_own_weights
from app.errors import ArtifactError

MESSAGES = {
    "model": onnx.ModelProto,
    "graph": onnx.GraphProto,
    "node": onnx.NodeProto,
    "attribute": onnx.AttributeProto,
    "tensor": onnx.TensorProto,
    "entry": onnx.StringStringEntryProto,
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
    kind_of = {message.DESCRIPTOR.full_name: kind for kind, message in MESSAGES.items()}
    left_out = {
        ("graph", "metadata_props"),
        ("node", "metadata_props"),
        ("model", "metadata_props"),
    }
    left_out |= {("tensor", "metadata_props"), ("function", "metadata_props")}
    left_out |= {("graph", "quantization_annotation")}  # names of tensors, no tensors
    left_out |= {("training", "initialization_binding"), ("training", "update_binding")}
    for kind in FIELDS:
        for field in MESSAGES[kind].DESCRIPTOR.fields:
            message = field.message_type
            if message and message.full_name in kind_of and (kind, field.name) not in left_out:
                assert field.number in FIELDS[kind], f"{kind}.{field.name}"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "weights.bin/../x", "\x00"])
def test_require_own_weights_finds_a_path_wherever_it_stands(
    place: Callable[[str], onnx.ModelProto], path: str
) -> None:
    graph = place(path).SerializeToString()

    assert read_outline(graph).locations == {path}
    for weights in (None, "weights.bin"):
        with pytest.raises(ArtifactError, match="expected them in"):
            require_own_weights(graph, weights)
    require_own_weights(place("weights.bin").SerializeToString(), "weights.bin")


def test_read_outline_reads_opsets_and_skips_weights_inside() -> None:
    model = model_of(
        [helper.make_node("Identity", ["w"], ["y"])],
        [numpy_helper.from_array(np.arange(50_000, dtype=np.float32), "w")],
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))

    outline = read_outline(model.SerializeToString())

    assert outline.opsets == {"ai.onnx": 20, "com.microsoft": 1}
    assert outline.locations == frozenset()


def test_read_outline_agrees_with_onnx_on_the_default_graph() -> None:
    path = Path(__file__).parents[2] / "app/default/encoder/model.int8.onnx"
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
    with pytest.raises(ArtifactError, match="no ONNX file"):
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
