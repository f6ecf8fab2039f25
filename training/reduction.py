"""Fewer dimensions for a trained static encoder: the ones that its texts' vectors vary in most.

A static encoder's vector is linear in its table up to its length, so a table times an orthogonal
projection is a static encoder too. The plane is that of the leading principal components of unit
vectors of texts it was trained on, not centered: their cosines are what is to be kept. What it
trades away: what little the other components say.

    python -m training.reduction CHECKPOINT OUT --dim 256 [--spread] [--lengths P]

Leading components are large and the last ones small. ``--spread`` turns them by a random rotation,
so that every entry of a row is about as large as any: rounding to few bits then loses less.
``--lengths`` raises each row's length to a power: below 1, rare and telling tokens count for less
beside common ones. The power that is best on a development set says whether training overdid them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer

from training.assembly import encoder_of
from training.checkpoint import (
    MANIFEST,
    CheckpointError,
    Snapshot,
    load_checkpoint,
    save_checkpoint,
)
from training.composed import folded
from training.corpus import CorpusError, data_folder, load_bitext, select_corpora
from training.model import as_encode

TEXTS = 50_000


def principal_axes(vectors: NDArray[np.float32], dim: int) -> NDArray[np.float32]:
    """Find the directions that keep most of some vectors' squared length.

    Args:
        vectors: Shape (texts, all dimensions).
        dim: How many directions.

    Returns:
        Orthonormal columns, the best first, shape (all dimensions, dim).

    Raises:
        CheckpointError: If there are not more dimensions than that.
    """
    if not 1 <= dim < vectors.shape[1]:
        raise CheckpointError(
            f"got --dim {dim} for vectors of {vectors.shape[1]} dimensions: expected fewer, and at "
            "least 1"
        )
    wide = vectors.astype(np.float64)
    _, axes = np.linalg.eigh(wide.T @ wide)  # ascending
    return axes[:, ::-1][:, :dim].astype(np.float32)


def random_rotation(dim: int) -> NDArray[np.float32]:
    """Draw an orthogonal matrix, always the same, shape (dim, dim)."""
    drawn = np.random.default_rng(0).normal(size=(dim, dim))
    return np.linalg.qr(drawn)[0].astype(np.float32)


def reduce_snapshot(
    snapshot: Snapshot,
    texts: Sequence[str],
    dim: int,
    *,
    spread: bool = False,
    lengths: float = 1.0,
) -> Snapshot:
    """Project a static encoder's table; n-grams are folded into it first.

    Args:
        snapshot: Of a static encoder.
        texts: Whose vectors are to be kept.
        dim: Dimensions of the new one.
        spread: Rotate them, so that none is larger than the others.
        lengths: Power that each row's length is raised to, before all else.

    Raises:
        CheckpointError: If the encoder is not static, or has not more dimensions than that.
    """
    if snapshot.config.kind != "static":
        raise CheckpointError(
            f"got an encoder of kind {snapshot.config.kind}: expected a static one, for only its "
            "vectors are linear in its weights"
        )
    encoder = folded(encoder_of(snapshot))
    rows = encoder.get_parameter("embeddings.weight").detach()  # (vocab, all dimensions)
    # In place, so that the texts' vectors are those of the new lengths.
    rows.mul_(rows.norm(dim=1, keepdim=True).clamp(min=1e-12).pow(lengths - 1.0))
    axes = principal_axes(as_encode(encoder, Tokenizer.from_str(snapshot.tokenizer))(texts), dim)
    if spread:
        axes = axes @ random_rotation(dim)
    table = rows @ torch.from_numpy(axes)
    return Snapshot(
        tokenizer=snapshot.tokenizer,
        config=encoder.config.model_copy(update={"dim": dim}),
        weights={"embeddings.weight": table.contiguous()},
        run={**snapshot.run, "parameters": table.numel(), "reduced_from": snapshot.config.dim},
        state={},
        progress=snapshot.progress,
    )


def sample_of(snapshot: Snapshot, count: int = TEXTS) -> list[str]:
    """Draw texts of the corpora that a checkpoint was trained on.

    Raises:
        CorpusError: If they are not there.
    """
    config = snapshot.run["config"]["corpora"]
    corpora = select_corpora(list(config["weights"]), shippable=False, files=config["files"])
    folder = Path() if all(corpus.own for corpus in corpora) else data_folder()
    texts = load_bitext(folder, corpora, config["languages"]).texts
    rows = np.random.default_rng(0).permutation(len(texts))[:count]
    return texts.take(pa.array(np.sort(rows))).to_pylist()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and reduce; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.reduction")
    parser.add_argument("checkpoint", type=Path, help="folder of a static encoder's checkpoint")
    parser.add_argument("out", type=Path, help="folder of the new checkpoint; must not hold one")
    parser.add_argument("--dim", type=int, required=True, help="dimensions of the new one")
    parser.add_argument("--spread", action="store_true", help="make all of them alike, for int4")
    parser.add_argument("--lengths", type=float, default=1.0, help="power of rows' lengths")
    options = parser.parse_args(arguments)
    try:
        if (options.out / MANIFEST).exists():
            raise CheckpointError(f"{options.out} holds a checkpoint already: name another folder")
        snapshot = load_checkpoint(options.checkpoint)
        texts = sample_of(snapshot)
        reduced = reduce_snapshot(
            snapshot, texts, options.dim, spread=options.spread, lengths=options.lengths
        )
        save_checkpoint(options.out, reduced)
    except (CheckpointError, CorpusError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"checkpoint: {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
