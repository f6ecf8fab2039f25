"""Is the white box right? Its three graphs against torch and autograd, and against each other.

The gradient is compared at several shapes for two cotangents each: random ones, and the direction
towards another text's vector, as a probe asks for it. What stands in the padding must change
nothing and get no gradient.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.artifact import Precision
from app.encoder.gradient import WhiteBox
from app.encoder.session import Session
from export.comparison import batch_of, cosine_gap, relative_error
from export.sources import Checkpoint
from export.tolerances import require

BATCHES = ((3, 17), (8, 33), (33, 12))
"""Texts and tokens of the longest; on top come single texts of 1, 2, 4 ... and of all tokens."""

Array = NDArray[np.float32]


def verify_white_box(
    folder: Path,
    session: Session,
    checkpoint: Checkpoint,
    rows: Sequence[list[int]],
    precision: Precision,
) -> dict[str, dict[str, Any]]:
    """Compare a precision's white box with torch.

    Args:
        folder: The artifact.
        session: Of the precision's own graph.
        checkpoint: What the artifact was made of.
        rows: Token ids of texts.
        precision: Of the white box.

    Returns:
        Its figures, each with its tolerance.

    Raises:
        ArtifactError: If a figure is beyond its tolerance; names the figure.
    """
    box = WhiteBox.open(folder, precision=precision, device="cpu", threads=0)
    rng = np.random.default_rng(0)
    worst: dict[str, dict[str, Any]] = {}
    shapes = list(_batches(rows, checkpoint.config.max_tokens))
    for batch in shapes:
        where = f"{len(batch)} texts of up to {max(map(len, batch))} tokens"
        for figure, got in _figures(box, session, checkpoint, batch, rng):
            found = require(figure, precision, got, where)
            worst[figure] = max(worst.get(figure, found), found, key=lambda one: one["worst"])
    return {figure: {**found, "shapes": len(shapes)} for figure, found in worst.items()}


def _batches(rows: Sequence[list[int]], longest: int) -> Iterator[list[list[int]]]:
    """Cut batches from the texts in a row, all of other lengths and with other tokens."""
    stream = [token for row in rows for token in row]
    stream *= -(-2 * longest // len(stream))
    singles = ((1, 2**power) for power in range(longest.bit_length()))
    for count, most in (*BATCHES, *singles, (1, longest)):
        length = min(most, longest)
        yield [
            stream[index * 11 % length :][: max(1, length - index * length // count)]
            for index in range(count)
        ]


def _figures(
    box: WhiteBox,
    session: Session,
    checkpoint: Checkpoint,
    batch: list[list[int]],
    rng: np.random.Generator,
) -> Iterator[tuple[str, float]]:
    """Measure one batch; gives figures by name, some of them more than once."""
    embeddings, mask = box.lookup(batch)  # (batch, seq, hidden), (batch, seq)
    real = np.asarray(mask, dtype=bool)
    yield "lookup_to_torch", relative_error(embeddings[real], _lookup(checkpoint, batch)[real])
    vectors = box.encode(embeddings, mask)
    expected, _ = _autograd(checkpoint, embeddings, real, np.zeros_like(vectors))
    yield "encode_to_torch", cosine_gap(vectors, expected)
    yield "ids_to_lookup_and_encode", cosine_gap(session.run(batch), vectors)
    refilled = np.where(real[..., None], embeddings, rng.permuted(embeddings, axis=2) + 1)
    yield "white_box_padding", cosine_gap(box.encode(refilled, mask), vectors)
    for cotangent in _cotangents(vectors, rng):
        again, gradients = box.gradient(embeddings, mask, cotangent)
        yield "encode_to_torch", cosine_gap(again, expected)
        _, right = _autograd(checkpoint, embeddings, real, cotangent)
        yield "gradient_to_torch", relative_error(gradients, right)
        yield "padding_gradient", float(np.abs(gradients[~real]).max(initial=0.0))
        _, other = box.gradient(refilled, mask, cotangent)
        yield "white_box_padding", relative_error(other, gradients)
        last = len(batch[-1])
        _, alone = box.gradient(embeddings[-1:, :last], mask[-1:, :last], cotangent[-1:])
        # Beside the others, so that next to nothing is measured by what a gradient is there.
        placed = gradients.copy()
        placed[-1, :last] = alone[0]
        yield "gradient_alone_to_batch", relative_error(placed, gradients)


def _cotangents(vectors: Array, rng: np.random.Generator) -> Iterator[Array]:
    yield rng.standard_normal(vectors.shape).astype(np.float32)
    yield np.roll(vectors, 1, axis=0) - vectors if len(vectors) > 1 else np.sign(-vectors)


def _lookup(checkpoint: Checkpoint, batch: list[list[int]]) -> Array:
    ids, _ = batch_of(batch, checkpoint.config.pad_id)
    with torch.inference_mode():
        return checkpoint.encoder.token_embeddings(torch.from_numpy(ids)).float().numpy()


def _autograd(
    checkpoint: Checkpoint, embeddings: Array, real: NDArray[np.bool_], cotangent: Array
) -> tuple[Array, Array]:
    """Give torch's vectors of token embeddings, and its gradient of their sum with a cotangent."""
    leaf = torch.tensor(embeddings, requires_grad=True)
    mask = torch.from_numpy(real.astype(np.int64))
    with torch.enable_grad():
        vectors = checkpoint.encoder.pool_from_embeddings(leaf, mask)  # (batch, dim)
        (gradients,) = torch.autograd.grad((vectors * torch.from_numpy(cotangent)).sum(), leaf)
    return vectors.detach().numpy(), gradients.numpy()
