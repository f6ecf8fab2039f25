"""The loop on made-up pairs, through the command line; a tiny model learns them in some steps."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.checkpoint import CheckpointError
from training.classification import loop
from training.classification.__main__ import main
from training.classification.config import PairConfig
from training.classification.loop import train_classifier
from training.classification.storage import load_snapshot
from training.classification.trainer import PairTrainer

Make = Callable[..., PairConfig]
ROBUST: dict[str, dict[str, dict[str, Any]]] = {
    "fgm": {"adversarial": {"method": "fgm", "epsilon": 0.05}},
    "pgd": {"adversarial": {"method": "pgd", "epsilon": 0.05, "weight": 1.0}},
    "freelb": {"adversarial": {"method": "freelb", "epsilon": 0.3, "norm": "sequence"}},
    "rs-rp": {"smoothing": {"noise": "gaussian", "sigma": 0.3, "copies": 2, "weight": 1.0}},
    "rs-rp at states": {"smoothing": {"noise": "uniform", "at": "states"}},
    "fgm and rs-rp": {
        "adversarial": {"method": "fgm", "weight": 0.3},
        "smoothing": {"noise": "gaussian", "weight": 0.3},
    },
}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def best_of(folder: Path) -> float:
    best = load_snapshot(folder / "best").progress["best"]
    assert isinstance(best, float)
    return best


def equal(one: Path, other: Path) -> bool:
    ours, theirs = weights(one), weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_train_classifier_learns_and_keeps_the_best(config: Make, tmp_path: Path) -> None:
    assert train_classifier(config(), tmp_path, resume=False)
    last, best = load_snapshot(tmp_path), load_snapshot(tmp_path / "best")
    assert best_of(tmp_path) > 0.9
    assert last.progress["step"] == 3 * 256 / 16
    assert last.state
    assert not best.state
    figures = {k: v for k, v in last.run["metrics"].items() if k.startswith("accuracy at")}
    assert list(figures) == ["accuracy at 16", "accuracy at 32", "accuracy at 48"]
    assert max(figures.values()) == figures[f"accuracy at {best.progress['step']}"]
    assert last.run["data"]["eng_Latn"] == {"pairs": 48, "rows": 48, "skipped": {}}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [16, 32, 48]


@pytest.mark.parametrize("name", ROBUST)
def test_train_classifier_robust_losses_learn(config: Make, tmp_path: Path, name: str) -> None:
    assert train_classifier(config(**ROBUST[name]), tmp_path, resume=False)
    assert best_of(tmp_path) > 0.9
    metrics = load_snapshot(tmp_path).run["metrics"]
    assert ("relative_epsilon" in metrics) == ("adversarial" in ROBUST[name])
    assert ("relative_sigma" in metrics) == ("smoothing" in ROBUST[name])
    if name == "fgm":
        assert metrics["relative_epsilon"] == pytest.approx(0.05)


def test_train_classifier_twice_ends_with_the_same_weights(config: Make, tmp_path: Path) -> None:
    """Dropout and noise included; another seed ends elsewhere."""
    tables: dict[str, Any] = {
        "optim": {"epochs": 1},
        "encoder": {"dropout": 0.1},
        "smoothing": {"noise": "gaussian"},
    }
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        train_classifier(config(run={"seed": seed}, **tables), tmp_path / name, resume=False)
    assert equal(tmp_path / "one", tmp_path / "two")
    assert not equal(tmp_path / "one", tmp_path / "other")


def test_train_classifier_interrupted_and_resumed_ends_with_the_same_weights(
    config: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = config(encoder={"dropout": 0.1}, adversarial={"method": "freelb"}, optim={"epochs": 2})
    train_classifier(made, tmp_path / "whole", resume=False)
    real = PairTrainer.step

    def step(self: PairTrainer, batch: Any) -> float:
        if self.progress.step == 20:
            signal.raise_signal(signal.SIGINT)
        return real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(PairTrainer, "step", step)
        assert not train_classifier(made, tmp_path / "broken", resume=False)
    assert load_snapshot(tmp_path / "broken").progress["step"] == 21
    assert train_classifier(made, tmp_path / "broken", resume=True)
    assert equal(tmp_path / "broken", tmp_path / "whole")
    assert equal(tmp_path / "broken" / "best", tmp_path / "whole" / "best")


def test_train_classifier_does_not_overwrite_nor_resume_another_run(
    config: Make, tmp_path: Path
) -> None:
    made = config(optim={"epochs": 1})
    train_classifier(made, tmp_path, resume=False)
    with pytest.raises(CheckpointError, match="already holds a checkpoint"):
        train_classifier(made, tmp_path, resume=False)
    with pytest.raises(CheckpointError, match=r"another optim\.lr"):
        train_classifier(config(optim={"epochs": 1, "lr": 0.5}), tmp_path, resume=True)
    before = weights(tmp_path)
    assert train_classifier(made, tmp_path, resume=True)
    assert all(torch.equal(before[name], found) for name, found in weights(tmp_path).items())


def test_train_classifier_killed_before_its_first_save_starts_again(
    config: Make, tmp_path: Path
) -> None:
    made = config(optim={"epochs": 2})
    train_classifier(made, tmp_path / "whole", resume=False)
    train_classifier(made, tmp_path / "killed", resume=False)
    (tmp_path / "killed" / "manifest.json").unlink()  # the best alone is left
    with pytest.raises(CheckpointError, match="already holds a checkpoint"):
        train_classifier(made, tmp_path / "killed", resume=False)
    assert train_classifier(made, tmp_path / "killed", resume=True)
    assert equal(tmp_path / "killed", tmp_path / "whole")


def test_train_classifier_synonyms_carry_over_to_words_never_trained_on(
    config: Make, tmp_path: Path, other_words: Path
) -> None:
    """RS-DA: the development set has other words for the classes, which the lists tell."""
    lists = tmp_path / "neighbors.json"
    lists.write_text(json.dumps({"falls": ["drops"], "rises": ["climbs"]}))
    data = {"folder": str(other_words), "task": "pawsx"}
    plain = config(data=data)
    robust = config(
        data=data,
        augmentation={"dictionaries": (str(lists),), "copies": 2},
        optim={"epochs": 2},
    )
    train_classifier(plain, tmp_path / "plain", resume=False)
    train_classifier(robust, tmp_path / "robust", resume=False)
    assert best_of(tmp_path / "plain") < 0.7
    assert best_of(tmp_path / "robust") > 0.9
    assert load_snapshot(tmp_path / "robust").progress["step"] == 2 * 2 * 256 / 16


def test_dev_accuracy_is_the_mean_over_languages(config: Make, tmp_path: Path) -> None:
    languages = ("eng_Latn", "deu_Latn")
    made = config(data={"dev_languages": languages}, optim={"epochs": 1})
    train_classifier(made, tmp_path, resume=False)
    line = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])["metrics"]
    each = [line[lang] for lang in languages]
    assert line[loop.METRIC] == pytest.approx(sum(each) / 2)


def test_main_trains_from_a_file(
    pawsx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "unit.toml"
    path.write_text(
        f'[run]\nname = "unit"\nthreads = 1\n[data]\ntask = "pawsx"\nfolder = "{pawsx}"\n'
        "[encoder]\ndim = 8\nlayers = 1\nvocab_size = 256\nromanize = false\nmax_tokens = 24\n"
        "[optim]\nepochs = 1\n"
    )
    out = tmp_path / "out"
    assert main([str(path), "--out", str(out), "--set", "batches.pairs=64"]) == 0
    assert f"checkpoint: {out}" in capsys.readouterr().out
    assert load_snapshot(out).progress["step"] == 4
    assert main([str(path), "--out", str(out)]) == 2
    assert "error: " in capsys.readouterr().err
    assert main([str(path), "--out", str(out / "new"), "--set", "data.folder=absent"]) == 2
    assert "absent has no train set" in capsys.readouterr().err


def test_main_several_processes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main([str(tmp_path / "unit.toml")]) == 2
    assert "got 2 processes" in capsys.readouterr().err
