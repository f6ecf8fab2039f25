"""A result and a comparison in a few lines for a terminal; everything else is in the pages."""

from collections.abc import Mapping, Sequence
from typing import Any

from training.xtyntegra.result import CLEAN
from training.xtyntegra.sums import ALL

Record = Mapping[str, Any]
_TRACKS = ("seen", "related", "unseen")
_HEADLINE = {"xquad-r": "map"}
_MOST = 12


def headline_of(task: str) -> str:
    """Name the metric that a task is usually quoted by."""
    return _HEADLINE.get(task, "accuracy@1")


def outline_of(result: Record) -> str:
    """Write the macro means, the tracks, the worst language, and what attacks took away."""
    head = ("task", "metric", "languages", "macro", "95% interval", *_TRACKS, "worst")
    rows: list[Sequence[str]] = [head]
    sums = {_key(one): one for one in result["summary"]}
    for one in result["summary"]:
        if (one["condition"], one["track"]) != (CLEAN, ALL):
            continue
        name = headline_of(one["task"])
        figure = one["metrics"][name]
        tracks = [sums.get((*_key(one)[:3], track)) for track in _TRACKS]
        rows.append(
            (
                f"{one['task']}/{one['setting']}",
                name,
                str(one["languages"]),
                _share(figure["macro"]),
                _bounds(figure),
                *(_share(track["metrics"][name]["macro"] if track else None) for track in tracks),
                f"{figure['worst_lang']} {_share(figure['worst'])}",
            )
        )
    attacked = _attacked(result["summary"])
    text = f"{result['encoder']['name']}\n\n{_table(rows)}"
    return f"{text}\n\n{_table(attacked)}" if len(attacked) > 1 else text


def outline_of_comparison(comparison: Record) -> str:
    """Write for each pair of runs the differences of the macro means, and languages that differ."""
    names = [run["encoder"]["name"] for run in comparison["runs"]]
    parts: list[str] = []
    for pair in comparison["pairs"]:
        rows: list[Sequence[str]] = [
            ("task", "condition", "metric", "baseline", "other", "difference", "95% interval",
             "p", "better", "worse"),
        ]  # fmt: skip
        for one in pair["summary"]:
            if one["track"] != ALL or one["metric"] != headline_of(one["task"]):
                continue
            better, worse = _moved(pair["cells"], one, comparison["q"])
            rows.append(
                (
                    f"{one['task']}/{one['setting']}",
                    one["condition"],
                    one["metric"],
                    _share(one["baseline"]),
                    _share(one["other"]),
                    f"{one['difference']:+.4f}",
                    _bounds(one),
                    "" if one["p_value"] is None else f"{one['p_value']:.4f}",
                    better,
                    worse,
                )
            )
        lead = f"{names[pair['other']]} less {names[pair['baseline']]}"
        parts.append(f"{lead}\n\n{_table(rows)}")
    left = comparison["left_out"]
    told = [f"left out: {one['what']} ({one['why']})" for one in left[:_MOST]]
    told += [f"and {len(left) - _MOST} more left out"] if len(left) > _MOST else []
    parts += ["\n".join(told)] if told else []
    return "\n\n".join(parts)


def _attacked(summary: Sequence[Record]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        ("task", "attack", "accuracy@1", "success rate", "95% interval", "relative drop")
    ]
    for one in summary:
        if one["attack"] is None or one["track"] != ALL:
            continue
        rows.append(
            (
                f"{one['task']}/{one['setting']}",
                one["condition"],
                _share(one["metrics"]["accuracy@1"]["macro"]),
                _share(one["attack"]["success_rate"]["macro"]),
                _bounds(one["attack"]["success_rate"]),
                _share(one["attack"]["relative_drop"]["macro"]),
            )
        )
    return rows


def _moved(cells: Sequence[Record], one: Record, q: float) -> tuple[str, str]:
    """Count cells of a group that differ by more than chance, better and worse."""
    key = (one["task"], one["setting"], one["condition"])
    moved = [
        cell["difference"]
        for cell in cells
        if (cell["task"], cell["setting"], cell["condition"]) == key and cell["q_value"] <= q
    ]
    return str(sum(value > 0 for value in moved)), str(sum(value < 0 for value in moved))


def _key(one: Record) -> tuple[str, str, str, str]:
    return one["task"], one["setting"], one["condition"], one["track"]


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _bounds(figure: Record) -> str:
    low, high = figure["low"], figure["high"]
    return "" if low is None else f"{low:.4f} to {high:.4f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
