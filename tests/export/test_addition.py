from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.artifact import load_manifest
from app.encoder.gradient import WhiteBox
from app.encoder.session import Session
from app.errors import ArtifactError
from export.__main__ import main
from export.addition import add_white_box
from export.sources import load_source

from .test_white_box import write

ROWS = [[5, 9, 700], [3], [8, 8]]


@pytest.fixture(scope="module")
def added(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("added") / "a"
    add_white_box(tiny_artifact, out)
    return out


def test_add_white_box_leaves_what_is_served_as_it_is(tiny_artifact: Path, added: Path) -> None:
    before, after = load_manifest(tiny_artifact), load_manifest(added)

    assert after.model_id == before.model_id
    hashes = {file.path: file.sha256 for file in after.files}
    for file in before.files:
        assert hashes[file.path] == file.sha256
    white_box = {name for graph in after.precisions.values() for name in graph.white_box}
    sizes = {file.path: file.bytes for file in after.files}
    assert white_box == set(hashes) - {file.path for file in before.files}
    assert sum(sizes[name] for name in white_box) < 20_000  # the table is not in it again
    figures = after.verification["white_box_added"]["figures"]
    assert figures["int8"]["gradient_to_torch"]["worst"] < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_add_white_box_gives_the_vectors_served_and_their_gradient(
    precision: str, added: Path
) -> None:
    box = WhiteBox.open(added, precision=precision, device="cpu", threads=1)
    graph = (added / f"model.{precision}.onnx").read_bytes()
    served = Session(graph, box.manifest, device="cpu", threads=1).run(ROWS)
    embeddings, mask = box.lookup(ROWS)

    vectors, gradients = box.gradient(embeddings, mask, np.roll(served, 1, axis=1))

    np.testing.assert_allclose(vectors, served, atol=1e-6)
    # By hand: v = s / |s|, so dL/ds = (c - (c.v) v) / |s|, the same for each token.
    sums = (embeddings * mask[..., None]).sum(axis=1)
    cotangent = np.roll(served, 1, axis=1)
    along = (cotangent * served).sum(axis=1, keepdims=True)
    expected = (cotangent - along * served) / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(gradients, expected[:, None] * mask[..., None], atol=1e-6)


def test_add_white_box_twice_is_refused(
    added: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--add-white-box", str(added), str(tmp_path / "b")]) == 1

    assert "has a white box" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


def test_default_encoder_has_a_white_box_that_shares_its_table() -> None:
    default = Path(__file__).parents[2] / "app" / "default" / "encoder"
    graph = load_manifest(default).precisions["int4"]
    assert graph.weights
    assert sum((default / name).stat().st_size for name in graph.white_box) < 10_000
    assert WhiteBox.open(default, device="cpu", threads=1).hidden == 376


def test_add_white_box_to_a_transformer_is_refused(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    source = write(
        tmp_path / "a", load_source(checkpoints("bert")), precisions=("fp32",), white_box=False
    )

    with pytest.raises(ArtifactError, match="file of weights; expected one with its weights in"):
        add_white_box(source, tmp_path / "b")
    assert not (tmp_path / "b").exists()
