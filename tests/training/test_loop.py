"""The loop with a data folder of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from training.checkpoint import BEST, CheckpointError, load_checkpoint
from training.config import TrainConfig
from training.logs import EVENTS, LOG
from training.loop import Outcome, train
from training.summary import CURVE, SUMMARY

KINDS = ("static", "transformer")


def weights(folder: Path) -> dict[str, bytes]:
    return {
        f"{name} {key}": tensor.numpy().tobytes()
        for name in ("model.safetensors", "state.safetensors")
        for key, tensor in load_file(folder / name).items()
    }


def history(folder: Path) -> list[Any]:
    """The log but for its times."""
    lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return [[line[key] for key in ("step", "loss", "rate", "metrics")] for line in lines]


def modified(config: TrainConfig, **tables: dict[str, Any]) -> TrainConfig:
    tree = config.model_dump()
    for name, keys in tables.items():
        tree[name] |= keys
    return TrainConfig.model_validate(tree)


@pytest.mark.parametrize("kind", KINDS)
def test_train_lowers_the_loss_and_records_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainConfig, kind: str
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    changed = modified(
        config,
        encoder={"kind": kind, "heads": 2},
        optim={"steps": 60, "lr": 0.05 if kind == "static" else 0.01},
        run={"evaluate_every": 60, "tensorboard": True},
        loss={"temperature": 0.1},
        adversarial={"method": "fgm"},
        batches={"pairs": 32, "cross_probability": 0.9},
    )
    assert train(changed, tmp_path, resume=False) == Outcome(60, early=False, signal=0)
    found = load_checkpoint(tmp_path).run
    assert found["curve"][-1][1] < found["curve"][0][1]
    assert found["steps"] == 60
    assert found["config"]["optim"]["steps"] == 60
    assert found["languages"] == ["eng_Latn", "fra_Latn", "rus_Cyrl", "swh_Latn"]
    assert found["corpora"][0] == {
        "name": "nllb-seed",
        "licence": "CC BY-SA 4.0",
        "shippable": True,
    }
    assert found["metrics"]["flores200-dev at 60"] > 0.4  # chance is 1 of 20
    assert found["metrics"]["epsilon"] > 0
    assert [step for step, *_ in history(tmp_path)] == [10, 20, 30, 40, 50, 60]
    assert (tmp_path / CURVE).exists()
    assert len(list((tmp_path / EVENTS).iterdir())) == 1


def test_train_over_a_checkpoint_needs_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainConfig
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    assert train(config, tmp_path, resume=False).step == 8
    before = weights(tmp_path)
    with pytest.raises(CheckpointError, match="--resume"):
        train(config, tmp_path, resume=False)
    with pytest.raises(CheckpointError, match=r"another optim\.lr"):
        train(modified(config, optim={"lr": 0.5}), tmp_path, resume=True)
    assert train(config, tmp_path, resume=True).step == 8  # it is done already
    assert weights(tmp_path) == before


def test_train_best_is_kept_and_patience_ends_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainConfig
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    accuracies = iter([0.1, 0.3, 0.2, 0.3, 0.25])
    monkeypatch.setattr(
        "training.measuring.figures_of", lambda *_: {"flores200-dev:swh_Latn": next(accuracies)}
    )
    changed = modified(
        config,
        run={"evaluate_every": 2, "patience": 3, "metric": "flores200-dev:swh_Latn"},
        optim={"steps": 40},
    )
    assert train(changed, tmp_path, resume=False) == Outcome(10, early=True, signal=0)
    assert load_checkpoint(tmp_path).progress["step"] == 10
    best = load_checkpoint(tmp_path / BEST)
    assert best.progress["step"] == best.progress["best_step"] == 4
    assert best.progress["best"] == 0.3
    assert "0.3000 at step 4" in (tmp_path / SUMMARY).read_text()
    # It stays so: no figure is asked for any more.
    assert train(changed, tmp_path, resume=True) == Outcome(10, early=True, signal=0)


class Killed(Exception):  # noqa: N818 - stands for SIGKILL
    pass


def test_train_patience_survives_a_kill(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainConfig
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    accuracies = iter([0.3, 0.2, 0.1, None, 0.3])

    def measure(*_: Any) -> dict[str, float]:
        if (found := next(accuracies)) is None:
            raise Killed
        return {"flores200-dev": found}

    monkeypatch.setattr("training.measuring.figures_of", measure)
    changed = modified(
        config,
        run={"evaluate_every": 2, "patience": 3, "save_every": 2},
        optim={"steps": 40},
    )
    with pytest.raises(Killed):
        train(changed, tmp_path, resume=False)
    assert train(changed, tmp_path, resume=True) == Outcome(8, early=True, signal=0)
    progress = load_checkpoint(tmp_path).progress
    assert (progress["best"], progress["best_step"], progress["waited"]) == (0.3, 2, 3)
