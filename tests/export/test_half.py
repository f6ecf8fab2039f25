from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from app.artifact import load_manifest
from app.encoder.encoder import TextEncoder
from export.graph import static_half_graphs
from export.half import count_fused, half_transformer_graphs
from export.parts import EMBEDDINGS, GraphSet
from export.running import run_graph
from training.backbones import read_backbone
from training.checkpoint import EncoderConfig
from training.model import Encoder, TransformerEncoder

from .conftest import TEXTS, make_encoder
from .test_gradient import batch_of
from .test_release import export

FUSED: Mapping[str, Mapping[str, int]] = {
    "bert": {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2},
    "distilbert": {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2},
    "xlm-roberta": {"Attention": 2, "SkipLayerNormalization": 4, "BiasGelu": 2},
    # Their attention has a bias of places, or a form, that the optimizer does not know.
    "mpnet": {"SkipLayerNormalization": 5, "BiasGelu": 2},
    "xlm": {"SkipLayerNormalization": 5, "BiasGelu": 2},
}


def encoder_of(folder: Path, pooling: str = "mean") -> Encoder:
    backbone = read_backbone(folder)
    rows, dim = backbone.get_input_embeddings().weight.shape
    config = EncoderConfig.model_validate(
        {
            "kind": "transformer",
            "dim": dim,
            "vocab_size": rows,
            "max_tokens": 24,
            "pad_id": 0,
            "pooling": pooling,
            "backbone": backbone.config.to_diff_dict(),
        }
    )
    return TransformerEncoder(config, backbone).eval()


def worst_cosine(encoder: Encoder, graphs: GraphSet) -> float:
    found = []
    for batch, longest in ((1, 1), (2, 5), (7, 13)):
        ids, mask = batch_of(batch, longest)
        feed = {"input_ids": ids, "attention_mask": mask}
        (got,) = run_graph(graphs.graph, graphs.tensors, feed, ["sentence_embedding"]).values()
        assert got.dtype == np.float32
        with torch.inference_mode():
            expected = encoder(torch.tensor(ids), torch.tensor(mask)).numpy()
        found.append((got * expected).sum(axis=1).min())
    return float(min(found))


@pytest.mark.parametrize("kind", FUSED)
def test_half_graph_is_fused_and_near_torch(kind: str, pretrained: Callable[[str], Path]) -> None:
    encoder = encoder_of(pretrained(kind))

    graphs = half_transformer_graphs(encoder)

    fused = count_fused(graphs.graph)
    assert {name: fused.get(name, 0) for name in FUSED[kind]} == FUSED[kind]
    assert worst_cosine(encoder, graphs) > 1 - 1e-5


def test_half_graph_keeps_pooling_and_dense_layers_in_full() -> None:
    layers = [{"inputs": 32, "outputs": 48, "activation": "Tanh"}]
    encoder = make_encoder("bert", 60, dense=layers, dim=48, pooling="cls")

    graphs = half_transformer_graphs(encoder)

    kinds = {name: value.dtype for name, value in graphs.tensors.items()}
    dense = {kind for name, kind in kinds.items() if "dense.0" in name}
    body = {kind for name, kind in kinds.items() if "dense.0" not in name and value_is_float(kind)}
    assert dense == {np.dtype(np.float32)}
    assert body == {np.dtype(np.float16)}
    assert worst_cosine(encoder, graphs) > 1 - 1e-5


def value_is_float(kind: np.dtype) -> bool:
    return kind.kind == "f"


def test_half_graphs_of_a_static_encoder_are_the_rounded_table() -> None:
    table = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)

    graphs = static_half_graphs(table)

    ids, mask = batch_of(3, 5)
    feed = {"input_ids": ids, "attention_mask": mask}
    rows = table.astype(np.float16).astype(np.float32)
    sums = (rows[ids] * mask[..., None]).sum(axis=1)
    assert [value.dtype for value in graphs.tensors.values()] == [np.float16]
    (vectors,) = run_graph(graphs.graph, graphs.tensors, feed, ["sentence_embedding"]).values()
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert isinstance(graphs.lookup, onnx.ModelProto)
    (found,) = run_graph(graphs.lookup, graphs.tensors, {"input_ids": ids}, [EMBEDDINGS]).values()
    np.testing.assert_array_equal(found, rows[ids])


@pytest.mark.parametrize("kind", ["static", "bert"])
def test_export_fp16_alone_is_verified_and_served(
    kind: str, checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    assert export(checkpoints(kind), tmp_path / "a", texts_file, "--precisions", "fp16") == 0

    assert load_manifest(tmp_path / "a").default_precision == "fp16"
    encoder = TextEncoder.open(tmp_path / "a", device="cpu", precision="fp16")
    vectors = encoder.encode_document(TEXTS)
    encoder.close()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
