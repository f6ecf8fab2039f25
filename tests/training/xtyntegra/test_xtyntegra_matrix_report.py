"""REPORT.md: its tables and quoted figures are those of the matrix's JSON, and stay so."""

import json
from pathlib import Path
from typing import Any

import pytest

from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.matrix_blocks import BLOCKS
from training.xtyntegra.matrix_report import REPORT, SUMMARY, fill, loose_figures, main, quoted


def cell(clean: float) -> dict[str, Any]:
    measures = {
        "clean": [clean, clean - 0.02, clean + 0.02, 0.001],
        "before": [0.5, 0.4, 0.6, 0.0],
        "attacked": [0.4, 0.3, 0.5, 0.0],
        "attack:typo@3": [0.35, 0.3, 0.4, 0.0],
        "success": [0.1234, 0.1, 0.15, 0.0],
        "white:0": [0.6, 0.5, 0.7, 0.0],
        "white:0.05": [0.3, 0.2, 0.4, 0.0],
        "white:0.1": [0.2, 0.1, 0.3, 0.0],
        "between": [1.0, 1.0, 1.0, 0.0],
        "pooled:distance": [2095.6, 1974.2, 2207.4, 3.0],
    }
    groups = ("all", "seen", "related", "unseen")
    return {"seeds": [0, 1], "figures": dict.fromkeys(groups, measures)}


def contrast(first: str, second: str, change: float, seeds: list[int]) -> dict[str, Any]:
    rows = [
        [group, name, change, change - 0.01, change + 0.01, 0.001, 0.004]
        for group in ("all", "seen", "related", "unseen")
        for name in ("clean", "attacked", "success", "white:0.1", "between")
    ] + [["all", "pooled:distance", -0.4, -12.0, 3.0, 0.4, 0.5]]
    return {"first": first, "second": second, "seeds": seeds, "rows": rows}


SMALL = {
    "made": "2026-11-25T15:01:43+00:00",
    "commit": "935214b",
    "not_done": ["arm-hybrid-fgm-s0", "arm-hybrid-fgm-s1"],
    "arms": {
        "arm": {
            "cells": {"hybrid-plain": cell(0.44), "cross-plain": cell(0.4571)},
            "contrasts": [
                contrast("cross-plain", "hybrid-plain", -0.0187, [0, 1]),
                contrast("cross-plain", "cross-fgm", -0.0271, [0]),
            ],
            "runs": [
                {"name": "arm-cross-plain-s0", "train_cpu_seconds": 4.0},
                {"name": "arm-cross-plain-s1", "train_cpu_seconds": 7.0},
            ],
        }
    },
}


def test_shipped_report_is_what_its_results_give() -> None:
    summary = json.loads(SUMMARY.read_text(encoding="utf-8"))
    text = REPORT.read_text(encoding="utf-8")
    assert fill(text, summary) == text, "run python -m training.xtyntegra.matrix_report"


def test_shipped_report_every_figure_in_its_findings_says_which_it_is() -> None:
    text = REPORT.read_text(encoding="utf-8")
    findings = text[text.index("## Results") : text.index("## Threats to validity")]
    assert loose_figures(findings) == []
    assert findings.count("<!-- ") > 40


@pytest.mark.parametrize(
    ("key", "bounds", "expected"),
    [
        ("arm: cross-plain, clean", True, ".457 (.437, .477)"),
        ("arm: cross-plain, clean, unseen", False, ".457"),
        ("arm: cross-plain, between", False, "1.000"),
        ("arm: cross-plain, seeds", False, "2"),
        ("arm: cross-plain, pooled:distance", True, "2096 (1974, 2207)"),
        ("arm: hybrid-plain less cross-plain, clean", True, "-.019 (-.029, -.009)"),
        ("arm: cross-plain less hybrid-plain, clean", True, "+.019 (+.009, +.029)"),
        ("arm: hybrid-plain less cross-plain, pooled:distance", True, "-0 (-12, +3)"),
        ("arm: hybrid-plain less cross-plain, p clean", False, ".004"),
    ],
)
def test_quoted_figure_is_that_of_the_summary(key: str, bounds: bool, expected: str) -> None:
    assert quoted(SMALL, key, bounds=bounds) == expected


