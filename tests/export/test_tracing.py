from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save

from app.artifact import Manifest, load_manifest
from app.encoder.session import INPUTS, OUTPUT, Session
from export.parts import EMBEDDINGS, OPSET, OUTSIDE_BYTES, GraphSet, Tensors, placed
from export.precision import quantize_transformer
from export.tracing import transformer_graphs
from training.model import Encoder

from .conftest import DIM, MAX_TOKENS, make_encoder

VOCAB = 300


@pytest.fixture(scope="module")
def manifest(tiny_artifact: Path) -> Manifest:
    """Any manifest with our dimension and padding."""
    return load_manifest(tiny_artifact).model_copy(update={"dim": DIM})


@pytest.fixture(
    scope="module", params=[("bert", "mean"), ("xlm-r", "mean"), ("bert", "cls")], ids=str
)
def encoder(request: pytest.FixtureRequest) -> Encoder:
    kind, pooling = request.param
    return make_encoder(kind, VOCAB, pooling=pooling)


@pytest.fixture(scope="module")
def graphs(encoder: Encoder) -> GraphSet:
    return transformer_graphs(encoder)


def open_session(graphs: GraphSet, manifest: Manifest) -> Session:
    weights = save({name: np.ascontiguousarray(value) for name, value in graphs.tensors.items()})
    graph = placed(graphs.graph, "weights", dict.fromkeys(graphs.tensors, (0, 0)))
    return Session(graph.SerializeToString(), manifest, weights=weights, device="cpu", threads=1)


def torch_run(encoder: Encoder, rows: list[list[int]]) -> np.ndarray:
    longest = max(map(len, rows))
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    with torch.inference_mode():
        return encoder(ids, (torch.arange(longest) < torch.tensor([[len(r)] for r in rows])).long())


def ragged(batch: int, longest: int) -> list[list[int]]:
    rng = np.random.default_rng(batch * longest)
    return [
        rng.integers(1, VOCAB, size=max(1, longest - n * longest // batch)).tolist()
        for n in range(batch)
    ]


@pytest.mark.parametrize("batch", [1, 2, 17])
@pytest.mark.parametrize("longest", [1, 5, MAX_TOKENS])
def test_transformer_graph_equals_torch_at_any_shape(
    encoder: Encoder, graphs: GraphSet, manifest: Manifest, batch: int, longest: int
) -> None:
    rows = ragged(batch, longest)

    np.testing.assert_allclose(
        open_session(graphs, manifest).run(rows), torch_run(encoder, rows), atol=1e-5
    )


def test_transformer_graph_int8_is_near_and_independent_of_batch_mates(
    encoder: Encoder, graphs: GraphSet, manifest: Manifest
) -> None:
    session = open_session(quantize_transformer(graphs), manifest)
    rows = ragged(9, MAX_TOKENS)

    together = session.run(rows)

    assert (np.asarray(torch_run(encoder, rows)) * together).sum(axis=1).min() > 0.999
    for row, vector in zip(rows, together, strict=True):
        np.testing.assert_allclose(session.run([row])[0], vector, rtol=0, atol=1e-5)


def test_transformer_graph_int8_holds_every_matrix_in_bytes(graphs: GraphSet) -> None:
    quantized = quantize_transformer(graphs)

    # What is left in floats are scales, and sums of columns: a few for each row or column.
    floats = sum(one.size for one in quantized.tensors.values() if one.dtype == np.float32)
    assert floats * 16 < sum(one.size for one in graphs.tensors.values())
    assert size_of(quantized.tensors) < 0.4 * size_of(graphs.tensors)
    assert set(quantized.models()) == {"graph"}


def size_of(tensors: Tensors) -> int:
    return sum(one.nbytes for one in tensors.values())


def test_transformer_graphs_traced_twice_are_the_same_files(
    encoder: Encoder, graphs: GraphSet
) -> None:
    again = transformer_graphs(encoder)

    assert again.tensors.keys() == graphs.tensors.keys()
    for role, model in graphs.models().items():
        assert again.models()[role].SerializeToString() == model.SerializeToString()


def test_transformer_graphs_share_their_weights_and_hold_none(
    encoder: Encoder, graphs: GraphSet
) -> None:
    models = graphs.models()

    outside = {
        role: {one.name for one in model.graph.initializer if one.name in graphs.tensors}
        for role, model in models.items()
    }
    assert set(models) == {"graph", "lookup", "encode", "gradient"}
    assert outside["graph"] == set(graphs.tensors) == outside["lookup"] | outside["encode"]
    assert outside["gradient"] == outside["encode"]
    assert not outside["lookup"] & outside["encode"]
    table = encoder.state_dict()["backbone.embeddings.word_embeddings.weight"]
    assert graphs.tensors[min(outside["lookup"])].base is not None  # a view, not a copy
    np.testing.assert_array_equal(graphs.tensors[min(outside["lookup"])], table.numpy())
    for model in models.values():
        assert sum(len(one.raw_data) for one in model.graph.initializer) < OUTSIDE_BYTES * 40


def test_transformer_graphs_axes_and_names_are_the_contract(graphs: GraphSet) -> None:
    def ends(values: Iterable[onnx.ValueInfoProto]) -> dict[str, list[str | int]]:
        return {
            one.name: [size.dim_param or size.dim_value for size in one.type.tensor_type.shape.dim]
            for one in values
        }

    ids, rows, tokens = ["batch", "seq"], ["batch", DIM], ["batch", "seq", DIM]
    contract: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "graph": (dict.fromkeys(INPUTS, ids), {OUTPUT: rows}),
        "lookup": ({"input_ids": ids}, {EMBEDDINGS: tokens}),
        "encode": ({EMBEDDINGS: tokens, "attention_mask": ids}, {OUTPUT: rows}),
        "gradient": (
            {EMBEDDINGS: tokens, "attention_mask": ids, "cotangent": rows},
            {OUTPUT: rows, "token_gradients": tokens},
        ),
    }
    for role, model in graphs.models().items():
        assert (ends(model.graph.input), ends(model.graph.output)) == contract[role]
        assert {one.domain: one.version for one in model.opset_import} == {"": OPSET}
