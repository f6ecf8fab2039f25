"""The loop with a data folder of its own; interrupts are real signals to a real process."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.checkpoint import BEST, CheckpointError, load_checkpoint
from training.config import TrainConfig
from training.logs import EVENTS, LOG
from training.loop import Outcome, train
from training.summary import CURVE, SUMMARY

STEPS = 24
SHAPES = {
    "static": ["--set", "encoder.kind=static"],
    "transformer": ["--set", "encoder.kind=transformer", "--set", "optim.lr=1e-3"],
}
TOML = """
[run]
name = "unit"
threads = 1
save_every = 4
evaluate_every = 6
log_every = 3
[tokenizer]
vocab_size = 400
sample_characters = 20000
romanize = false
[encoder]
kind = "static"
dim = 16
max_tokens = 32
[corpora]
weights = { nllb-seed = 1.0, wikipedia-app = 0.5 }
[batches]
pairs = 16
[adversarial]
method = "fgm"
[optim]
steps = 24
lr = 0.01
ema = 0.9
"""


@pytest.fixture
def toml(tmp_path: Path) -> str:
    path = tmp_path / "unit.toml"
    path.write_text(TOML)
    return str(path)


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


def log_size(folder: Path) -> int:
    return (folder / LOG).stat().st_size if (folder / LOG).exists() else 0


def wait_for_a_line(folder: Path) -> None:
    before, deadline = log_size(folder), time.monotonic() + 60
    while log_size(folder) <= before:
        assert time.monotonic() < deadline, "no line within 60 s"
        time.sleep(0.002)


@pytest.mark.parametrize("kind", SHAPES)
def test_main_killed_again_and_again_ends_bit_identical(
    launcher: Any, data: Path, tmp_path: Path, toml: str, kind: str
) -> None:
    """Real SIGKILLs: within saves of the last and of the best checkpoint, and at any moment."""
    rng = random.Random(7)
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert launcher.start(toml, "--out", str(whole), *SHAPES[kind], data=data).wait() == 0
    arguments = (toml, "--out", str(broken), *SHAPES[kind], "--resume")
    for operation in (5, 12, rng.randrange(15, 30), rng.randrange(15, 30)):
        started = launcher.start(*arguments, data=data, die_at=operation)
        assert started.wait() == -signal.SIGKILL
    for _ in range(2):
        started = launcher.start(*arguments, data=data)
        wait_for_a_line(broken)
        time.sleep(rng.uniform(0.0, 0.05))
        assert started.kill(signal.SIGKILL) == -signal.SIGKILL
    assert launcher.start(*arguments, data=data).wait() == 0
    assert load_checkpoint(broken).progress["step"] == STEPS
    assert weights(broken) == weights(whole)
    assert weights(broken / BEST) == weights(whole / BEST)
    assert history(broken) == history(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_main_signalled_saves_exits_with_its_number_and_resumes(
    launcher: Any, data: Path, tmp_path: Path, toml: str, number: int
) -> None:
    """A run that would go on for long stops after the step at hand."""
    arguments = (toml, "--out", str(tmp_path), "--set", "optim.steps=100000", "--resume")
    started = launcher.start(*arguments, data=data)
    wait_for_a_line(tmp_path)
    assert started.kill(number) == 128 + number
    assert started.errors.read_text().endswith("; continue with --resume.\n")
    first = load_checkpoint(tmp_path).progress["step"]
    assert 0 < first < 100_000
    assert "Interrupted after step" in (tmp_path / SUMMARY).read_text()

    started = launcher.start(*arguments, "--set", "run.log_every=1", data=data)
    wait_for_a_line(tmp_path)
    assert started.kill(number) == 128 + number
    assert load_checkpoint(tmp_path).progress["step"] > first


@pytest.mark.parametrize("kind", SHAPES)
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
        "training.loop.figures_of", lambda *_: {"flores200-dev:swh_Latn": next(accuracies)}
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

    monkeypatch.setattr("training.loop.figures_of", measure)
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


@pytest.mark.parametrize("what", ["the log", "a checkpoint"])
def test_main_full_disk_keeps_the_checkpoint(
    launcher: Any, data: Path, tmp_path: Path, toml: str, what: str
) -> None:
    """No file may grow beyond a limit, which the log reaches, or else the optimizer's state."""
    folder = tmp_path / "run"
    long = ("--set", "optim.steps=100000", "--set", "run.evaluate_every=0")
    arguments = (toml, "--out", str(folder), *long)
    first = launcher.start(*arguments, data=data)
    wait_for_a_line(folder)
    assert first.kill(signal.SIGTERM) == 143
    before = weights(folder)
    if what == "the log":
        room, rarely = log_size(folder) + 2000, ("--set", "run.save_every=0")
    else:
        room, rarely = (folder / "state.safetensors").stat().st_size - 100, ()
    failed = launcher.start(
        *arguments, *rarely, "--set", "run.log_every=1", "--resume", data=data, room=room
    )
    assert failed.wait() == 2
    last = failed.errors.read_text().splitlines()[-1]
    assert last.startswith(f"error: cannot write {what} ")
    assert "intact: make room, then continue with --resume" in last
    assert weights(folder) == before
    assert not (folder / ".checkpoint-writing").exists()


def test_main_killed_between_minings_goes_on_with_what_was_mined(
    launcher: Any, data: Path, tmp_path: Path, toml: str
) -> None:
    """Negatives mined at step 10 are used up to step 20; the save at 12 must hold them."""
    mining = ["--set", "batches.hard_negatives=2", "--set", "batches.mine_every=10"]
    mining += ["--set", "batches.cross_probability=1", "--set", "run.evaluate_every=0"]
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert launcher.start(toml, "--out", str(whole), *mining, data=data).wait() == 0
    arguments = (toml, "--out", str(broken), *mining, "--resume")
    for _ in range(2):
        started = launcher.start(*arguments, "--set", "run.log_every=1", data=data)
        wait_for_a_line(broken)
        assert started.kill(signal.SIGTERM) == 143
    assert launcher.start(*arguments, data=data).wait() == 0
    assert weights(broken) == weights(whole)


@pytest.mark.slow
def test_main_two_processes_end_with_the_weights_of_one(
    launcher: Any, data: Path, tmp_path: Path, toml: str
) -> None:
    settings = [*SHAPES["transformer"], "--set", "run.patience=3", "--set", "batches.chunk=5"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert launcher.start(toml, "--out", str(one), *settings, data=data).wait() == 0
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", "2", "-m", "training", toml, "--out", str(two), *settings]
    done = subprocess.run(
        torchrun,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TYNTEGRA_DATA": str(data), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"checkpoint: {two}\n"
    for name in ("", BEST):
        ours, theirs = (load_file(folder / name / "model.safetensors") for folder in (one, two))
        assert ours.keys() == theirs.keys()
        for key, tensor in ours.items():
            torch.testing.assert_close(theirs[key], tensor, atol=1e-4, rtol=1e-3)
    assert [line[0] for line in history(two)] == [line[0] for line in history(one)]
    assert {path.name for path in two.iterdir()} == {path.name for path in one.iterdir()}
