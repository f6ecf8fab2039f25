"""Artifacts changed by an author with intent: graphs and files exchanged, and signed anew."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from app.artifact import MANIFEST, Graph, Manifest, model_id
from app.checked import describe_file
from app.cli import main


def sign_again(folder: Path) -> None:
    """Write a manifest that fits the files as they are now, as an author with intent would."""
    content = load_content(folder)
    files = [describe_file(folder / file["path"]) for file in content["files"]]
    precisions: Any = {name: Graph(**one) for name, one in content["precisions"].items()}
    content["files"] = [file.model_dump() for file in files]
    content["model_id"] = model_id(content["name"], files, precisions)
    content["digest"] = ""
    (folder / MANIFEST).unlink()
    Manifest.model_validate_json(json.dumps(content)).write(folder)


def load_content(folder: Path) -> dict[str, Any]:
    return json.loads((folder / MANIFEST).read_text())


def edit(folder: Path, name: str, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change a graph and sign the artifact anew."""
    model = onnx.load(folder / name, load_external_data=False)
    change(model)
    (folder / name).write_bytes(model.SerializeToString())
    sign_again(folder)


def before_output(
    model: onnx.ModelProto, *nodes: onnx.NodeProto, output: str = "sentence_embedding"
) -> None:
    """Put nodes between what was the output, now called "plain", and the output."""
    for node in model.graph.node:
        node.output[:] = ["plain" if name == output else name for name in node.output]
        node.input[:] = ["plain" if name == output else name for name in node.input]
    model.graph.node.extend(nodes)


def constant(model: onnx.ModelProto, name: str, value: float | int) -> str:
    kind = np.int64 if isinstance(value, int) else np.float32
    model.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=kind), name))
    return name


def refusal(
    folder: Path, capsys: pytest.CaptureFixture[str], *options: str, inspected: bool = False
) -> str:
    """Give the one line that ``artifact verify`` says of a folder that it refuses.

    ``artifact inspect`` has to refuse it too, unless ``inspected``.
    """
    capsys.readouterr()
    assert main(["artifact", "inspect", str(folder)]) == (0 if inspected else 1)
    capsys.readouterr()
    assert main(["artifact", "verify", str(folder), *options]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("tyntegra: ")
    assert said.err.count("\n") == 1
    return said.err
