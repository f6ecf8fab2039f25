import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import app.cli
from app.robustness.binomial import mcnemar
from app.robustness.bootstrap import difference
from app.robustness.multiplicity import adjust_p_values
from training.xtyntegra.command import main
from training.xtyntegra.compare import compare, write_comparison
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.outline import outline_of_comparison
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.result import read_run
from training.xtyntegra.run import run_benchmark

from .small_runs import LANGS, PLAN, request_for, save_encoder, write_data


@dataclass(frozen=True)
class Runs:
    """A good and a bad encoder's runs, and their comparison."""

    root: Path
    good: Path
    bad: Path
    found: dict


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    root = tmp_path_factory.mktemp("compare")
    write_data(root / "data")
    for name, dim in (("good", 32), ("bad", 2)):
        encoder = save_encoder(root / f"{name}-encoder", dim)
        run_benchmark(request_for(root, encoder, name), lambda _: None)
    found = write_comparison([root / "bad", root / "good"], root / "out")
    return Runs(root, root / "good", root / "bad", found)


def test_compare_tests_each_language_by_its_discordant_queries(runs: Runs) -> None:
    pair = runs.found["pairs"][0]
    clean = [
        cell
        for cell in pair["cells"]
        if (cell["setting"], cell["condition"]) == ("to-english", "clean")
    ]
    assert len(clean) == len(LANGS)
    with read_run(runs.bad) as first, read_run(runs.good) as second:
        for cell in clean:
            before = first.queries.ranks(cell["cell"]) == 1
            after = second.queries.ranks(cell["cell"]) == 1
            assert cell["only_baseline"] == (before & ~after).sum()
            assert cell["only_other"] == (after & ~before).sum()
            assert cell["difference"] == pytest.approx(after.mean() - before.mean())
            assert cell["p_value"] == mcnemar(cell["only_other"], cell["only_baseline"])
    adjusted = adjust_p_values([cell["p_value"] for cell in clean])
    np.testing.assert_allclose([cell["q_value"] for cell in clean], adjusted)
    assert max(adjusted) < 0.05


def test_compare_draws_sentences_for_all_languages_at_once(runs: Runs) -> None:
    pair = runs.found["pairs"][0]
    one = next(
        one
        for one in pair["summary"]
        if (one["setting"], one["condition"], one["track"], one["metric"])
        == ("to-english", "clean", "all", "mrr")
    )
    cells = [c["cell"] for c in pair["cells"] if c["setting"] == "to-english"]
    sides: list[list[float]] = [[], []]
    ids: list[str] = []
    with read_run(runs.bad) as first, read_run(runs.good) as second:
        for cell in dict.fromkeys(cells):
            ids += first.queries.ids(cell).tolist()
            for side, run in zip(sides, (first, second), strict=True):
                side += run.queries.values(cell)["mrr"].tolist()
    drawn = difference(sides[0], sides[1], ids)
    assert one["difference"] == pytest.approx(drawn.value)
    assert (one["low"], one["high"]) == pytest.approx((drawn.low, drawn.high))
    assert one["p_value"] == drawn.p_value
    assert one["other"] - one["baseline"] == pytest.approx(one["difference"])


def test_compare_under_attack_counts_queries_that_every_draw_leaves_right(runs: Runs) -> None:
    cell = next(c for c in runs.found["pairs"][0]["cells"] if c["condition"] == "typo/edits=2")
    rights = []
    for folder in (runs.bad, runs.good):
        with read_run(folder) as run:
            draws = [
                run.queries.ranks(cell["cell"], f"typo/edits=2/draw={draw}") for draw in (0, 1)
            ]
            rights.append((np.stack(draws) == 1).all(axis=0))
    assert cell["queries"] == 12
    assert (cell["baseline"], cell["other"]) == (rights[0].mean(), rights[1].mean())


def test_compare_of_a_run_with_itself_finds_nothing(runs: Runs) -> None:
    with read_run(runs.good) as first, read_run(runs.good) as second:
        found = compare([first, second])
    pair = found["pairs"][0]
    assert {one["difference"] for one in pair["summary"]} == {0.0}
    assert {cell["q_value"] for cell in pair["cells"]} == {1.0}
    assert found["left_out"] == []


def test_compare_swapped_turns_differences_around(runs: Runs) -> None:
    swapped = write_comparison([runs.good, runs.bad], None)
    for here, there in zip(
        runs.found["pairs"][0]["cells"], swapped["pairs"][0]["cells"], strict=True
    ):
        assert here["difference"] == pytest.approx(-there["difference"])
        assert here["p_value"] == there["p_value"]


