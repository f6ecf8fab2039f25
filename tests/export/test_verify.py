from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from tokenizers import Tokenizer

from app.artifact import Precision
from app.errors import ArtifactError
from export import release
from export.graph import static_graph, static_int8_graph
from export.parts import GraphSet
from export.precision import quantize_rows
from export.release import Order
from export.sources import Checkpoint, load_source
from export.texts import Texts
from export.tolerances import TOLERANCES
from export.verify import verify_artifact

from .conftest import TEXTS


def both(table: np.ndarray) -> Mapping[Precision, onnx.ModelProto]:
    return {"fp32": static_graph(table), "int8": static_int8_graph(*quantize_rows(table))}


@pytest.fixture(scope="module")
def checkpoint(checkpoints: Callable[[str], Path]) -> Checkpoint:
    return load_source(checkpoints("static"))


@pytest.fixture
def verify(
    checkpoint: Checkpoint, tmp_path: Path
) -> Callable[[Mapping[Precision, onnx.ModelProto]], tuple[dict[str, Any], dict[str, Any]]]:
    """Verifies graphs against the checkpoint on texts with translations."""
    corpus = pa.table(
        {
            "eng_Latn": [f"{text} {n}" for n in range(4) for text in TEXTS[:6]],
            "swh_Latn": [f"{n} {text}" for n in range(4) for text in TEXTS[:6]],
        }
    )

    def run(graphs: Mapping[Precision, onnx.ModelProto]) -> tuple[dict[str, Any], dict[str, Any]]:
        order = Order(Path(), tmp_path, "name")
        contents = release._contents(order, checkpoint)
        release._write(
            tmp_path,
            release.dataclasses.replace(
                contents, graphs={precision: GraphSet(graph) for precision, graph in graphs.items()}
            ),
        )
        sample = {lang: corpus[lang].to_pylist() for lang in corpus.column_names}
        texts = Texts({**sample, "": list(TEXTS)}, corpus, "made up")
        return verify_artifact(tmp_path, checkpoint, texts)

    return run


def test_verify_artifact_records_every_figure_with_its_tolerance(
    verify: Callable[..., Any], checkpoint: Checkpoint
) -> None:
    record, accuracies = verify(both(checkpoint.table))

    for figures in record["figures"].values():
        assert set(figures) == {
            *("texts_to_torch", "shapes_to_torch", "alone_to_batch", "norm_error"),
            *("neighbors_lost", "neighbors_lost_of_a_text", "accuracy_loss_points"),
        }
        assert all(figure["worst"] <= figure["tolerance"] for figure in figures.values())
    assert record["figures"]["fp32"]["texts_to_torch"]["worst"] < 1e-9
    assert record["figures"]["int8"]["texts_to_torch"]["worst"] > 1e-9
    assert set(accuracies["int8"]) == {"swh_Latn"}


def test_verify_artifact_one_wrong_token_vector_is_found(
    verify: Callable[..., Any], checkpoint: Checkpoint
) -> None:
    table = checkpoint.table.copy()
    # The most frequent piece of these texts is the comma.
    table[checkpoint_id(checkpoint, ",")] *= -1

    with pytest.raises(ArtifactError, match="fp32 against torch is off"):
        verify(both(table))


def test_verify_artifact_vectors_that_depend_on_padding_are_found(
    verify: Callable[..., Any], checkpoint: Checkpoint
) -> None:
    graphs = both(checkpoint.table)
    for node in graphs["fp32"].graph.node:
        if node.op_type == "Cast":  # the mask becomes ones wherever there is an id, padding too
            node.op_type = "Sign"
            node.input[0] = "ids"
            del node.attribute[:]
    _add_ones(graphs["fp32"])

    with pytest.raises(ArtifactError, match="verification failed: fp32"):
        verify(graphs)


def test_verify_artifact_coarse_integers_are_found(
    verify: Callable[..., Any], checkpoint: Checkpoint
) -> None:
    integers, scales = quantize_rows(checkpoint.table)
    coarse = (np.rint(integers / 64) * 64).astype(np.int8)

    with pytest.raises(ArtifactError, match="int8 against torch is off"):
        verify({**both(checkpoint.table), "int8": static_int8_graph(coarse, scales)})


def test_verify_artifact_lost_accuracy_is_found(
    verify: Callable[..., Any], checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Loose cosines let vectors through that point elsewhere; the translations do not.
    for figure in (
        "texts_to_torch",
        "shapes_to_torch",
        "neighbors_lost",
        "neighbors_lost_of_a_text",
    ):
        monkeypatch.setitem(TOLERANCES, figure, {"fp32": 1e-4, "int8": 2.0})
    mixed = checkpoint.table[np.random.default_rng(0).permutation(len(checkpoint.table))]
    mixed[:, 1:] = 0
    graphs = {**both(checkpoint.table), "int8": static_int8_graph(*quantize_rows(mixed))}

    with pytest.raises(ArtifactError, match="int8 accuracy loss in points is off"):
        verify(graphs)


def checkpoint_id(checkpoint: Checkpoint, piece: str) -> int:
    (*_, last) = Tokenizer.from_str(checkpoint.tokenizer).encode(piece).ids
    return last


def _add_ones(model: onnx.ModelProto) -> None:
    """Give the graph a tensor "ids" that is positive at each position."""
    helper = onnx.helper
    one = onnx.numpy_helper.from_array(np.array(1, dtype=np.int64), "plus")
    model.graph.initializer.append(one)
    nodes = [
        helper.make_node("Add", ["input_ids", "plus"], ["counted"]),
        helper.make_node("Cast", ["counted"], ["ids"], to=onnx.TensorProto.FLOAT),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
