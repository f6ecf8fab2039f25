"""Graphs of gradients against torch's autograd: by family, by activation, by operator."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from app.errors import ArtifactError
from export.gradient import gradient_of
from export.graph import static_graphs, static_int8_graphs
from export.parts import EMBEDDINGS, GraphSet
from export.precision import quantize_rows
from export.running import run_graph
from export.tracing import transformer_graphs
from training.backbones import read_backbone
from training.checkpoint import DenseLayer, EncoderConfig
from training.dense import ACTIVATIONS
from training.model import Encoder, TransformerEncoder

from .conftest import DIM, make_encoder
from .families import FAMILIES as OTHERS
from .families import write_family

SHAPES = ((1, 1), (2, 5), (7, 13))
VOCAB = 60
FAMILIES = ("bert", "distilbert", "mpnet", "xlm-roberta", "xlm")
OUTPUTS = ("sentence_embedding", "token_gradients")


def batch_of(batch: int, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids and a ragged mask, the first row full."""
    rng = np.random.default_rng(batch * longest)
    lengths = rng.integers(1, longest + 1, size=batch)
    lengths[0] = longest
    ids = rng.integers(3, VOCAB - 10, size=(batch, longest))
    return ids, (np.arange(longest) < lengths[:, None]).astype(np.int64)


def require_gradient(encoder: Encoder, graphs: GraphSet, shape: tuple[int, int]) -> None:
    ids, mask = batch_of(*shape)
    leaf = encoder.token_embeddings(torch.tensor(ids)).detach().requires_grad_(True)
    vectors = encoder.pool_from_embeddings(leaf, torch.tensor(mask))  # (batch, dim)
    cotangent = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    (expected,) = torch.autograd.grad((vectors * torch.tensor(cotangent)).sum(), leaf)
    feed = {EMBEDDINGS: leaf.detach().numpy(), "attention_mask": mask, "cotangent": cotangent}
    assert graphs.gradient is not None, graphs.refusal

    got = run_graph(graphs.gradient, graphs.tensors, feed, OUTPUTS)

    np.testing.assert_allclose(got[OUTPUTS[0]], vectors.detach().numpy(), atol=2e-6)
    error = np.linalg.norm(got[OUTPUTS[1]] - expected.numpy())
    assert error < 1e-5 * np.linalg.norm(expected)
    assert not got[OUTPUTS[1]][mask == 0].any()


def encoder_on(folder: Path, pooling: str) -> TransformerEncoder:
    """An encoder of a folder's body."""
    backbone = read_backbone(folder, causal=pooling == "last")
    table = backbone.get_input_embeddings().weight
    config = EncoderConfig(
        kind="transformer",
        dim=backbone.config.hidden_size,
        vocab_size=table.shape[0],
        max_tokens=24,
        pad_id=0,
        pooling=pooling,  # type: ignore[arg-type]
        backbone=backbone.config.to_diff_dict(),
    )
    return TransformerEncoder(config, backbone).eval()


@pytest.fixture(scope="module")
def family(pretrained: Callable[[str], Path]) -> Callable[[str, str], tuple[Encoder, GraphSet]]:
    """Gives an encoder of a family and its graphs."""
    made: dict[tuple[str, str], tuple[Encoder, GraphSet]] = {}

    def encoder(kind: str, pooling: str) -> tuple[Encoder, GraphSet]:
        if (kind, pooling) not in made:
            found = encoder_on(pretrained(kind), pooling)
            made[kind, pooling] = (found, transformer_graphs(found))
        return made[kind, pooling]

    return encoder


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("kind", "pooling"), [*((kind, "mean") for kind in FAMILIES), ("bert", "cls"), ("xlm", "last")]
)
def test_gradient_equals_autograd_for_every_family(
    kind: str,
    pooling: str,
    shape: tuple[int, int],
    family: Callable[[str, str], tuple[Encoder, GraphSet]],
) -> None:
    require_gradient(*family(kind, pooling), shape)


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_gradient_equals_autograd_for_other_architectures(
    name: str, pretrained: Callable[[str], Path], tmp_path: Path
) -> None:
    pooling = "last" if name in ("qwen3", "llama") else "mean"
    encoder = encoder_on(write_family(tmp_path / "model", name, pretrained), pooling)
    graphs = transformer_graphs(encoder)

    for shape in SHAPES:
        require_gradient(encoder, graphs, shape)


@pytest.mark.parametrize("kind", FAMILIES)
def test_graph_from_ids_equals_lookup_then_encode(
    kind: str, family: Callable[[str, str], tuple[Encoder, GraphSet]]
) -> None:
    _, graphs = family(kind, "mean")
    assert graphs.lookup is not None
    assert graphs.encode is not None
    ids, mask = batch_of(7, 13)

    whole = run_graph(
        graphs.graph, graphs.tensors, {"input_ids": ids, "attention_mask": mask}, OUTPUTS[:1]
    )
    rows = run_graph(graphs.lookup, graphs.tensors, {"input_ids": ids}, [EMBEDDINGS])
    feed = {**rows, "attention_mask": mask}
    vectors = run_graph(graphs.encode, graphs.tensors, feed, OUTPUTS[:1])

    np.testing.assert_array_equal(whole[OUTPUTS[0]], vectors[OUTPUTS[0]])


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("residual", [False, True])
def test_gradient_through_a_dense_layer_equals_autograd(activation: str, residual: bool) -> None:
    layers = (
        DenseLayer(inputs=DIM, outputs=24, activation=activation, residual=residual),
        DenseLayer(inputs=24, outputs=24, bias=False, activation=activation, residual=residual),
    )
    encoder = make_encoder("bert", VOCAB, dense=[one.model_dump() for one in layers], dim=24)

    require_gradient(encoder, transformer_graphs(encoder), (3, 5))


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu", "quick_gelu"])
def test_gradient_through_an_activation_equals_autograd(activation: str) -> None:
    encoder = make_encoder("bert", VOCAB)
    for layer in encoder.backbone.encoder.layer:  # type: ignore[attr-defined]
        from transformers.activations import ACT2FN

        layer.intermediate.intermediate_act_fn = ACT2FN[activation]

    require_gradient(encoder, transformer_graphs(encoder), (3, 5))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_gradient_of_a_static_encoder_equals_autograd(
    precision: str, shape: tuple[int, int]
) -> None:
    encoder = make_encoder("static", VOCAB)
    table = encoder.state_dict()["embeddings.weight"].numpy()
    graphs = (
        static_graphs(table) if precision == "fp32" else static_int8_graphs(*quantize_rows(table))
    )

    require_gradient(encoder, graphs, shape)


