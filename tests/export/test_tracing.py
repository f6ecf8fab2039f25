from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from app.artifact import Manifest, load_manifest
from app.encoder.session import Session
from app.errors import ArtifactError
from export import tracing
from export.precision import quantize_transformer
from export.tracing import transformer_graph
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
def graph(encoder: Encoder) -> onnx.ModelProto:
    return transformer_graph(encoder)


def open_session(graph: onnx.ModelProto, manifest: Manifest) -> Session:
    return Session(graph.SerializeToString(), manifest, device="cpu", threads=1)


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
    encoder: Encoder, graph: onnx.ModelProto, manifest: Manifest, batch: int, longest: int
) -> None:
    rows = ragged(batch, longest)

    np.testing.assert_allclose(
        open_session(graph, manifest).run(rows), torch_run(encoder, rows), atol=1e-5
    )


def test_transformer_graph_int8_is_near_and_independent_of_batch_mates(
    encoder: Encoder, graph: onnx.ModelProto, manifest: Manifest
) -> None:
    session = open_session(quantize_transformer(graph), manifest)
    rows = ragged(9, MAX_TOKENS)

    together = session.run(rows)

    assert (np.asarray(torch_run(encoder, rows)) * together).sum(axis=1).min() > 0.999
    for row, vector in zip(rows, together, strict=True):
        np.testing.assert_allclose(session.run([row])[0], vector, rtol=0, atol=1e-5)


def test_transformer_graph_int8_holds_every_matrix_in_bytes(graph: onnx.ModelProto) -> None:
    quantized = quantize_transformer(graph)

    floats = [
        tensor
        for tensor in quantized.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
    ]
    # What is left in floats are scales: one a row, or one for each block of 32.
    assert sum(np.prod(tensor.dims) for tensor in floats) * 16 < sum(
        np.prod(tensor.dims) for tensor in graph.graph.initializer
    )
    assert len(quantized.SerializeToString()) < 0.65 * len(graph.SerializeToString())


def test_transformer_graph_traced_twice_is_the_same_file(
    encoder: Encoder, graph: onnx.ModelProto
) -> None:
    assert transformer_graph(encoder).SerializeToString() == graph.SerializeToString()


def test_transformer_graph_of_weights_beyond_a_file_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = make_encoder("bert", VOCAB)
    monkeypatch.setattr(tracing, "MOST_BYTES", 4 * VOCAB * DIM)
    with pytest.raises(ArtifactError, match=r"bytes of weights.*smaller vocabulary"):
        transformer_graph(encoder)
