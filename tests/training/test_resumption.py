from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from training.checkpoint import (
    BEST,
    CheckpointError,
    EncoderConfig,
    Snapshot,
    load_checkpoint,
    save_checkpoint,
)
from training.config import TrainConfig
from training.epochs import BATCHES_VERSION
from training.resumption import FREE, differing_keys, find_checkpoint


def modified(config: TrainConfig, table: str, key: str, value: Any) -> TrainConfig:
    tree = config.model_dump()
    tree[table][key] = value
    return TrainConfig.model_validate(tree)


def snapshot(config: TrainConfig) -> Snapshot:
    return Snapshot(
        tokenizer="{}",
        config=EncoderConfig(kind="static", dim=2, vocab_size=3, max_tokens=4, pad_id=0),
        weights={"embeddings.weight": torch.zeros(3, 2)},
        run={"config": config.model_dump(mode="json"), "batches_version": BATCHES_VERSION},
        state={},
        progress={"step": 1},
    )


def test_find_checkpoint_without_one_is_none(tmp_path: Path, config: TrainConfig) -> None:
    assert find_checkpoint(config, tmp_path, resume=True) is None
    assert find_checkpoint(config, tmp_path / "absent", resume=False) is None
    assert not (tmp_path / "absent").exists()


def test_find_checkpoint_without_resume_is_refused(tmp_path: Path, config: TrainConfig) -> None:
    save_checkpoint(tmp_path, snapshot(config))
    with pytest.raises(CheckpointError, match="--resume"):
        find_checkpoint(config, tmp_path, resume=False)


@pytest.mark.parametrize(
    ("key", "value"), [("save_every", 7), ("log_every", 1), ("tensorboard", True)]
)
def test_find_checkpoint_may_write_otherwise(
    tmp_path: Path, config: TrainConfig, key: str, value: Any
) -> None:
    save_checkpoint(tmp_path, snapshot(config))
    assert f"run.{key}" in FREE
    found = find_checkpoint(modified(config, "run", key, value), tmp_path, resume=True)
    assert found is not None
    assert found.progress == {"step": 1}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("run", "seed", 5),
        ("run", "threads", 2),
        ("run", "evaluate_every", 4),
        ("optim", "lr", 0.5),
        ("optim", "steps", 9),
        ("batches", "pairs", 8),
    ],
)
def test_find_checkpoint_of_another_run_is_refused_by_key(
    tmp_path: Path, config: TrainConfig, table: str, key: str, value: Any
) -> None:
    save_checkpoint(tmp_path, snapshot(config))
    with pytest.raises(CheckpointError, match=rf"another {table}\.{key}: "):
        find_checkpoint(modified(config, table, key, value), tmp_path, resume=True)


@pytest.mark.parametrize("noted", [{}, {"batches_version": BATCHES_VERSION + 1}])
def test_find_checkpoint_of_another_way_to_draw_batches_is_refused(
    tmp_path: Path, config: TrainConfig, noted: dict[str, int]
) -> None:
    made = snapshot(config)
    save_checkpoint(tmp_path, replace(made, run={"config": made.run["config"], **noted}))
    version = noted.get("batches_version", 1)
    with pytest.raises(CheckpointError, match=rf"another way \(version {version}\): expected"):
        find_checkpoint(config, tmp_path, resume=True)


def test_find_checkpoint_completes_interrupted_saves(tmp_path: Path, config: TrainConfig) -> None:
    """Of the last and of the best; both were decided, and the process was killed."""
    for folder in (tmp_path, tmp_path / BEST):
        save_checkpoint(folder, snapshot(config))
        (folder / ".checkpoint-decided").mkdir()
        (folder / "run.json").rename(folder / ".checkpoint-decided" / "run.json")
    assert find_checkpoint(config, tmp_path, resume=True) is not None
    assert load_checkpoint(tmp_path / BEST).progress == {"step": 1}


def test_differing_keys_newer_than_the_checkpoint_count_by_their_default(
    config: TrainConfig,
) -> None:
    tree = config.model_dump(mode="json")
    del tree["augmentation"]["draw"], tree["corpora"]["languages"], tree["smoothing"]
    old = replace(snapshot(config), run={"config": tree})
    assert differing_keys(config, old) == set()
    other = modified(config, "corpora", "languages", ("eng_Latn",))
    assert differing_keys(other, old) == {"corpora.languages"}


def test_differing_keys_names_each(config: TrainConfig) -> None:
    other = modified(modified(config, "run", "seed", 3), "optim", "lr", 0.5)
    assert differing_keys(other, snapshot(config)) == {"run.seed", "optim.lr"}