def test_gradient_of_a_text_that_cancels_out_is_finite() -> None:
    graphs = static_graphs(np.ones((2, 4), np.float32))
    embeddings = np.array([[[1, 2, 3, 4], [-1, -2, -3, -4]]], np.float32)
    feed = {
        EMBEDDINGS: embeddings,
        "attention_mask": np.ones((1, 2), np.int64),
        "cotangent": np.ones((1, 4), np.float32),
    }
    assert graphs.gradient is not None

    found = run_graph(graphs.gradient, {}, feed, OUTPUTS)

    assert not found[OUTPUTS[1]].any()


def chain(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A graph from token embeddings of length 4 through some nodes to "states", summed."""
    make = helper.make_tensor_value_info
    one = onnx.numpy_helper.from_array(np.array([1], np.int64), "one")
    graph = helper.make_graph(
        [*nodes, helper.make_node("ReduceSum", ["states", "one"], [OUTPUTS[0]], keepdims=0)],
        "chain",
        [
            make(EMBEDDINGS, TensorProto.FLOAT, ["batch", "seq", 4]),
            make("attention_mask", TensorProto.INT64, ["batch", "seq"]),
        ],
        [make(OUTPUTS[0], TensorProto.FLOAT, ["batch", 4])],
        [one],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [("Tanh", 1), ("Erf", 1), ("Sqrt", 1), ("Neg", 1), ("Mul", 2), ("Div", 2), ("Concat", 2)],
)
def test_gradient_equals_central_differences(kind: str, inputs: int) -> None:
    node = helper.make_node(kind, [EMBEDDINGS] * inputs, ["states"])
    if kind == "Concat":
        node.attribute.append(helper.make_attribute("axis", 1))
    model = chain(node)
    rng = np.random.default_rng(1)
    feed = {
        EMBEDDINGS: rng.uniform(0.5, 1.5, (2, 3, 4)).astype(np.float32),
        "attention_mask": np.ones((2, 3), np.int64),
    }
    cotangent = rng.standard_normal((2, 4)).astype(np.float32)
    direction = rng.standard_normal((2, 3, 4)).astype(np.float32)

    gradient = run_graph(gradient_of(model, {}), {}, {**feed, "cotangent": cotangent}, OUTPUTS)

    ends = [
        run_graph(model, {}, {**feed, EMBEDDINGS: feed[EMBEDDINGS] + step * direction}, OUTPUTS[:1])
        for step in (1e-2, -1e-2)
    ]
    slope = ((ends[0][OUTPUTS[0]] - ends[1][OUTPUTS[0]]) * cotangent).sum() / 2e-2
    assert (gradient[OUTPUTS[1]] * direction).sum() == pytest.approx(slope, rel=2e-3, abs=2e-3)


def test_gradient_of_a_slice_backwards_and_of_one_part_of_a_split_is_exact() -> None:
    """The states are the first embedding's numbers 3 and 1, and both once more from a split."""
    constants = {"starts": [3], "ends": [-9], "axes": [-1], "steps": [-2], "halves": [2, 2]}
    model = chain(
        helper.make_node("Slice", [EMBEDDINGS, "starts", "ends", "axes", "steps"], ["odd"]),
        helper.make_node("Split", [EMBEDDINGS, "halves"], ["left", "right"], axis=2),
        helper.make_node("Concat", ["odd", "right"], ["states"], axis=2),
    )
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value, np.int64), name)
        for name, value in constants.items()
    )
    feed = {
        EMBEDDINGS: np.ones((2, 3, 4), np.float32),
        "attention_mask": np.ones((2, 3), np.int64),
        "cotangent": np.array([[1, 10, 100, 1000]] * 2, np.float32),
    }

    found = run_graph(gradient_of(model, {}), {}, feed, OUTPUTS)[OUTPUTS[1]]

    np.testing.assert_array_equal(found, np.broadcast_to([0.0, 10, 100, 1001], (2, 3, 4)))


def test_gradient_operator_without_a_rule_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"operator Sin .*--no-white-box"):
        gradient_of(chain(helper.make_node("Sin", [EMBEDDINGS], ["states"])), {})


def test_gradient_of_what_no_embedding_leads_to_is_refused() -> None:
    model = chain(
        helper.make_node("Shape", [EMBEDDINGS], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["states"]),
    )
    with pytest.raises(ArtifactError, match="no token embedding leads to"):
        gradient_of(model, {})
