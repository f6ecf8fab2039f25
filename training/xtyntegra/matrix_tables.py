"""The tables of REPORT.md, in Markdown, from the matrix's JSON.

    python -m training.xtyntegra.matrix_tables training/xtyntegra/results/matrix.json

A cell of the first tables is the mean over seeds with its 95% interval; a cell of the others is a
paired difference, in bold where its adjusted p-value is below 0.05.
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
    white = _white(found, group)
    named = [*SHOWN, *((name, f"white box {name[6:]}") for name in white)]
    rows = [["batches and method", "seeds", *(title for _, title in named)]]
    for cell, told in found["cells"].items():
        figures = told["figures"][group]
        rows.append(
            [
                cell,
                str(len(told["seeds"])),
                *(_interval(name, figures.get(name)) for name, _ in named),
            ]
        )
    return _table(rows)


def _contrasts(found: Mapping[str, Any], group: str) -> str:
    names = [*CONTRASTED, *(name for name in _white(found, group) if name != "white:0")]
    rows = [["second less first", "seeds", *names]]
    for contrast in found["contrasts"]:
        listed = {row[1]: row[2:] for row in contrast["rows"] if row[0] == group}
        label = f"{contrast['second']} less {contrast['first']}"
        cells = [_difference(name, listed.get(name)) for name in names]
        rows.append([label, str(len(contrast["seeds"])), *cells])
    return _table(rows)


def _white(found: Mapping[str, Any], group: str) -> list[str]:
    figures = next(iter(found["cells"].values()))["figures"][group]
    return sorted((n for n in figures if n.startswith("white:")), key=lambda name: float(name[6:]))


def _interval(name: str, told: Sequence[float] | None) -> str:
    if told is None:
        return ""
    value, low, high = (_number(name, one) for one in told[:3])
    return f"{value} ({low} to {high})"


def _difference(name: str, told: Sequence[float] | None) -> str:
    if told is None:
        return ""
    value, low, high = (_number(name, one, signed=True) for one in told[:3])
    text = f"{value} ({low} to {high})"
    return f"**{text}**" if told[4] < LEVEL else text


def _number(name: str, value: float, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if name == "pooled:distance":
        return f"{value:{sign}.0f}"
    return f"{value:{sign}.3f}".replace("0.", ".", 1)


def _table(rows: Sequence[Sequence[str]]) -> str:
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
