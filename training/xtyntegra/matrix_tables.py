"""The tables of REPORT.md, in Markdown, from the matrix's JSON.

    python -m training.xtyntegra.matrix_tables training/xtyntegra/results/matrix.json

A cell of the first tables is the mean over seeds with its 95% interval; a cell of the others is a
paired difference, in bold where its adjusted p-value is below 0.05 and it has two seeds or more.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SHOWN = (
    ("clean", "clean"),
    ("before", "clean, the attacked"),
    ("attacked", "attacked"),
    ("success", "attack success"),
    ("between", "between"),
    ("pooled:distance", "rank distance"),
)
CONTRASTED = ("clean", "attacked", "success", "between", "pooled:distance")
LEVEL = 0.05


def tables_of(summary: Mapping[str, Any]) -> str:
    """Write all tables, arm by arm."""
    parts: list[str] = []
    for arm, found in summary["arms"].items():
        groups = next(iter(found["cells"].values()))["figures"]
        for group in groups:
            parts.append(f"### {arm}, {group}: means\n\n{_means(found, group)}")
            parts.append(f"### {arm}, {group}: differences\n\n{_contrasts(found, group)}")
    return "\n\n".join(parts) + "\n"


def _means(found: Mapping[str, Any], group: str) -> str:
    named = [*SHOWN, *((name, f"white box {name[6:]}") for name in white_of(found))]
    rows = [["batches and method", "seeds", *(title for _, title in named)]]
    for cell, told in found["cells"].items():
        figures = told["figures"][group]
        cells = [interval(name, figures.get(name)) for name, _ in named]
        rows.append([cell, str(len(told["seeds"])), *cells])
    return table(rows)


def _contrasts(found: Mapping[str, Any], group: str) -> str:
    names = [*CONTRASTED, *(name for name in white_of(found) if name != "white:0")]
    rows = [["second less first", "seeds", *names]]
    for contrast in found["contrasts"]:
        label = f"{contrast['second']} less {contrast['first']}"
        cells = differences(contrast, group, names)
        rows.append([label, str(len(contrast["seeds"])), *cells])
    return table(rows)


def white_of(found: Mapping[str, Any]) -> list[str]:
    """Name the white-box measures of an arm, by epsilon; ``white:0`` is without noise."""
    figures = next(iter(found["cells"].values()))["figures"]["all"]
    return sorted((n for n in figures if n.startswith("white:")), key=lambda name: float(name[6:]))


def interval(name: str, told: Sequence[float] | None) -> str:
    """Write a mean with its interval; empty if there is none."""
    if told is None:
        return ""
    value, low, high = (number(name, one) for one in told[:3])
    return f"{value} ({low}, {high})"


def differences(contrast: Mapping[str, Any], group: str, names: Sequence[str]) -> list[str]:
    """Write the differences of a contrast; those that are sure, of two seeds or more, in bold."""
    listed = {row[1]: row[2:] for row in contrast["rows"] if row[0] == group}
    found: list[str] = []
    for name in names:
        told = listed.get(name)
        text = "" if told is None else difference(name, told)
        sure = told is not None and told[4] < LEVEL and len(contrast["seeds"]) > 1
        found.append(f"**{text}**" if sure else text)
    return found


def difference(name: str, told: Sequence[float]) -> str:
    """Write a difference with its interval, all signed."""
    value, low, high = (number(name, one, signed=True) for one in told[:3])
    return f"{value} ({low}, {high})"


def number(name: str, value: float, *, signed: bool = False) -> str:
    """Write a figure: ranks in whole numbers, shares with three digits and no zero before them.

    What rounds to zero keeps its sign, which says on which side of it a bound lies.
    """
    digits = 0 if name == "pooled:distance" else 3
    text = f"{value:{'+' if signed and value else ''}.{digits}f}"
    return text.replace("0.", ".", 1) if digits and abs(value) < 1 else text


def table(rows: Sequence[Sequence[str]]) -> str:
    """Write rows as a table in Markdown; the first is its head."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.xtyntegra.matrix_tables")
    parser.add_argument("summary", type=Path, help="as `matrix --summary` writes it")
    path = parser.parse_args(arguments).summary
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        sys.stdout.write(tables_of(summary))
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"error: {path} is no summary of the matrix: {error!r}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
