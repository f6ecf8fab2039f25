"""``tyntegra probe report``: a probe's answer, saved as JSON, as a page and as a table; offline."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from app.errors import InvalidInputError

NAME = "probe report"
"""Of the command: two words, which the command line joins before it looks for it."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    description = "turn a probe's answer into a page of HTML and a table, without a service"
    parser = commands.add_parser(NAME, help=description, description=description)
    parser.set_defaults(run=_run)
    parser.add_argument("report", metavar="REPORT.json", help="what a probe answered; -: stdin")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page here")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table here")


def _run(options: argparse.Namespace) -> int:
    from app.robustness.csv_report import to_csv
    from app.robustness.html_report import to_html

    if options.html is None and options.csv is None:
        raise InvalidInputError("Nothing to write: give --html FILE, --csv FILE, or both.")
    report = _read(options.report)
    # Both are made before either is written, so that a bad report leaves nothing behind.
    made = [
        (path, write(report))
        for path, write in ((options.html, to_html), (options.csv, to_csv))
        if path is not None
    ]
    for path, text in made:
        _write(path, text)
        print(path)
    return 0


def _read(name: str) -> Any:
    try:
        content = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            f"{name!r:.200} cannot be read ({error.strerror}); expected a file with what a probe "
            "answered."
        ) from error
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(
            f"{name!r:.200} is not JSON ({error!s:.100}); expected what a probe answered, as "
            "`tyntegra probe` prints it."
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInputError(
            f"{str(path)!r:.200} cannot be written ({error.strerror}); give a file in a folder "
            "that exists and may be written to."
        ) from error
