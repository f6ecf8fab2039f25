"""Graphs that are wrong in one way each: the export must name it and leave nothing behind."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.artifact import Precision
from export import release
from export.parts import GraphSet, copy_of
from export.tracing import transformer_graphs

from .conftest import make_encoder
from .test_release import export

VECTORS, EMBEDDINGS, GRADIENTS = "sentence_embedding", "token_embeddings", "token_gradients"
Change = Callable[[GraphSet], GraphSet]


def with_nodes(role: str, output: str, *steps: tuple[str, list[str], str]) -> Change:
    """Put nodes between what was an output, now called "plain", and the output."""

    def change(graphs: GraphSet) -> GraphSet:
        model = copy_of(getattr(graphs, role))
        for node in model.graph.node:
            for names in (node.output, node.input):
                names[:] = ["plain" if name == output else name for name in names]
        constants = {
            "our.last": 1,
            "our.wrong": 16,
            "our.tiny": 1e-12,
            "our.little": 1e-3,
            "our.sixth": 1 / 6,
        }
        for name, value in constants.items():
            kind = np.int64 if isinstance(value, int) else np.float32
            model.graph.initializer.append(numpy_helper.from_array(np.array(value, kind), name))
        for kind, inputs, name in steps:
            node = helper.make_node(kind, inputs, [name])
            if kind == "Cast":
                node.attribute.append(helper.make_attribute("to", TensorProto.FLOAT))
            model.graph.node.append(node)
        return dataclasses.replace(graphs, **{role: model})

    return change


def other_weights(graphs: GraphSet) -> GraphSet:
    """Give every token the embedding of another."""
    largest = max(graphs.tensors, key=lambda name: graphs.tensors[name].size)
    rolled = np.roll(graphs.tensors[largest], 1, axis=0)
    return dataclasses.replace(graphs, tensors={**graphs.tensors, largest: rolled})


def other_pooling(graphs: GraphSet) -> GraphSet:
    """The same weights, but the first token's state for a vector."""
    vocab_size = max(value.shape[0] for value in graphs.tensors.values())
    return transformer_graphs(make_encoder("bert", vocab_size, pooling="cls"))


def swapped(role: str, old: str, new: str) -> Change:
    """Read one tensor where another was read."""

    def change(graphs: GraphSet) -> GraphSet:
        model = copy_of(getattr(graphs, role))
        for node in model.graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
        return dataclasses.replace(graphs, **{role: model})

    return change


