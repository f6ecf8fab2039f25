"""``tyntegra collections`` and ``documents`` against a service that listens."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from app.commands.collections import read_fields, read_windows
from app.errors import InvalidInputError


@pytest.fixture
def ask(serving: Any, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs a command; returns its status, what it printed as JSON lines, and its messages."""
    with serving() as live:

        def run(*arguments: str) -> tuple[int, list[Any], str]:
            status = main([*arguments, "--url", live.url])
            captured = capsys.readouterr()
            return (
                status,
                [json.loads(line) for line in captured.out.split("\n") if line],
                captured.err,
            )

        yield run


def test_cli_keeps_a_collection(ask: Any) -> None:
    declared = ["--field", "year=integer", "--windows", "16/8"]
    _, [made], _ = ask("collections", "create", "a", *declared)
    assert (made["fields"], made["windows"]) == ({"year": "integer"}, {"tokens": 16, "stride": 8})
    status, out, message = ask("collections", "create", "a")
    assert (status, out) == (1, [])
    assert "fields year (integer)" in message
    assert [each["name"] for each in ask("collections", "list")[1][0]] == ["a"]
    _, [reindexed], _ = ask("collections", "reindex", "a", "--no-windows", "--wait")
    assert reindexed["state"] == "done"
    assert ask("collections", "reindex", "a", "--status")[1][0]["state"] == "done"
    status, _, message = ask("collections", "reindex", "a", "--cancel")
    assert (status, "nothing to cancel" in message) == (1, True)
    _, [shown], _ = ask("collections", "show", "a")
    assert (shown["windows"], shown["fields"]) == (None, {"year": "integer"})
    _, [copy], _ = ask("collections", "snapshot", "a")
    assert ask("collections", "snapshots", "a")[1] == [[copy]]
    assert ask("collections", "restore", "a", copy["name"], "--as", "b")[1][0]["name"] == "b"
    assert ask("collections", "restore", "a", copy["name"], "--replace")[0] == 0
    assert ask("collections", "delete-snapshot", "a", copy["name"])[:2] == (0, [])
    assert ask("collections", "delete", "a")[:2] == (0, [])
    assert ask("collections", "show", "a")[0] == 1


def test_cli_keeps_documents(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    first.write_text('{"doc_id": "a", "text": "maji \u2028 safi", "lang": "swh_Latn"}')
    second.write_text('{"doc_id": "b", "text": "water"}\nnonsense\n', "utf-8")
    ask("collections", "create", "c")
    status, [report], message = ask("documents", "add", "c", str(first), str(second))
    assert (status, report["stored"], report["refused"], report["lines"]) == (1, 2, 1, 3)
    assert message == (
        "tyntegra: line 3: The line is not JSON at character 0; expected an object in UTF-8 "
        "without a byte order mark.\n"
    )
    lines = io.TextIOWrapper(io.BytesIO(b'{"doc_id": "d", "text": "t", "metadata": {"n": 1}}\n'))
    monkeypatch.setattr(sys, "stdin", lines)
    assert ask("documents", "add", "c")[0] == 0
    assert ask("documents", "get", "c", "a", "none")[1][0][0]["text"] == "maji \u2028 safi"
    assert [each["doc_id"] for each in ask("documents", "export", "c")[1]] == ["a", "b", "d"]
    where = '{"metadata": {"n": {"gte": 1}}}'
    assert ask("documents", "delete", "c", "--filter", where)[1] == [{"deleted": 1}]
    assert ask("documents", "delete", "c", "a", "x")[1] == [{"deleted": 1}]
    assert [each["doc_id"] for each in ask("documents", "export", "c")[1]] == ["b"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["documents", "delete", "c"], "either names"),
        (["documents", "delete", "c", "a", "--filter", "{}"], "either names"),
        (["documents", "delete", "c", "--filter", "x"], "no JSON"),
        (["documents", "delete", "c", "--filter", "[]"], "no JSON object"),
        (["documents", "add", "c", "/nowhere/at/all"], "cannot be read"),
        (["collections", "create", "c", "--field", "year"], "NAME=TYPE"),
        (["collections", "create", "c", "--windows", "x"], "TOKENS/STRIDE"),
        (["documents", "export", "none"], "no collection"),
    ],
)
def test_cli_says_what_is_wrong(ask: Any, arguments: list[str], said: str) -> None:
    status, out, message = ask(*arguments)
    assert (status, out) == (1, [])
    assert said in message


def test_options_are_read() -> None:
    assert read_fields(["a=b=string", "n=number"]) == {"a=b": "string", "n": "number"}
    assert read_fields([]) is None
    assert (read_windows("128/96"), read_windows("100"), read_windows(None)) == (
        (128, 96),
        (100, 75),
        None,
    )
    for wrong in ("128/", "/1", "a/b", "-1"):
        with pytest.raises(InvalidInputError):
            read_windows(wrong)