def test_compare_leaves_out_what_one_run_lacks_and_says_so(runs: Runs) -> None:
    encoder = runs.root / "good-encoder"
    request = replace(request_for(runs.root, encoder, "fewer", None), languages=LANGS[:2])
    run_benchmark(request, lambda _: None)
    found = write_comparison([runs.good, request.out], None)
    told = {(one["what"], one["why"]) for one in found["left_out"]}
    why = f"only in {runs.good}"
    assert ("clean of 1 cells of flores200/to-english", why) in told
    assert ("typo/edits=1 of 2 cells of flores200/to-english", why) in told
    assert "left out" in outline_of_comparison(found)


@pytest.mark.parametrize("change", [{"draws": 1}, {"seed": 1}])
def test_compare_leaves_out_attacks_that_were_drawn_otherwise(
    runs: Runs, change: dict[str, int]
) -> None:
    encoder, name = runs.root / "good-encoder", f"drawn {change}"
    request = request_for(runs.root, encoder, name, replace(PLAN, **change))
    drawing = Drawing(seed=change.get("seed", 0))
    run_benchmark(replace(request, drawing=drawing), lambda _: None)
    found = write_comparison([runs.good, request.out], None)
    assert {one["condition"] for one in found["pairs"][0]["summary"]} == {"clean"}
    whys = {one["why"] for one in found["left_out"]}
    assert whys == {f"drawn otherwise (draws or seed) in {request.out}"}


def test_compare_of_runs_on_other_data_is_refused(runs: Runs, tmp_path: Path) -> None:
    write_data(tmp_path / "data", seed=1)
    request = request_for(tmp_path, runs.root / "good-encoder", "other")
    run_benchmark(request, lambda _: None)
    with pytest.raises(BenchmarkError, match="asked different queries or documents in flores200"):
        write_comparison([runs.good, request.out], None)


def test_compare_of_other_samples_is_refused(runs: Runs) -> None:
    plan = replace(PLAN, queries=10)
    request = request_for(runs.root, runs.root / "good-encoder", "ten", plan)
    run_benchmark(request, lambda _: None)
    with pytest.raises(BenchmarkError, match="attacked different queries"):
        write_comparison([runs.good, request.out], None)


def test_write_comparison_writes_json_and_a_page(runs: Runs) -> None:
    written = json.loads((runs.root / "out" / "comparison.json").read_bytes())
    assert written == runs.found
    assert "<html" in (runs.root / "out" / "comparison.html").read_text()


def test_command_runs_compares_and_prints_the_figures(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source, data = str(runs.root / "good-encoder"), str(runs.root / "data")
    chosen = ["--data", data, "--tasks", "flores200/to-english", "--languages", ",".join(LANGS)]
    attacks = ["--attacks", "typo", "--edits", "1", "--draws", "1", "--queries", "5"]
    arguments = ["bench", "xtyntegra", source, "--out", "run", "--name", "N1", *chosen, *attacks]
    assert app.cli.main([*arguments, "--no-white-box"]) == 0
    shown = capsys.readouterr()
    result = json.loads(Path("run/result.json").read_text())
    macro = result["summary"][0]["metrics"]["accuracy@1"]["macro"]
    assert f"{macro:.4f}" in shown.out
    assert "typo/edits=1" in shown.out
    assert "clean: flores200/to-english done" in shown.err
    assert Path("perturbed").is_dir()
    assert app.cli.main(["bench", "compare", "run", "run", "--out", "out"]) == 0
    assert "N1 less N1" in capsys.readouterr().out
    assert Path("out/comparison.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["xtyntegra", "nowhere", "--out", "x"], "no such folder"),
        (["xtyntegra", "ENCODER", "--out", "x", "--tasks", "flores"], "unknown task 'flores'"),
        (["xtyntegra", "ENCODER", "--out", "x", "--attacks", "typos"], "'typos'"),
        (["xtyntegra", "ENCODER", "--out", "x", "--languages", "xxx_Latn"], "xxx_Latn"),
        (["xtyntegra", "ENCODER", "--out", "x", "--precision", "int8"], "--precision"),
        (["compare", "nowhere", "x"], "no result.json"),
        (["compare", "nowhere"], "got one run"),
        (["compare", "a", "b", "--q", "2"], "got q 2"),
    ],
)
def test_command_that_cannot_be_done_says_why_in_one_line(
    runs: Runs,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TYNTEGRA_DATA", str(runs.root / "data"))
    (runs.root / "data" / "bitext").mkdir(exist_ok=True)
    encoder = str(runs.root / "good-encoder")
    tasks = ["--tasks", "flores200"] if "xtyntegra" in arguments[:1] else []
    given = [encoder if one == "ENCODER" else one for one in arguments]
    assert main([given[0], *given[1:2], *tasks, *given[2:]]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("tyntegra bench: ")
    assert said in error
    assert not Path("x").exists()


def test_benchmark_of_an_artifact_imports_no_torch() -> None:
    code = (
        "import sys, training.xtyntegra.command\n"
        "print(*sorted({'torch', 'transformers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
