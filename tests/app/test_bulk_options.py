"""The options of ``tyntegra index``."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import main

from .bulk_files import arguments, write_rows


@pytest.fixture
def live(serving: Callable[..., Any]) -> Iterator[Any]:
    with serving(max_documents=64, max_text_chars=200) as found:
        yield found


def test_index_options_that_do_not_fit_are_named(
    live: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "a.jsonl", 1)
    for option, said in (
        (("--lang", "sw"), "--lang is 'sw'"),
        (("--field", "year"), "--field is 'year'"),
        (("--field", "year=date"), "--field is 'year=date'"),
        (("--windows", "x"), "--windows is 'x'"),
        (("--delimiter", "::"), "--delimiter is '::'"),
        (("--batch", "0"), "--batch is 0"),
        (("--store", "embedded"), "give one of the two ways"),
    ):
        assert main([*arguments(live, tmp_path / "a.jsonl"), *option]) == 1
        assert said in capsys.readouterr().err


def test_index_help_says_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["index", "--help"])
    assert end.value.code == 0
    helped = capsys.readouterr().out
    assert all(word in helped for word in ("--ledger", "--max-errors", "--engine", "index export"))
