import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from training.checkpoint import CheckpointError
from training.classification.config import PairConfig
from training.classification.evaluate import main, open_classifier
from training.classification.loop import train_classifier
from training.classification.pairs import read_pairs
from training.classification.tasks import PAWSX

LANGS = ["eng_Latn", "deu_Latn"]


@pytest.fixture(scope="module")
def runs(config: Callable[..., PairConfig], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs that differ by their seeds, and one that has learned less."""
    folder = tmp_path_factory.mktemp("runs")
    changes = ({"run": {"seed": 1}}, {"run": {"seed": 2}}, {"optim": {"epochs": 1, "lr": 1e-5}})
    for number, tables in enumerate(changes):
        train_classifier(config(**tables), folder / str(number), resume=False)
    return [folder / str(number) for number in range(3)]


def test_main_measures_both_settings_and_compares(
    runs: list[Path], pawsx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    arguments = [*map(str, runs[:2]), "--against", str(runs[2]), "--data", str(pawsx)]
    assert main([*arguments, "--languages", *LANGS, "--json", str(out)]) == 0
    report = json.loads(out.read_text())
    assert report["checkpoints"] == [str(run / "best") for run in runs[:2]]
    assert (report["seeds"], report["split"]) == ([1, 2], "test")
    assert set(report["generalized"]["cells"]) == {f"{a} {b}" for a in LANGS for b in LANGS}
    for lang in LANGS:
        cell = report["standard"]["cells"][f"{lang} {lang}"]
        assert cell == report["generalized"]["cells"][f"{lang} {lang}"]
        assert cell["n"] == 48
    english = report["standard"]["cells"]["eng_Latn eng_Latn"]["accuracy"]
    assert english > 0.9
    # German second sentences have words that were never seen.
    assert report["standard"]["cells"]["deu_Latn deu_Latn"]["accuracy"] < english
    assert report["standard"]["drop"]["value"] > 0
    gain = report["standard"]["difference"]["cells"]["eng_Latn eng_Latn"]
    assert gain["value"] > 0.2
    assert gain["low"] > 0
    assert "first \\ second" in capsys.readouterr().out


def test_open_classifier_says_what_the_run_measured(runs: list[Path], pawsx: Path) -> None:
    opened = open_classifier(runs[0], "cpu")
    assert (opened.folder, opened.seed, opened.task) == (runs[0] / "best", 1, PAWSX)
    dev = read_pairs(PAWSX, pawsx, "dev", ["eng_Latn"])["eng_Latn"]
    accuracy = float(np.mean(opened.classify(dev.first, dev.second) == dev.labels))
    log = (runs[0] / "log.jsonl").read_text().splitlines()
    assert accuracy == max(json.loads(line)["metrics"].get("accuracy", 0.0) for line in log)
    alone = opened.classify(dev.first[:1], dev.second[:1])
    assert alone[0] == opened.classify(dev.first, dev.second)[0]


def test_main_standard_only_and_what_is_missing(
    runs: list[Path], pawsx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(runs[0]), "--data", str(pawsx), "--standard-only", "--languages"]
    assert main([*arguments, *LANGS, "--split", "dev"]) == 0
    assert "generalized" not in capsys.readouterr().out
    assert main([*arguments, "kor_Hang"]) == 2
    assert "has no test set of pawsx in kor_Hang" in capsys.readouterr().err
    assert main([str(tmp_path / "absent"), "--data", str(pawsx)]) == 2
    assert "no checkpoint at" in capsys.readouterr().err


def test_open_classifier_changed_checkpoint_is_refused(runs: list[Path], tmp_path: Path) -> None:
    copied = shutil.copytree(runs[0], tmp_path / "copied")
    (copied / "best" / "model.safetensors").write_bytes(b"changed")
    with pytest.raises(CheckpointError, match="missing or was changed"):
        open_classifier(copied, "cpu")


def test_main_runs_of_two_tasks_are_refused(
    runs: list[Path],
    config: Callable[..., PairConfig],
    xnli: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """XNLI from training to the matrix, and not beside a classifier of PAWS-X."""
    made = config(data={"task": "xnli", "folder": str(xnli)}, optim={"epochs": 1})
    train_classifier(made, tmp_path / "run", resume=False)
    arguments = [str(tmp_path / "run"), "--data", str(xnli), "--languages", *LANGS]
    assert main(arguments) == 0
    assert "generalized, mean of 4: " in capsys.readouterr().out
    assert main([*arguments, "--against", str(runs[0])]) == 2
    assert "got classifiers of pawsx, xnli" in capsys.readouterr().err
