"""How deep the right documents lie, clean and attacked, from the ranks of single queries."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from app.robustness.markup import plain
from app.robustness.plots import Axis, Caption
from training.xtyntegra.report_heat import edits_words, heat_of
from training.xtyntegra.report_names import CLEAN, Group, group_name, tenth
from training.xtyntegra.report_reading import Reading
from training.xtyntegra.report_svg import Curve, curves
from training.xtyntegra.report_tables import Row, grid
from training.xtyntegra.result import QueryFigures

DEPTHS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)


def depth_section(reading: Reading, queries: QueryFigures | None) -> str:
    """Draw the share of queries whose right document is within the first k."""
    group = reading.main
    if queries is None or group is None:
        return "<p>The figures of single queries were not at hand.</p>"
    heat = heat_of(reading, group)
    names = _chosen(heat.families) if heat else []
    conditions = [f"{name}/edits={heat.edits:g}/" for name in names] if heat else []
    found = _found(queries, group, conditions)
    lines = list(zip((CLEAN, *names), found, strict=True))
    drawn = [(name, found) for name, found in lines if found]
    if not drawn:
        return "<p>The figures of single queries were not at hand.</p>"
    return _drawn(group, drawn, f" with {edits_words(heat.edits)}" if heat else "")


def _chosen(families: Sequence[str]) -> list[str]:
    """The hardest attack, and the one in the middle."""
    return list(dict.fromkeys([families[0], families[len(families) // 2]]))


def _found(queries: QueryFigures, group: Group, conditions: Sequence[str]) -> list[list[float]]:
    """Average over cells the shares within each depth, clean and under each attack.

    All lines are of the same queries: those that were attacked, of cells that have every attack.
    """
    lines: list[list[NDArray[np.float64]]] = [[] for _ in (CLEAN, *conditions)]
    for cell, names in queries.conditions.items():
        if tuple(cell.split("/")[:2]) != group or CLEAN not in names:
            continue
        draws = [[name for name in names if name.startswith(one)] for one in conditions]
        if not all(draws):
            continue
        shares = [[_within(queries.ranks(cell, name)) for name in each] for each in draws]
        clean = queries.ranks(cell)
        if draws:
            clean = clean[np.isin(queries.ids(cell), queries.ids(cell, draws[0][0]))]
        for line, found in zip(lines, ([_within(clean)], *shares), strict=True):
            line.append(np.mean(found, axis=0))
    return [np.mean(line, axis=0).tolist() if line else [] for line in lines]


def _within(ranks: NDArray[np.int32]) -> NDArray[np.float64]:
    ordered = np.sort(ranks)
    return np.searchsorted(ordered, DEPTHS, side="right") / max(1, len(ordered))


def _drawn(group: Group, lines: Sequence[tuple[str, Sequence[float]]], budget: str) -> str:
    kinds = ("a", "b", "thin")
    caption = Caption(
        "depth",
        f"Right documents within the first k: {plain(group_name(group), 90)}",
        "; ".join(
            f"{plain(name)}: {tenth(found[0])} percent first, {tenth(found[4])} in the first ten"
            for name, found in lines
        )
        + ".",
        "k, first documents looked at",
        f"share of queries, mean of languages{budget}",
    )
    drawn = [
        Curve(name, list(zip(map(float, DEPTHS), found, strict=True)), kind=kinds[min(n, 2)])
        for n, (name, found) in enumerate(lines)
    ]
    rows: list[Row] = [
        ("", [f"{depth:,}", *(tenth(found[place]) for _, found in lines)])
        for place, depth in enumerate(DEPTHS)
    ]
    heads = ["within", *(plain(name, 30) for name, _ in lines)]
    picture = curves(caption, Axis(1, DEPTHS[-1], log=True), drawn, [1, 10, 100, 1000])
    return (
        "<p>How far the right documents are pushed: a query that an attack breaks may still "
        "have its answer on the first page, or nowhere near it. All lines are of the same "
        "queries.</p>"
        f'<div class="beside"><figure><figcaption>{escape(caption.title)}</figcaption>{picture}'
        f"</figure><div>{grid('Share within the first k, in percent', heads, rows)}</div></div>"
    )
