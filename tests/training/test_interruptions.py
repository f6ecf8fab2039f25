"""Runs that are interrupted: real signals to real processes, and disks that are full."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from training.checkpoint import BEST, load_checkpoint
from training.logs import LOG
from training.summary import SUMMARY

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


@pytest.fixture
def teacher(data: Path, tmp_path: Path) -> Path:
    """A folder of a tiny encoder of 16 dimensions that knows the words of the English texts."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel

    path = tmp_path / "teacher"
    texts = pq.read_table(data / "bitext" / "nllb-seed.parquet")["text_a"].to_pylist()
    words = ["[PAD]", "[UNK]", *sorted({word for text in texts for word in text.split()})]
    layout = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    BertModel(layout, add_pooling_layer=False).save_pretrained(path)
    numbers = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(words[:2])
    tokenizer.save(str(path / "tokenizer.json"))
    return path


@pytest.mark.parametrize("kind", SHAPES)
def test_main_killed_while_distilling_ends_bit_identical(
    launcher: Any, data: Path, tmp_path: Path, toml: str, teacher: Path, kind: str
) -> None:
    """Of vectors and of token states, in chunks, with noise that is drawn."""
    keys = ["cross_probability=0.8", "chunk=6"]
    settings = [f"batches.{key}" for key in keys]
    settings += [f"distillation.{key}" for key in ("pooled=1", "transport=2", "transport_pairs=5")]
    settings += [f"distillation.teacher={teacher}", "adversarial.method=freelb"]
    settings += ["smoothing.noise=uniform", "smoothing.weight=0.2", "run.log_every=1"]
    arguments = [toml, *SHAPES[kind], *(part for key in settings for part in ("--set", key))]
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    assert launcher.start(*arguments, "--out", str(whole), data=data).wait() == 0
    parts = json.loads((whole / LOG).read_text().splitlines()[0])["parts"]
    assert {"loss_pooled", "loss_transport", "loss_adversarial", "loss_smoothing"} <= set(parts)
    arguments += ["--out", str(broken), "--resume"]
    assert launcher.start(*arguments, data=data, die_at=16).wait() == -signal.SIGKILL
    started = launcher.start(*arguments, data=data)
    wait_for_a_line(broken)
    assert started.kill(signal.SIGKILL) == -signal.SIGKILL
    assert launcher.start(*arguments, data=data).wait() == 0
    assert weights(broken) == weights(whole)
    assert history(broken) == history(whole)
