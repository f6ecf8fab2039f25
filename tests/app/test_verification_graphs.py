"""Graphs whose hashes are right and that are wrong all the same."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.cli import main

from .tampering import before_output, constant, edit, refusal


@pytest.fixture
def copy(tiny_artifact: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_artifact, tmp_path / "copy"))


@pytest.fixture
def refused(copy: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    return partial(refusal, copy, capsys)


FP32 = "model.fp32.onnx"


def other_weights(model: onnx.ModelProto) -> None:
    table = next(one for one in model.graph.initializer if one.name == "table")
    changed = np.roll(numpy_helper.to_array(table), 1, axis=0)
    table.CopyFrom(numpy_helper.from_array(changed, "table"))


def twice_as_long(model: onnx.ModelProto) -> None:
    two = constant(model, "two", 2.0)
    before_output(model, helper.make_node("Mul", ["plain", two], ["sentence_embedding"]))


def broken_at_a_length(model: onnx.ModelProto) -> None:
    """Divide by zero, and multiply with it, where the longest text has 37 tokens."""
    for name, value in (("last", 1), ("wrong", 37)):
        constant(model, name, value)
    before_output(
        model,
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["length"]),
        helper.make_node("Equal", ["length", "wrong"], ["is_wrong"]),
        helper.make_node("Not", ["is_wrong"], ["is_right"]),
        helper.make_node("Cast", ["is_right"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["plain", "factor"], ["endless"]),
        helper.make_node("Mul", ["endless", "factor"], ["sentence_embedding"]),
    )


def leaking(model: onnx.ModelProto) -> None:
    """Turn a vector a little for each place of its batch, so that padding decides it too."""
    constant(model, "last", 1)
    constant(model, "little", 1e-5)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "rows"))
    before_output(
        model,
        helper.make_node("Shape", ["input_ids"], ["shape"]),
        helper.make_node("Gather", ["shape", "last"], ["length"]),
        helper.make_node("Cast", ["length"], ["places"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["places", "little"], ["shift"]),
        helper.make_node("Add", ["plain", "shift"], ["shifted"]),
        helper.make_node("ReduceL2", ["shifted", "rows"], ["size"]),
        helper.make_node("Div", ["shifted", "size"], ["sentence_embedding"]),
    )


def other_input(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        node.input[:] = ["ids" if name == "input_ids" else name for name in node.input]
    model.graph.input[0].name = "ids"


def outside(path: str) -> Callable[[onnx.ModelProto], None]:
    def point(model: onnx.ModelProto) -> None:
        table = next(one for one in model.graph.initializer if one.name == "table")
        table.ClearField("raw_data")
        table.data_location = TensorProto.EXTERNAL
        table.external_data.add(key="location", value=path)

    return point


SABOTAGE = {
    "weights": (other_weights, "golden.json: got a vector with cosine"),
    "length": (twice_as_long, "misses length 1 by 1.0e+00"),
    "a length": (broken_at_a_length, "of 37 tokens"),
    "padding": (leaking, "vectors that depend on what they are run with"),
    "contract": (other_input, "got a graph with inputs"),
    "another file": (outside("../secret"), "is in '../secret'; expected it in"),
    "a file beside": (outside("tokenizer.json"), "is in 'tokenizer.json'"),
}


@pytest.mark.parametrize("kind", SABOTAGE)
def test_verify_graph_that_is_hashed_but_wrong_is_named(
    kind: str, copy: Path, refused: Callable[..., str]
) -> None:
    change, expected = SABOTAGE[kind]
    edit(copy, FP32, change)

    said = refused(inspected=True)

    assert expected in said
    assert str(copy / FP32) in said
    assert main(["artifact", "verify", str(copy), "--precision", "int8"]) == 0