def unmasked(role: str) -> Change:
    """Take every place for a token: the mask is compared with itself."""

    def change(graphs: GraphSet) -> GraphSet:
        model = copy_of(getattr(graphs, role))
        for node in model.graph.node:
            node.input[:] = ["ones" if name == "attention_mask" else name for name in node.input]
        first = [
            helper.make_node("Equal", ["attention_mask", "attention_mask"], ["same"]),
            helper.make_node("Cast", ["same"], ["ones"], to=TensorProto.INT64),
        ]
        nodes = [*first, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        return dataclasses.replace(graphs, **{role: model})

    return change


def broken_at_16(role: str, output: str, source: str) -> Change:
    """Make it infinity times zero where the longest text has 16 tokens."""
    return with_nodes(
        role,
        output,
        ("Shape", [source], "shape"),
        ("Gather", ["shape", "our.last"], "length"),
        ("Equal", ["length", "our.wrong"], "is_wrong"),
        ("Not", ["is_wrong"], "is_right"),
        ("Cast", ["is_right"], "factor"),
        ("Div", ["plain", "factor"], "endless"),
        ("Mul", ["endless", "factor"], output),
    )


SABOTAGE: dict[str, tuple[str, Precision, Change, str]] = {
    "weights": ("bert", "fp32", other_weights, "fp32 against torch is off"),
    "pooling": ("bert", "fp32", other_pooling, "fp32 against torch is off"),
    "padding": ("bert", "fp32", unmasked("graph"), "fp32 alone against in a batch is off"),
    "padding, static": (
        "static",
        "int8",
        unmasked("graph"),
        "int8 alone against in a batch is off",
    ),
    "long texts": (
        "static",
        "fp32",
        broken_at_16("graph", VECTORS, "input_ids"),
        "against torch is off by nan",
    ),
    "sign": (
        "static",
        "int8",
        with_nodes("graph", VECTORS, ("Neg", ["plain"], VECTORS)),
        "int8 against torch is off by 2",
    ),
    "length": (
        "static",
        "fp32",
        with_nodes(
            "graph",
            VECTORS,
            ("Add", ["plain", "our.sixth"], "x"),
            ("Sub", ["x", "our.little"], "y"),
            ("Sub", ["y", "our.sixth"], VECTORS),
        ),
        "fp32 vector length is off",
    ),
    "lookup": (
        "bert",
        "fp32",
        with_nodes("lookup", EMBEDDINGS, ("Neg", ["plain"], EMBEDDINGS)),
        "fp32 lookup graph against torch is off",
    ),
    "lookup, static": (
        "static",
        "int8",
        with_nodes("lookup", EMBEDDINGS, ("Mul", ["plain", "our.sixth"], EMBEDDINGS)),
        "int8 lookup graph against torch is off",
    ),
    "encode": (
        "bert",
        "fp32",
        with_nodes("encode", VECTORS, ("Neg", ["plain"], VECTORS)),
        "fp32 encode graph against torch is off",
    ),
    "encode's padding": ("bert", "fp32", unmasked("encode"), "fp32 encode graph against torch"),
    "encode at a length": (
        "static",
        "int8",
        broken_at_16("encode", VECTORS, EMBEDDINGS),
        "int8 encode graph against torch is off by nan",
    ),
    "gradient's sign": (
        "bert",
        "fp32",
        with_nodes("gradient", GRADIENTS, ("Neg", ["plain"], GRADIENTS)),
        "fp32 gradient graph against torch's autograd is off by 2",
    ),
    "gradient's size": (
        "static",
        "int8",
        with_nodes("gradient", GRADIENTS, ("Mul", ["plain", "our.sixth"], GRADIENTS)),
        "int8 gradient graph against torch's autograd is off",
    ),
    "gradient's vectors": (
        "static",
        "fp32",
        with_nodes("gradient", VECTORS, ("Neg", ["plain"], VECTORS)),
        "fp32 encode graph against torch is off",
    ),
    "gradient of padding": (
        "bert",
        "fp32",
        with_nodes("gradient", GRADIENTS, ("Add", ["plain", "our.tiny"], GRADIENTS)),
        "fp32 gradient of padding is off by 1.00e-12",
    ),
    "gradient at a length": (
        "bert",
        "fp32",
        broken_at_16("gradient", GRADIENTS, EMBEDDINGS),
        "fp32 gradient graph against torch's autograd is off by nan",
    ),
}


@pytest.mark.parametrize("kind", SABOTAGE)
def test_export_of_a_wrong_graph_names_it_and_leaves_nothing(
    kind: str,
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, precision, change, expected = SABOTAGE[kind]
    sound = release._graphs

    def wrong(*arguments: object) -> dict[Precision, GraphSet]:
        graphs = sound(*arguments)  # type: ignore[arg-type] - passed on as they come
        return {**graphs, precision: change(graphs[precision])}

    monkeypatch.setattr(release, "_graphs", wrong)

    assert export(checkpoints(source), tmp_path / "a", texts_file) == 1

    said = capsys.readouterr().err
    assert expected in said
    assert said.startswith("export: verification failed: ")
    assert os.listdir(tmp_path) == []


def test_export_unchanged_graphs_pass(
    checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    # What the sabotage is done to is sound: it is the sabotage that is found.
    for kind in ("static", "bert"):
        assert export(checkpoints(kind), tmp_path / kind, texts_file) == 0
