"""The command line: one line for each error, and its exit status."""

import math
from pathlib import Path
from typing import Any

import pytest

from training.__main__ import main
from training.config import TrainConfig

TINY = str(Path(__file__).parents[2] / "training" / "configs" / "tiny.toml")


@pytest.fixture
def toml(tmp_path: Path) -> str:
    path = tmp_path / "unit.toml"
    path.write_text(
        '[run]\nname = "unit"\nthreads = 1\n[tokenizer]\nvocab_size = 400\n'
        "sample_characters = 20000\nromanize = false\n"
        '[encoder]\nkind = "static"\ndim = 16\nmax_tokens = 32\n'
        "[corpora]\nweights = { nllb-seed = 1.0, wikipedia-app = 0.5 }\n"
        "[batches]\npairs = 16\n[optim]\nsteps = 8\nlr = 0.01\n"
    )
    return str(path)


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    return found.err


def test_main_without_corpora_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(tmp_path / "nowhere"))
    out = tmp_path / "out"
    assert "no corpora at " in error_of(capsys, TINY, "--out", str(out))
    assert not out.exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("run.metric=tatoeba", "only for reporting"),
        ("run.metric=loss", "run.metric needs run.evaluate_every"),
        ("run.held_out=held.parquet", "need one another"),
        ("run.patience=3", "run.patience needs run.evaluate_every"),
        ("run.device=tpu", "run.device"),
        ("optim.schedule=step", "optim.schedule"),
        ("optim.learning_rate=1", "optim.learning_rate"),
        ("lr=1", "expected table.key=value"),
    ],
)
def test_main_unusable_configuration_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], toml: str, override: str, message: str
) -> None:
    assert message in error_of(capsys, toml, "--out", str(tmp_path / "out"), "--set", override)


def test_main_unknown_language_of_the_metric_is_refused_before_training(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    settings = ("--set", "run.evaluate_every=2", "--set", "run.metric=flores200-dev:yor_Latn")
    assert main([toml, "--out", str(tmp_path / "out"), *settings]) == 2
    assert "flores200-dev has no language yor_Latn" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_main_shippable_run_refuses_a_corpus_by_its_licence(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    settings = ("--set", "corpora.shippable=true", "--set", "corpora.weights.lafand-mt=1")
    assert "lafand-mt (CC BY-NC 4.0)" in error_of(
        capsys, toml, "--out", str(tmp_path / "out"), *settings
    )


def test_main_folder_that_is_a_file_is_said_in_one_line(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    (tmp_path / "out").write_text("")
    assert str(tmp_path / "out") in error_of(capsys, toml, "--out", str(tmp_path / "out"))


@pytest.mark.parametrize(("rate", "message"), [(math.inf, "left numbers"), (1e30, "got loss")])
def test_main_numbers_that_are_none_keep_the_checkpoint(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
    rate: float,
    message: str,
) -> None:
    """A rate that no configuration allows ends a run at its save, or at the loss after it."""
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    monkeypatch.setattr("training.loop.learning_rate", lambda _, step: 1e-3 if step < 3 else rate)
    out = tmp_path / "out"
    settings = ("--set", "optim.steps=50", "--set", "run.save_every=1")
    kinds = ("--set", "encoder.kind=transformer", "--set", "adversarial.method=none")
    assert main([toml, "--out", str(out), *settings, *kinds]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: step ")
    assert message in last
    assert "finite" in last
    from training.checkpoint import load_checkpoint

    kept = load_checkpoint(out)
    assert kept.progress["step"] >= 3
    assert all(bool(tensor.isfinite().all()) for tensor in kept.weights.values())
    if rate == math.inf:
        assert kept.progress["step"] == 3


def test_main_dry_run_tells_batches_and_memory_and_writes_nothing(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    monkeypatch.chdir(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in (*tmp_path.rglob("*"), *data.rglob("*"))}
    assert main([toml, "--dry-run", "--set", "batches.cross_probability=1"]) == 0
    text = capsys.readouterr().out
    for part in (
        "unit: 8 steps of 16 pairs; static encoder of 6,400 parameters",
        "270 pairs of 360 texts in 4 languages",
        "cross-lingual 100.0%",
        "skipped rows  none",
        "epochs in 8 steps, that is how often each pair is drawn:\n  cross-lingual batches\n",
        "memory at its peak, estimated (fp32):",
        "optimizer 51.2 kB",
        "nothing was trained and nothing written",
    ):
        assert part in text, text
    assert {p: p.stat().st_mtime_ns for p in (*tmp_path.rglob("*"), *data.rglob("*"))} == files


def test_main_dry_run_of_a_run_that_mines_counts_its_negatives(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toml: str
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    mining = ("--set", "batches.hard_negatives=3", "--set", "batches.mine_every=4")
    assert main([toml, "--dry-run", *mining, "--set", "batches.cross_probability=1"]) == 0
    text = capsys.readouterr().out
    assert "3 hard ones a query; texts drawn at random stand for those to be mined" in text


@pytest.mark.parametrize(
    "arguments", [[], ["--dry-run"], [TINY, "--dry-run", "--resume"], [TINY, "--fast"]]
)
def test_main_wrong_usage_exits_with_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_main_help_shows_examples_and_exit_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        main(["--help"])
    assert info.value.code == 0
    text = capsys.readouterr().out
    for part in ("--dry-run", "--resume", "training/configs/tiny.toml", "130 or 143", "log.jsonl"):
        assert part in text


def test_main_interrupted_before_the_first_step_exits_with_130(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    toml: str,
) -> None:
    def interrupted(config: TrainConfig, folder: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("training.__main__.train", interrupted)
    assert main([toml, "--out", str(tmp_path / "out")]) == 130
    assert capsys.readouterr().err.count("\n") == 1
