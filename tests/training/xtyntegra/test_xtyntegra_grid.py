"""The shipped grid of the matrix, and the parts that run without it."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from training.xtyntegra.matrix_plan import Run, config_of, load_grid, runs_of
from training.xtyntegra.matrix_runs import (
    mark_current,
    read_current,
    read_result,
    status_table,
    write_result,
)
from training.xtyntegra.matrix_train import transformer_from_table

SHIPPED = Path(__file__).parents[3] / "training" / "configs" / "matrix"


def test_shipped_grid_every_run_is_a_valid_configuration() -> None:
    path = SHIPPED / "grid.toml"
    grid = load_grid(path)
    for run in runs_of(grid):
        config = config_of(run, grid, path, Path("runs/matrix"))
        assert config.run.seed == run.seed
        assert config.encoder.start.startswith("runs/matrix/")


def test_shipped_grid_arm_has_same_steps_data_and_start_in_all_cells() -> None:
    path = SHIPPED / "grid.toml"
    grid = load_grid(path)
    same: dict[str, set[str]] = {}
    for run in runs_of(grid):
        config = config_of(run, grid, path, Path("runs/matrix"))
        kept = (config.optim, config.corpora, config.encoder, config.batches.pairs, config.loss)
        same.setdefault(run.arm, set()).add(repr(kept))
    assert {arm: len(kinds) for arm, kinds in same.items()} == dict.fromkeys(same, 1)


def test_shipped_grid_held_out_languages_are_in_no_corpus_and_no_dictionary() -> None:
    path = SHIPPED / "grid.toml"
    grid = load_grid(path)
    groups = grid.scoring.groups
    held_out = {*groups["related"], *groups["unseen"]}
    configs = [config_of(run, grid, path, Path("runs/matrix")) for run in runs_of(grid)]
    for config in configs:
        assert config.corpora.languages
        assert not held_out & set(config.corpora.languages)
        assert not held_out & set(config.augmentation.languages)
        assert set(groups["seen"]) <= set(config.corpora.languages)
        assert bool(config.augmentation.languages) == bool(config.augmentation.dictionaries)


def test_read_current_process_that_has_ended_is_none(tmp_path: Path) -> None:
    run = Run("static", "static.toml", "cross", "plain", 0)
    mark_current(tmp_path, run)
    assert read_current(tmp_path) == {
        "run": run.name,
        "pid": os.getpid(),
        "began": pytest.approx(read_current(tmp_path)["began"]),  # pyright: ignore
    }
    note = json.loads((tmp_path / "current.json").read_text(encoding="utf-8"))
    (tmp_path / "current.json").write_text(json.dumps({**note, "pid": 2**22 + 1}), "utf-8")
    assert read_current(tmp_path) is None


def test_write_result_bits_are_read_back_as_they_were(tmp_path: Path) -> None:
    run = Run("static", "static.toml", "cross", "plain", 0)
    bits = np.random.default_rng(0).random((3, 11)) < 0.5
    write_result(tmp_path, run, {"wall_seconds": 60.0}, {"white:0.1": bits, "clean": np.arange(4)})
    _, found = read_result(tmp_path, run)
    assert np.array_equal(found["white:0.1"], bits)
    assert found["clean"].tolist() == [0, 1, 2, 3]
    other = Run("static", "static.toml", "cross", "plain", 1)
    assert "1 left, some 1 minutes" in status_table(tmp_path, [run, other])


def test_transformer_from_table_keeps_the_geometry_of_the_rows() -> None:
    # Rows of rank 2: a copy of width 2 has their cosines.
    rng = np.random.default_rng(0)
    table = torch.tensor(rng.normal(size=(9, 2)) @ rng.normal(size=(2, 6)), dtype=torch.float32)
    encoder = torch.nn.Embedding(9, 2)
    transformer_from_table(encoder, table)  # pyright: ignore[reportArgumentType]
    before = torch.nn.functional.normalize(table, dim=1)
    after = torch.nn.functional.normalize(encoder.weight.detach(), dim=1)
    assert torch.allclose(before @ before.T, after @ after.T, atol=1e-4)
