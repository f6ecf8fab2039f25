"""REPORT.md's tables and quoted figures, from the matrix's JSON.

    python -m training.xtyntegra.matrix_report            # fill them in
    python -m training.xtyntegra.matrix_report --check    # or say what differs

Conclusions are written by hand; what they quote is not. Two marks, which no reader of the page
sees, say what stands where:

    <!-- table: means, static -->
    (the table)
    <!-- end -->

    `hybrid` loses -.019 (-.027, -.012)<!-- static: hybrid-plain less cross-plain, clean -->

A key of a figure is ``ARM: CELL, MEASURE`` or ``ARM: CELL less CELL, MEASURE``, with a group of
languages as a third part where it is not all. A figure that has an interval keeps it; one written
without keeps to the value. ``p`` before the measure asks for the adjusted p-value.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.matrix_blocks import BLOCKS
from training.xtyntegra.matrix_tables import difference, interval, number

HERE = Path(__file__).parent
REPORT, SUMMARY = HERE / "REPORT.md", HERE / "results" / "matrix.json"
DIFFERS, REFUSED = 1, 2
ALL = "all"
_BLOCK = re.compile(r"(<!-- table: (?P<key>[^>]*?) -->\n).*?(\n<!-- end -->)", re.DOTALL)
_FIGURE = re.compile(
    r"(?P<text>[+-]?\d*\.?\d+(?P<bounds> \([^()\n]*\))?)<!-- (?P<key>\w+: [^>]*?) -->"
)
_LOOSE = re.compile(r"(?<![\d.\w])[+-]?\.\d{3}\b|\([+-]?[\d.]+, [+-]?[\d.]+\)")
"""What looks like a figure of the matrix: three digits after the point, or an interval."""


def fill(text: str, summary: Mapping[str, Any]) -> str:
    """Write a report's tables and quoted figures anew.

    Args:
        text: The report.
        summary: As ``matrix --summary`` writes it.

    Raises:
        BenchmarkError: If a mark names what the summary does not have.
    """

    def block(found: re.Match[str]) -> str:
        kind, _, arm = found["key"].partition(", ")
        if kind not in BLOCKS:
            raise BenchmarkError(f"no table {kind!r}; expected one of {', '.join(BLOCKS)}")
        return found[1] + BLOCKS[kind](summary, arm) + found[3]

    def figure(found: re.Match[str]) -> str:
        told = quoted(summary, found["key"], bounds=found["bounds"] is not None)
        return f"{told}<!-- {found['key']} -->"

    return _FIGURE.sub(figure, _BLOCK.sub(block, text))


def quoted(summary: Mapping[str, Any], key: str, *, bounds: bool) -> str:
    """Write the figure that a key names.

    Args:
        summary: As ``matrix --summary`` writes it.
        key: See the module.
        bounds: Whether to write its interval too.

    Raises:
        BenchmarkError: If there is none.
    """
    arm, _, rest = key.partition(": ")
    cells, _, rest = rest.partition(", ")
    measure, _, named = rest.partition(", ")
    group = named or ALL
    adjusted, name = measure.startswith("p "), measure.removeprefix("p ")
    try:
        found = summary["arms"][arm]
        second, less, first = cells.partition(" less ")
        if not less:
            if name == "seeds":
                return str(len(found["cells"][cells]["seeds"]))
            told = found["cells"][cells]["figures"][group][name]
            return interval(name, told) if bounds else number(name, told[0])
        told = _row(found, first, second, group, name)
    except (KeyError, StopIteration) as error:
        raise BenchmarkError(
            f"the figure {key!r} is not in the summary: expected 'ARM: CELL, MEASURE' or "
            "'ARM: CELL less CELL, MEASURE', and a group of languages after it if not all"
        ) from error
    if adjusted:
        return number(name="p", value=told[4])
    return difference(name, told) if bounds else number(name, told[0], signed=True)


def _row(
    found: Mapping[str, Any], first: str, second: str, group: str, name: str
) -> Sequence[float]:
    """Find difference, bounds and p-values of a contrast, which may be listed the other way."""
    for contrast in found["contrasts"]:
        listed = contrast["first"], contrast["second"]
        if listed in ((first, second), (second, first)):
            row = next(row[2:] for row in contrast["rows"] if row[:2] == [group, name])
            value, low, high, *chances = row
            return row if listed == (first, second) else [-value, -high, -low, *chances]
    raise KeyError(second)


def loose_figures(text: str) -> list[str]:
    """List what reads like a figure of the matrix but says not which, tables left out."""
    return _LOOSE.findall(_FIGURE.sub("", _BLOCK.sub("", text)))


def _stale(text: str, filled: str) -> Iterator[str]:
    pairs = zip(text.splitlines(), filled.splitlines(), strict=False)
    for line, (old, new) in enumerate(pairs, 1):
        if old != new:
            yield f"line {line}: got {old!r}; the results give {new!r}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill in the report or check it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.xtyntegra.matrix_report")
    parser.add_argument("--summary", type=Path, default=SUMMARY, help=f"({SUMMARY.name})")
    parser.add_argument("--report", type=Path, default=REPORT, help=f"({REPORT.name})")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    options = parser.parse_args(arguments)
    try:
        text = options.report.read_text(encoding="utf-8")
        filled = fill(text, json.loads(options.summary.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, BenchmarkError) as error:
        sys.stderr.write(f"error: {options.report} from {options.summary}: {error}\n")
        return REFUSED
    if not options.check:
        options.report.write_text(filled, encoding="utf-8")
        return 0
    if filled != text:
        sys.stderr.write("\n".join([f"{options.report} is stale:", *_stale(text, filled)]) + "\n")
        return DIFFERS
    return 0


if __name__ == "__main__":
    sys.exit(main())
