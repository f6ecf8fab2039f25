import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers

from training import reduction
from training.assembly import load_encoder
from training.checkpoint import CheckpointError, EncoderConfig, Snapshot, save_checkpoint
from training.model import as_encode
from training.reduction import principal_axes, reduce_snapshot

WORDS = ["[PAD]", "[UNK]", *(chr(97 + index) for index in range(20))]
TEXTS = [" ".join(pair) for pair in itertools.pairwise(WORDS[2:])]


def words() -> Tokenizer:
    made = Tokenizer(models.WordLevel({t: i for i, t in enumerate(WORDS)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return made


def snapshot(kind: str = "static", dim: int = 8, rank: int = 3) -> Snapshot:
    """Make an encoder whose rows of ``dim`` entries span ``rank`` directions."""
    rng = np.random.default_rng(0)
    table = rng.normal(size=(len(WORDS), rank)) @ rng.normal(size=(rank, dim))
    config = EncoderConfig(
        kind=kind,  # type: ignore[arg-type]
        dim=dim,
        vocab_size=len(WORDS),
        max_tokens=9,
        pad_id=0,
    )
    weights = {"embeddings.weight": torch.from_numpy(table).float()}
    return Snapshot(words().to_str(), config, weights, {}, {}, {})


def test_principal_axes_are_orthonormal_and_best_first() -> None:
    vectors = np.random.default_rng(1).normal(size=(200, 3)) * [1.0, 5.0, 3.0]
    axes = principal_axes(vectors.astype(np.float32), 2)
    assert np.allclose(axes.T @ axes, np.eye(2), atol=1e-6)
    assert np.abs(axes).argmax(axis=0).tolist() == [1, 2]


def test_reduction_keeps_cosines_where_the_dimensions_suffice(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    save_checkpoint(before, snapshot())
    save_checkpoint(after, reduce_snapshot(snapshot(), TEXTS, 3))
    vectors = [as_encode(load_encoder(folder), words())(TEXTS) for folder in (before, after)]
    assert vectors[1].shape == (len(TEXTS), 3)
    assert np.allclose(vectors[0] @ vectors[0].T, vectors[1] @ vectors[1].T, atol=1e-5)


def test_lengths_raise_those_of_rows_to_a_power_and_keep_directions() -> None:
    plain, root = (
        reduce_snapshot(snapshot(), TEXTS, 3, lengths=power).weights["embeddings.weight"].numpy()
        for power in (1.0, 0.5)
    )
    before, after = (np.linalg.norm(table, axis=1) for table in (plain, root))
    np.testing.assert_allclose(after, np.sqrt(before), rtol=1e-4)
    unit = [table / np.linalg.norm(table, axis=1, keepdims=True) for table in (plain, root)]
    np.testing.assert_allclose(unit[0] @ unit[0].T, unit[1] @ unit[1].T, atol=1e-4)


def test_spread_keeps_cosines_and_makes_dimensions_alike() -> None:
    plain, spread = (
        reduce_snapshot(snapshot(dim=40, rank=32), TEXTS, 32, spread=way)
        .weights["embeddings.weight"]
        .numpy()
        for way in (False, True)
    )
    np.testing.assert_allclose(plain @ plain.T, spread @ spread.T, rtol=1e-3, atol=1e-2)
    shares = [np.square(table).sum(axis=0) / np.square(table).sum() for table in (plain, spread)]
    assert shares[1].max() < shares[0].max()


@pytest.mark.parametrize(
    ("kind", "dim", "message"),
    [
        ("static", 8, "got --dim 8 for vectors of 8 dimensions"),
        ("static", 0, "got --dim 0"),
        ("transformer", 3, "expected a static one"),
    ],
)
def test_reduction_refuses_what_it_cannot_reduce(kind: str, dim: int, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        reduce_snapshot(snapshot(kind), TEXTS, dim)


def test_reduction_command_leaves_a_checkpoint_and_never_overwrites_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reduction, "sample_of", lambda found: TEXTS)
    save_checkpoint(tmp_path / "from", snapshot())
    order = [str(tmp_path / "from"), str(tmp_path / "to"), "--dim", "4"]
    assert reduction.main(order) == 0
    assert load_encoder(tmp_path / "to").config.dim == 4
    assert reduction.main(order) == 2
    assert "holds a checkpoint already" in capsys.readouterr().err
