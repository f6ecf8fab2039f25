"""``tyntegra probe report``: needs no service."""

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.cli import main
from app.robustness.csv_report import to_csv
from app.robustness.html_report import to_html

from .reports import a_report, a_result

REPORT = a_report(a_result("maji ya kunywa", (0, 1, "\u043c")))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(REPORT), encoding="utf-8")
    return path


def test_report_writes_the_page_and_the_table(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page, table = tmp_path / "out.html", tmp_path / "out.csv"
    assert main(["probe", "report", str(saved), "--html", str(page), "--csv", str(table)]) == 0
    assert page.read_text(encoding="utf-8") == to_html(REPORT)
    assert table.read_bytes() == to_csv(REPORT).encode()
    assert capsys.readouterr().out.split() == [str(page), str(table)]


def test_report_reads_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = SimpleNamespace(buffer=io.BytesIO(json.dumps(REPORT).encode()))
    monkeypatch.setattr(sys, "stdin", content)
    assert main(["probe", "report", "-", "--csv", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").stat().st_size > 0


@pytest.mark.parametrize("content", [b"", b"no", b"[1]", b"\xff", b"[" * 100_000, b'{"a": 1}'])
def test_report_of_something_else_is_refused_in_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "report.json", tmp_path / "out.html"
    path.write_bytes(content)
    assert main(["probe", "report", str(path), "--html", str(page)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tyntegra: ")
    assert error.count("\n") == 1
    assert not page.exists()


def test_report_without_a_place_to_write_or_read_says_so(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["probe", "report", str(saved)]) == 1
    assert "--html FILE" in capsys.readouterr().err
    assert main(["probe", "report", str(tmp_path / "none"), "--csv", "x"]) == 1
    assert "cannot be read" in capsys.readouterr().err
    there = str(tmp_path / "no" / "folder.html")
    assert main(["probe", "report", str(saved), "--html", there]) == 1
    assert "cannot be written" in capsys.readouterr().err
