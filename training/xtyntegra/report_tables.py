"""Tables of a benchmark's page: plain ones, and dense ones with upright heads and shaded cells."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from html import escape
from itertools import pairwise

from app.robustness.markup import plain
from app.robustness.reading import FEW, Part
from training.xtyntegra.report_names import (
    bounds,
    tenth,
)

DASH = "\N{EN DASH}"
SHADES = (0.05, 0.1, 0.2, 0.4)
"""Where a darker shade begins. Uneven, as most attacks of few edits break few queries; the same in
all pages, so that two of them can be laid side by side."""
Row = tuple[str, Sequence[str]]
"""Class of a row, and its cells as HTML, the first its head; whole ``<td>`` stay as they are."""


def grid(
    caption: str, heads: Sequence[str], rows: Iterable[Row], kind: str = "", upright: int = -1
) -> str:
    """Write a table that scrolls on a narrow screen.

    Args:
        caption: What it is, as text.
        heads: Of the columns, as text.
        rows: See ``Row``.
        kind: Class of the table.
        upright: The first column whose head stands upright; below 0 for none.
    """
    top = "".join(
        f'<th scope="col"{_up(0 <= upright <= place)}>{escape(head)}</th>'
        for place, head in enumerate(heads)
    )
    named = f' class="{kind}"' if kind else ""
    title = escape(caption)
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}">'
        f"<table{named}><caption>{title}</caption><thead><tr>{top}</tr></thead>"
        f"<tbody>{''.join(map(_row, rows))}</tbody></table></div>"
    )


def fold(summary: str, content: str) -> str:
    """Write what opens with a click, without a script; the summary is text."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def shaded(value: float | None, title: str = "", kind: str = "") -> str:
    """Write a share as a shaded cell, in whole percent."""
    if value is None:
        return f'<td class="none">{DASH}</td>'
    hint = f' title="{escape(title)}"' if title else ""
    few = f" {kind}" if kind else ""
    return f'<td class="h{shade(value)}{few}"{hint}>{100 * value:.0f}</td>'


def shaded_part(share: Part) -> str:
    """Write a measured share as a shaded cell; its interval and n come up on it."""
    said = f"{bounds(share.low, share.high)} n={share.n:,}" if share.low is not None else ""
    return shaded(share.value, said, "small" if 0 < share.n < FEW else "")


def shade(value: float) -> int:
    """Choose the shade of a share, 0 to 4, by the whole percent that is shown."""
    return bisect_right(SHADES, round(value, 2))


def scale() -> str:
    """Write what the shades mean."""
    edges = [0, *(round(100 * edge) for edge in SHADES), 100]
    items = (
        f'<li class="h{n}">{low}\N{EN DASH}{high}%</li>'
        for n, (low, high) in enumerate(pairwise(edges))
    )
    none = f'<li class="none">{DASH} no query that it can change was right</li>'
    return f'<ul class="scale" aria-label="Shades">{"".join(items)}{none}</ul>'


def with_bounds(value: float | None, low: float | None, high: float | None) -> str:
    """Write a share in percent with its interval."""
    return f"{tenth(value)} {bounds(low, high)}".rstrip()


def name_cell(text: str | None, most: int = 60) -> str:
    """Write a word as a cell."""
    return f"<td>{escape(plain(text, most)) if text else DASH}</td>"


def meter(value: float | None) -> str:
    """Draw a share as a small bar; nothing for those who read the number beside it."""
    width = 100 * min(1.0, max(0.0, value or 0.0))
    return (
        '<svg class="meter" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{width:.0f}" height="10"/></svg>'
    )


def _row(row: Row) -> str:
    kind, (first, *rest) = row[0], row[1]
    cells = "".join(
        cell if cell.startswith("<td") else f'<td class="number">{cell}</td>' for cell in rest
    )
    named = f' class="{kind}"' if kind else ""
    return f'<tr{named}><th scope="row">{first}</th>{cells}</tr>'


def _up(turned: bool) -> str:
    return ' class="up"' if turned else ""
