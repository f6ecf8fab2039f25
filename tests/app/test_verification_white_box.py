"""The command ``tyntegra artifact verify`` on an artifact with a white box, sound and not."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from safetensors.numpy import load, save
from tokenizers import Tokenizer

from app.artifact import load_manifest
from app.cli import main
from app.verification import verify_artifact
from export.bundle import Contents, staged, write_artifact
from export.graph import static_graphs, static_int8_graphs
from export.precision import quantize_rows

from .tampering import before_output, constant, edit, sign_again

LOOKUP, ENCODE, GRADIENT = "lookup.fp32.onnx", "encode.fp32.onnx", "gradient.fp32.onnx"
WEIGHTS = "model.fp32.safetensors"
GRADIENTS, VECTORS = "token_gradients", "sentence_embedding"


@pytest.fixture(scope="module")
def boxed(
    tiny_tokenizer: Tokenizer, tiny_table: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A static artifact with a white box for each precision; not to be changed."""
    contents = Contents(
        name="boxed",
        dim=tiny_table.shape[1],
        vocab_size=len(tiny_table),
        max_tokens=64,
        pad_id=0,
        pooling="mean",
        tokenizer=tiny_tokenizer.to_str().encode(),
        graphs={
            "fp32": static_graphs(tiny_table),
            "int8": static_int8_graphs(*quantize_rows(tiny_table)),
        },
        licence="CC0-1.0",
    )
    out = tmp_path_factory.mktemp("boxed") / "boxed"
    with staged(out) as folder:
        write_artifact(folder, dataclasses.replace(contents, matryoshka=(8,)))
    return out


@pytest.fixture
def copy(boxed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(boxed, tmp_path / "copy"))


def test_verify_white_box_is_run_for_each_precision(boxed: Path) -> None:
    checks = verify_artifact(boxed)

    for name in ("white box gives the vectors served", "gradient as measured"):
        assert [check.subject for check in checks if check.name == name] == ["fp32", "int8"]


def test_inspect_white_box_and_cuts_are_said(
    boxed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["artifact", "inspect", str(boxed)]) == 0

    said = capsys.readouterr().out
    for part in ("may be cut to 8", "with a white box", GRADIENT, WEIGHTS):
        assert part in said


def negated(output: str) -> Callable[[onnx.ModelProto], None]:
    return lambda model: before_output(
        model, helper.make_node("Neg", ["plain"], [output]), output=output
    )


def a_tenth_more(model: onnx.ModelProto) -> None:
    factor = constant(model, "more", 1.1)
    before_output(model, helper.make_node("Mul", ["plain", factor], [GRADIENTS]), output=GRADIENTS)


def at_padding(model: onnx.ModelProto) -> None:
    tiny = constant(model, "tiny", 1e-12)
    before_output(model, helper.make_node("Add", ["plain", tiny], [GRADIENTS]), output=GRADIENTS)


def nowhere(model: onnx.ModelProto) -> None:
    nothing = constant(model, "nothing", 0.0)
    before_output(model, helper.make_node("Mul", ["plain", nothing], [GRADIENTS]), output=GRADIENTS)


def renamed(model: onnx.ModelProto) -> None:
    before_output(model, helper.make_node("Neg", ["plain"], ["other"]), output=GRADIENTS)
    next(one for one in model.graph.output if one.name == GRADIENTS).name = "other"


def located(path: str) -> Callable[[onnx.ModelProto], None]:
    def move(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                next(one for one in tensor.external_data if one.key == "location").value = path

    return move


SABOTAGE = {
    "lookup": (LOOKUP, negated("token_embeddings"), ENCODE, "other vectors by lookup and encode"),
    "encode": (ENCODE, negated(VECTORS), ENCODE, "other vectors by lookup and encode"),
    "vectors": (GRADIENT, negated(VECTORS), GRADIENT, "other vectors by the gradient's graph"),
    "sign": (GRADIENT, negated(GRADIENTS), GRADIENT, "by 200.0% of its length"),
    "size": (GRADIENT, a_tenth_more, GRADIENT, "of its length"),
    "padding": (GRADIENT, at_padding, GRADIENT, "got a gradient at padding"),
    "none": (GRADIENT, nowhere, GRADIENT, "by nan% of its length"),
    "contract": (GRADIENT, renamed, LOOKUP, "got a gradient graph with inputs"),
    "path": (LOOKUP, located("../model.fp32.safetensors"), LOOKUP, "is in '../model.fp32"),
    "other file": (LOOKUP, located("tokenizer.json"), LOOKUP, "is in 'tokenizer.json'"),
}


@pytest.mark.parametrize("kind", SABOTAGE)
def test_verify_wrong_white_box_is_named(
    kind: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, change, blamed, expected = SABOTAGE[kind]
    edit(copy, name, change)

    assert main(["artifact", "verify", str(copy)]) == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"tyntegra: {copy / blamed}: ")
    assert expected in said.err
    assert said.err.count("\n") == 1
    assert main(["artifact", "verify", str(copy), "--precision", "int8"]) == 0


@pytest.mark.parametrize("kind", ["other", "cut", "empty"])
def test_verify_wrong_weights_are_named(
    kind: str, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (copy / WEIGHTS).read_bytes()
    rolled = {name: np.roll(value, 1, axis=0) for name, value in load(content).items()}
    made = {"other": save(rolled), "cut": content[:-8], "empty": b""}
    (copy / WEIGHTS).write_bytes(made[kind])
    sign_again(copy)

    assert main(["artifact", "verify", str(copy)]) == 1

    said = capsys.readouterr().err
    expected = "golden.json: got a vector" if kind == "other" else "no safetensors file"
    assert expected in said
    assert str(copy / "model.fp32.onnx") in said
    assert load_manifest(copy).model_id.startswith("boxed@")
