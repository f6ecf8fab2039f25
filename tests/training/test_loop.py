"""The loop with a data folder of its own; interrupts are real signals to a real process."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from training.checkpoint import CheckpointError, load_checkpoint, recover
from training.config import OptimSection, TrainConfig
from training.loop import learning_rate, train

ROOT = Path(__file__).parents[2]
STEPS = 80
SHAPES = {
    "static": ["encoder.kind=static"],
    "transformer": ["encoder.kind=transformer", "encoder.heads=2", "optim.lr=1e-3"],
}
TOML = """
[run]
name = "unit"
threads = 1
save_every = 4
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
steps = 80
lr = 0.01
ema = 0.9
"""


def command(tmp_path: Path, out: str, *extra: str) -> list[str]:
    path = tmp_path / "unit.toml"
    path.write_text(TOML)
    return [sys.executable, "-m", "training", str(path), "--out", str(tmp_path / out), *extra]


def environment(data: Path) -> dict[str, str]:
    return {**os.environ, "TYNTEGRA_DATA": str(data), "OMP_NUM_THREADS": "1"}


def run(data: Path, tmp_path: Path, out: str, *extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(tmp_path, out, *extra),
        cwd=ROOT,
        env=environment(data),
        capture_output=True,
        text=True,
        timeout=300,
    )


def interrupt(data: Path, tmp_path: Path, out: str, number: int, *extra: str) -> int:
    """Start a run that would go on for long, and send the signal once it has saved."""
    with subprocess.Popen(
        command(tmp_path, out, *extra),
        cwd=ROOT,
        env=environment(data),
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            manifest = tmp_path / out / "manifest.json"
            deadline = time.monotonic() + 200
            while not manifest.exists():
                assert process.poll() is None, "the run ended before it was interrupted"
                assert time.monotonic() < deadline, "no checkpoint within 200 s"
                time.sleep(0.02)
            process.send_signal(number)
            return process.wait(timeout=60)
        finally:
            process.kill()


def weights(folder: Path) -> dict[str, bytes]:
    return {
        name: tensor.numpy().tobytes()
        for name, tensor in load_file(folder / "model.safetensors").items()
    }


def steps_of(folder: Path) -> int:
    return int(load_checkpoint(folder).progress["step"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_train_interrupted_and_resumed_ends_bit_identical(
    data: Path, tmp_path: Path, kind: str, number: int, status: int
) -> None:
    extra = [part for value in SHAPES[kind] for part in ("--set", value)]
    assert interrupt(data, tmp_path, "broken", number, *extra) == status
    recover(tmp_path / "broken")
    assert 0 < steps_of(tmp_path / "broken") < STEPS
    for out in ("broken", "whole"):
        done = run(data, tmp_path, out, *extra, "--resume")
        assert done.returncode == 0, done.stderr
        assert steps_of(tmp_path / out) == STEPS
    assert weights(tmp_path / "broken") == weights(tmp_path / "whole")


@pytest.mark.parametrize("kind", SHAPES)
def test_train_lowers_the_loss_and_records_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainConfig, kind: str
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    tree = config.model_dump()
    tree["encoder"] |= {"kind": kind, "heads": 2}
    tree["optim"] |= {"steps": 60, "lr": 0.05 if kind == "static" else 0.01}
    tree["run"] |= {"evaluate_every": 60}
    tree["loss"] |= {"temperature": 0.1}
    tree["adversarial"] |= {"method": "fgm"}
    tree["batches"] |= {"pairs": 32, "cross_probability": 0.9}
    assert train(TrainConfig.model_validate(tree), tmp_path, resume=False)
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


def test_train_over_a_checkpoint_needs_resume(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: TrainConfig
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    assert train(config, tmp_path, resume=False)
    before = weights(tmp_path)
    with pytest.raises(CheckpointError, match="--resume"):
        train(config, tmp_path, resume=False)
    tree = config.model_dump()
    tree["optim"]["lr"] = 0.5
    with pytest.raises(CheckpointError, match=r"another optim\.lr"):
        train(TrainConfig.model_validate(tree), tmp_path, resume=True)
    assert train(config, tmp_path, resume=True)  # it is done already
    assert weights(tmp_path) == before


def test_main_without_corpora_says_so_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", tmp_path, "out")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no corpora at ")
    assert done.stderr.count("\n") == 1


def test_main_shippable_run_refuses_a_corpus_by_its_licence(data: Path, tmp_path: Path) -> None:
    extra = ["--set", "corpora.shippable=true", "--set", "corpora.weights.lafand-mt=1"]
    done = run(data, tmp_path, "out", *extra)
    assert done.returncode == 2
    assert "lafand-mt (CC BY-NC 4.0)" in done.stderr


def test_learning_rate_rises_then_falls_to_its_floor() -> None:
    optim = OptimSection(steps=100, lr=1.0, warmup=9)
    rates = [learning_rate(optim, step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(max(rates))
    assert all(left > right for left, right in itertools.pairwise(rates[9:]))
    assert rates[100] == pytest.approx(0.02)