@pytest.mark.parametrize(
    "key",
    [
        "other: cross-plain, clean",
        "arm: mono-plain, clean",
        "arm: cross-plain, cleanest",
        "arm: cross-plain, clean, everywhere",
        "arm: cross-plain less mono-plain, clean",
        "arm: cross-plain less hybrid-plain, mrr",
        "arm: cross-plain",
    ],
)
def test_quoted_figure_that_is_not_there_is_refused(key: str) -> None:
    with pytest.raises(BenchmarkError, match=f"the figure '{key}' is not in the summary"):
        quoted(SMALL, key, bounds=True)


def test_fill_writes_figures_and_tables_and_leaves_the_rest() -> None:
    text = (
        "# A title\n\nBy hand it lost 0 (0, 0)<!-- arm: hybrid-plain less cross-plain, clean -->"
        " of 0<!-- arm: cross-plain, clean -->; .5 stays.\n\n"
        "<!-- table: cost, arm -->\nold\n<!-- end -->\n\nThe end.\n"
    )
    filled = fill(text, SMALL)
    assert (
        "lost -.019 (-.029, -.009)<!-- arm: hybrid-plain less cross-plain, clean --> of" in filled
    )
    assert " of .457<!-- arm: cross-plain, clean -->; .5 stays." in filled
    assert "| method | cross |\n|---|---|\n| plain | 6 |\n<!-- end -->" in filled
    assert filled.startswith("# A title\n")
    assert filled.endswith("\n\nThe end.\n")
    assert fill(filled, SMALL) == filled


def test_fill_unknown_table_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="no table 'mean'; expected one of state, means"):
        fill("<!-- table: mean, arm -->\n\n<!-- end -->", SMALL)


def test_blocks_differences_are_bold_with_two_seeds_alone() -> None:
    lines = BLOCKS["contrasts"](SMALL, "arm").splitlines()
    assert lines[0].endswith("| clean | attacked | attack success | white box .1 | between "
                             "| rank distance |")  # fmt: skip
    assert lines[2].startswith("| hybrid, plain less cross, plain | 2 | **-.019 (-.029, -.009)** |")
    assert lines[2].endswith("| -0 (-12, +3) |")
    assert lines[3].startswith("| cross, fgm less cross, plain | 1 | -.027 (-.037, -.017) |")


def test_blocks_state_names_missing_runs_and_groups_cells_by_batches() -> None:
    told = BLOCKS["state"](SMALL, "")
    assert told.startswith("**4 of 6 runs are done: 4 with the arm encoder.** Missing, with their")
    assert "seeds: arm-hybrid-fgm (0, 1).\nSummed up 2026-11-25 15:01 UTC, 935214b." in told
    rows = BLOCKS["means"](SMALL, "arm").splitlines()
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| hybrid, plain", "| cross, plain"]
    assert "| hybrid | 2 | .440 (.420, .460) |" in BLOCKS["groups"](SMALL, "arm")
    assert "| unseen | hybrid less cross | 2 |" in BLOCKS["batches"](SMALL, "arm")
    assert BLOCKS["attacks"](SMALL, "arm").splitlines()[0].endswith("| before | typo, 3 |")


def test_loose_figures_are_those_without_a_key() -> None:
    text = "a .123, b .04, c 1 (2, 3) and d .456 (.4, .5)<!-- arm: cross-plain, clean -->"
    assert loose_figures(text) == [".123", "(2, 3)"]


def test_main_stale_report_is_told_line_by_line_then_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, summary = tmp_path / "REPORT.md", tmp_path / "matrix.json"
    report.write_text("title\nit is .999<!-- arm: cross-plain, clean -->\n", encoding="utf-8")
    summary.write_text(json.dumps(SMALL), encoding="utf-8")
    options = ["--report", str(report), "--summary", str(summary)]
    assert main([*options, "--check"]) == 1
    assert "line 2: got 'it is .999<!--" in capsys.readouterr().err
    assert main(options) == 0
    assert ".457<!--" in report.read_text(encoding="utf-8")
    assert main([*options, "--check"]) == 0
    summary.write_text("{}", encoding="utf-8")
    assert main(options) == 2
    assert "REPORT.md from" in capsys.readouterr().err
