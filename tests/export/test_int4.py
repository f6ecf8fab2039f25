from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from app.artifact import load_manifest
from app.encoder.encoder import TextEncoder
from app.encoder.gradient import WhiteBox
from app.errors import ArtifactError
from export.graph import static_graph, static_int4_graph, static_int4_graphs
from export.parts import move_inside
from export.precision import NIBBLE_MOST, nibbles, quantize_nibbles

from .conftest import TEXTS
from .test_release import export


def table(rows: int = 50, dim: int = 64, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


def run(graph: onnx.ModelProto, **inputs: NDArray[np.int64]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    return np.asarray(session.run(None, inputs)[0])


def test_nibbles_of_a_known_row_are_packed_by_halves() -> None:
    row = np.array([[7.0, -7.0, 3.0, 0.0]], np.float32)
    packed, scales = quantize_nibbles(row)
    assert scales.tolist() == [1.0]
    # 7, -7 in the low halves of the bytes, 3, 0 in the high ones, each plus 8.
    assert packed.tolist() == [[15 | 11 << 4, 1 | 8 << 4]]
    assert nibbles(packed).tolist() == [[7, -7, 3, 0]]


def test_nibbles_of_a_row_of_zeros_are_zeros() -> None:
    packed, scales = quantize_nibbles(np.zeros((1, 4), np.float32))
    assert (nibbles(packed) * scales[:, None] == 0).all()


def test_nibbles_miss_a_row_by_less_than_the_scale_of_its_largest_entry_would() -> None:
    rows = table()
    packed, scales = quantize_nibbles(rows)
    plain = np.abs(rows).max(axis=1, keepdims=True) / NIBBLE_MOST
    missed = np.square(nibbles(packed) * scales[:, None] - rows).sum(axis=1)
    assert (missed <= np.square(np.rint(rows / plain) * plain - rows).sum(axis=1) + 1e-6).all()
    assert missed.sum() < 0.02 * np.square(rows).sum()


def test_nibbles_of_an_odd_dimension_are_refused() -> None:
    with pytest.raises(ArtifactError, match="an even number"):
        quantize_nibbles(table(dim=5))


def test_int4_graph_gives_the_vectors_of_its_rounded_table() -> None:
    packed, scales = quantize_nibbles(table())
    rounded = nibbles(packed) * scales[:, None]
    ids = np.random.default_rng(1).integers(0, 50, (3, 7))
    mask = np.ones_like(ids)
    mask[1, 4:] = 0
    found = run(static_int4_graph(packed, scales), input_ids=ids, attention_mask=mask)
    expected = run(static_graph(rounded), input_ids=ids, attention_mask=mask)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_int4_lookup_gives_the_rows_of_its_rounded_table() -> None:
    packed, scales = quantize_nibbles(table())
    graphs = static_int4_graphs(packed, scales)
    assert graphs.lookup is not None
    ids = np.array([[0, 49, 7]])
    found = run(move_inside(graphs.lookup, graphs.tensors), input_ids=ids)
    np.testing.assert_allclose(found, (nibbles(packed) * scales[:, None])[ids], rtol=1e-6)
    # Half a byte for each entry, and nothing twice.
    assert (
        sum(value.nbytes for value in graphs.tensors.values())
        == 50 * 32 + len(graphs.tensors.get("scales", ())) * 4
    )


def test_int4_without_white_box_has_one_graph() -> None:
    graphs = static_int4_graphs(*quantize_nibbles(table()), white_box=False)
    assert list(graphs.models()) == ["graph"]


def test_export_int4_alone_is_verified_and_served(
    checkpoints: Callable[[str], Path], texts_file: Path, tmp_path: Path
) -> None:
    assert export(checkpoints("static"), tmp_path / "a", texts_file, "--precisions", "int4") == 0

    assert load_manifest(tmp_path / "a").default_precision == "int4"
    encoder = TextEncoder.open(tmp_path / "a", device="cpu", precision="int4")
    vectors = encoder.encode_document(TEXTS)
    encoder.close()
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert WhiteBox.open(tmp_path / "a", device="cpu").precision == "int4"


def test_export_int4_of_a_transformer_is_refused(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert export(checkpoints("bert"), tmp_path / "a", texts_file, "--precisions", "int4") == 1
    assert "tables of static encoders" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()


def test_export_notes_end_the_model_card(
    checkpoints: Callable[[str], Path],
    texts_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("## Known failures\n\nNone of note.\n", encoding="utf-8")
    options = ("--precisions", "int4", "--notes", str(notes))
    assert export(checkpoints("static"), tmp_path / "a", texts_file, *options) == 0
    card = (tmp_path / "a" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.endswith("before they are relied on.\n\n## Known failures\n\nNone of note.\n")

    notes.write_bytes(b"\xff")
    assert export(checkpoints("static"), tmp_path / "b", texts_file, *options) == 1
    assert "no UTF-8" in capsys.readouterr().err
