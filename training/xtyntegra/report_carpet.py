"""The map of languages under attacks: one cell a language and attack, as SVG.

Few languages stand by name, with the number in each cell; many are a dense map in which only the
pattern is seen, and the tables below have the numbers.
"""

from collections.abc import Sequence
from html import escape

from app.robustness.markup import plain
from app.robustness.plots import WIDTH, Caption, label
from training.xtyntegra.report_svg import head
from training.xtyntegra.report_tables import DASH, shade

NAMED = 60
"""Most rows that stand by name."""
_RIGHT = 4
_ROW, _TITLE, _GAP = 12.0, 15.0, 5.0
_LEFT = {True: 68, False: 44}

Rows = Sequence[tuple[str, Sequence[float | None]]]
"""Name and shares of each row; None for a cell that is empty."""


def carpet(caption: Caption, columns: Sequence[str], bands: Sequence[tuple[str, Rows]]) -> str:
    """Draw shares as a map of cells, in bands of rows with a name each.

    Args:
        caption: Its ``across`` and ``up`` are not shown.
        columns: Names above the map.
        bands: Name and rows of each.
    """
    total = sum(len(rows) for _, rows in bands)
    named = total <= NAMED
    high = _ROW if named else max(2.2, 420 / max(1, total))
    left, above = _LEFT[named], _TITLE if named else 0.0
    wide = (WIDTH - left - _RIGHT) / max(1, len(columns))
    y = 8.0 + 5.4 * min(16, max(map(len, columns), default=0))
    height = int(y + high * total + (_GAP + above) * len(bands)) + 4
    parts = [head(caption, height)]
    for n, name in enumerate(columns):
        x = left + (n + 0.5) * wide
        turned = f'<text class="tiny" transform="translate({x + 3:.1f} {y - 4:.0f}) rotate(-90)">'
        parts.append(f"{turned}{escape(plain(name, 16))}</text>")
    paths: dict[int, list[str]] = {}
    numbers: list[str] = []
    for name, rows in bands:
        if named:
            numbers.append(label(2, y + 11, plain(name, 40), "start", "tiny title"))
        else:
            down = y + min(9.0, high * len(rows))
            numbers.append(label(left - 6, down, plain(name, 9), "end", "tiny"))
        y += above
        for lang, row in rows:
            _lay(paths, row, left, wide, (y, high))
            if named:
                numbers.append(label(left - 5, y + 9, plain(lang, 17), "end", "tiny"))
                numbers += _numbers(row, left, wide, y + 9)
            y += high
        y += _GAP
    parts += [f'<path class="f{kind}" d="{"".join(d)}"/>' for kind, d in sorted(paths.items())]
    return "".join((*parts, *numbers, "</svg>"))


def _numbers(row: Sequence[float | None], left: float, wide: float, y: float) -> list[str]:
    return [
        label(left + (n + 0.5) * wide, y, DASH, "middle", "tiny faint")
        if value is None
        else label(
            left + (n + 0.5) * wide, y, f"{100 * value:.0f}", "middle", f"tiny n{shade(value)}"
        )
        for n, value in enumerate(row)
    ]


def _lay(
    paths: dict[int, list[str]],
    row: Sequence[float | None],
    left: float,
    wide: float,
    place: tuple[float, float],
) -> None:
    """Add a row's cells to the path of their shade; neighbors of one shade become one box."""
    y, high = place
    start = 0
    shades = [None if value is None else shade(value) for value in row]
    for n in range(1, len(row) + 1):
        if n < len(row) and shades[n] == shades[start]:
            continue
        kind = shades[start]
        if kind is not None:
            x = left + start * wide
            box = f"M{x:.1f} {y:.1f}h{(n - start) * wide:.1f}v{high:.1f}H{x:.1f}z"
            paths.setdefault(kind, []).append(box)
        start = n
