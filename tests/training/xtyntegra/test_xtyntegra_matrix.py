"""The matrix end to end on invented languages: made, killed, resumed, listed, summed up."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.config import ConfigError
from training.xtyntegra.matrix_plan import load_grid, runs_of, scoring_of
from training.xtyntegra.matrix_runs import is_done, read_result

from .small_matrix import FILES, run_main, write_grid


@pytest.fixture(scope="module")
def grid_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_grid(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def made(grid_path: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of the static arm but the last seed, and one transformer."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TYNTEGRA_DATA", str(data))
        for only in ("static-*", "small-*-s0"):
            assert run_main(grid_path, folder, "--only", only) == 0
    return folder


def summary_of(grid_path: Path, folder: Path, tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "summary.json"
    assert run_main(grid_path, folder, "--summary", str(path)) == 0
    return json.loads(path.read_text(encoding="utf-8"))


def test_load_grid_arm_with_unknown_method_is_refused(grid_path: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "grid.toml"
    text = FILES["grid.toml"].replace('methods = ["plain", "fgm"]', 'methods = ["pgd"]')
    wrong.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match="the arm static names pgd: expected batchings"):
        load_grid(wrong)


def test_load_grid_run_named_twice_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "grid.toml"
    wrong.write_text(FILES["grid.toml"].replace('"cross", "hybrid"', '"cross", "cross"'), "utf-8")
    with pytest.raises(ConfigError, match=r"static-cross-plain-s0.* would be run twice"):
        load_grid(wrong)


def test_scoring_of_arm_with_keys_of_its_own_has_these_alone(grid_path: Path) -> None:
    grid = load_grid(grid_path)
    assert scoring_of(grid, "static").languages == ("fra_Latn", "swh_Latn", "rus_Cyrl")
    assert scoring_of(grid, "small").languages == ("fra_Latn",)


def test_main_run_leaves_result_and_outcomes_and_no_weights(made: Path) -> None:
    place = made / "static-hybrid-fgm-s1"
    assert sorted(path.name for path in place.iterdir()) == ["outcomes.npz", "result.json"]
    result = json.loads((place / "result.json").read_text(encoding="utf-8"))
    assert result["config"]["adversarial"]["method"] == "fgm"
    assert result["languages"] == ["fra_Latn", "swh_Latn", "rus_Cyrl"]


def test_main_all_runs_are_asked_the_same_perturbed_texts(made: Path) -> None:
    hashes = [
        json.loads(path.read_text(encoding="utf-8"))["perturbed"]
        for path in made.glob("static-*/result.json")
    ]
    assert len(hashes) == 8
    assert all(one == hashes[0] for one in hashes)
    assert set(hashes[0]) == {"typo@1", "word_deletion@2"}


def test_main_outcomes_have_the_shapes_of_the_exam(grid_path: Path, made: Path) -> None:
    run = next(r for r in runs_of(load_grid(grid_path)) if r.name == "static-cross-plain-s0")
    _, read = read_result(made, run)
    found: dict[str, Any] = dict(read)
    assert found["clean"].shape == (3, 20)
    assert found["attack:typo@1"].shape == found["applicable:typo@1"].shape == (3, 4, 2)
    assert found["applicable:typo@1"].all()
    assert found["white:0.1"].shape == (3, 3)
    assert found["between"].shape == (2, 2, 20)
    assert found["pooled:distance"].shape == (3, 5)
    assert (found["clean"] >= 1).all()
    assert (found["pooled:distance"] >= 2).all()  # three translations stand on three ranks
    clean = found["clean"][:, :3] == 1
    assert (found["white:0.1"] <= clean).all()
    assert (found["white:5"] <= found["white:0.1"]).all()


def test_main_finished_run_is_not_made_again(
    grid_path: Path, made: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    result = made / "static-cross-plain-s0" / "result.json"
    before = result.stat().st_mtime_ns
    assert run_main(grid_path, made, "--only", "static-cross-plain-s0") == 0
    assert result.stat().st_mtime_ns == before


def test_main_run_killed_before_its_result_is_made_again_and_alike(
    grid_path: Path, made: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_DATA", str(data))
    run = next(r for r in runs_of(load_grid(grid_path)) if r.name == "static-cross-fgm-s0")
    _, before = read_result(made, run)
    (made / run.name / "result.json").unlink()
    (made / run.name / "outcomes.npz").write_bytes(b"half")
    assert not is_done(made, run)
    assert run_main(grid_path, made, "--only", run.name) == 0
    _, after = read_result(made, run)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_main_status_lists_cells_and_what_is_left(
    grid_path: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(grid_path, made, "--status") == 0
    text = capsys.readouterr().out
    assert "static-hybrid-fgm    xx" in text
    assert "small-cross-plain    x-" in text
    assert "9 of 10 runs are done" in text
    assert "1 left, some" in text


def test_main_summary_names_figures_differences_and_what_is_not_done(
    grid_path: Path, made: Path, tmp_path: Path
) -> None:
    summary = summary_of(grid_path, made, tmp_path)
    assert summary["not_done"] == ["small-cross-plain-s1"]
    static = summary["arms"]["static"]
    assert set(static["cells"]) == {"cross-plain", "cross-fgm", "hybrid-plain", "hybrid-fgm"}
    clean = static["cells"]["cross-plain"]["figures"]["all"]["clean"]
    each = [r["clean"] for r in static["runs"] if r["name"].startswith("static-cross-plain")]
    assert clean[0] == pytest.approx(np.mean(each), abs=1e-3)
    assert clean[1] <= clean[0] <= clean[2]
    named = {(one["first"], one["second"]) for one in static["contrasts"]}
    assert named == {
        ("cross-plain", "cross-fgm"),
        ("cross-plain", "hybrid-plain"),
        ("cross-plain", "hybrid-fgm"),
        ("cross-fgm", "hybrid-fgm"),
        ("hybrid-plain", "hybrid-fgm"),
    }
    rows = [row for one in static["contrasts"] for row in one["rows"]]
    assert all(0 < row[-2] <= row[-1] + 1e-4 for row in rows)  # adjusted is never below raw
    assert {row[0] for row in rows} == {"all", "seen", "unseen"}


def test_main_summary_difference_is_that_of_the_cells(
    grid_path: Path, made: Path, tmp_path: Path
) -> None:
    static = summary_of(grid_path, made, tmp_path)["arms"]["static"]
    contrast = next(one for one in static["contrasts"] if one["second"] == "hybrid-fgm")
    row = next(row for row in contrast["rows"] if row[:2] == ["all", "clean"])
    sides = [
        static["cells"][contrast[k]]["figures"]["all"]["clean"][0] for k in ("first", "second")
    ]
    assert row[2] == pytest.approx(sides[1] - sides[0], abs=2e-4)


def test_main_summary_without_runs_is_refused(
    grid_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(grid_path, tmp_path, "--summary", str(tmp_path / "x.json")) == 2
    assert "no run in" in capsys.readouterr().err


def test_main_folder_of_a_living_process_is_refused(
    grid_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = {"run": "static-cross-plain-s0", "pid": os.getppid(), "began": 0}
    (tmp_path / "current.json").write_text(json.dumps(note), encoding="utf-8")
    assert run_main(grid_path, tmp_path) == 2
    assert f"process {os.getppid()} makes static-cross-plain-s0" in capsys.readouterr().err


def test_main_pattern_without_runs_is_refused(
    grid_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(grid_path, tmp_path, "--only", "dynamic-*") == 2
    assert "--only dynamic-* names none of the runs" in capsys.readouterr().err
