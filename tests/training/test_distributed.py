"""Two processes that share a batch, as torchrun starts them, against one that has it whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training import distributed
from training.config import ConfigError

ROOT = Path(__file__).parents[2]
CASES = ("static", "transformer", "static, drawn", "transformer, drawn")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("processes")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("stepping.py")), str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / name, weights_only=False) for name in ("one", "two-0", "two-1")]


@pytest.mark.parametrize("kind", CASES)
def test_two_processes_make_the_steps_of_one(kind: str, recorded: list[dict[str, Any]]) -> None:
    one, *two = recorded
    for other in two:
        for step in range(2):
            parts, expected = other[f"{kind} {step}"], one[f"{kind} {step}"]
            assert parts.keys() == expected.keys()
            assert ("loss_smoothing" if "drawn" in kind else "loss_self_teaching") in parts
            assert parts == pytest.approx(expected, rel=1e-4)
        for name, tensor in one[kind].items():
            assert torch.allclose(tensor, other[kind][name], atol=1e-5), name


@pytest.mark.parametrize("kind", CASES)
def test_two_processes_hold_the_same_bits(kind: str, recorded: list[dict[str, Any]]) -> None:
    _, left, right = recorded
    for name, tensor in left[kind].items():
        assert torch.equal(tensor, right[kind][name]), name


def test_processes_share_the_encoding_of_what_is_mined(recorded: list[dict[str, Any]]) -> None:
    one, *two = ([torch.from_numpy(rows) for rows in found["encoded"]] for found in recorded)
    assert [rows.shape for rows in one] == [(7, 16), (2, 16), (1, 16)]
    for other in two:
        for mine, expected in zip(other, one, strict=True):
            assert torch.allclose(mine, expected, atol=1e-6)


def test_processes_know_their_place(recorded: list[dict[str, Any]]) -> None:
    assert [found["main"] for found in recorded] == [True, True, False]
    assert [found["any"] for found in recorded] == [False, True, True]


def test_choose_device_without_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.choose_device("auto") == torch.device("cpu")
    assert distributed.choose_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"run\.device = 'cuda'.* no CUDA device"):
        distributed.choose_device("cuda")


def test_choose_device_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert distributed.choose_device("auto") == torch.device("cuda", 1)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 2 of this machine, which has 2 CUDA"):
        distributed.choose_device("cuda")
