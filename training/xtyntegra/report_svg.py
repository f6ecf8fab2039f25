"""Pictures of a benchmark, as SVG: points, curves with names at their ends, and bars.

They follow the probe's plots: colors by class, a title and a description in each, no script; the
numbers belong in a table beside them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app.robustness.markup import plain
from app.robustness.plots import WIDTH, Axis, Caption, label

_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 20, 28, 44
_NAMES = 112
_GAP = 12.5
_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TOPS = (0.1, 0.2, 0.4, 0.6, 1.0)


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of two shares.

    Attributes:
        across: From 0 to 1.
        up: From 0 to 1.
        kind: Track, which gives its shape and color.
        name: Shown beside it; empty for no label.
        start: Where an arrow to it begins; None for no arrow.
    """

    across: float
    up: float
    kind: str
    name: str = ""
    start: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Curve:
    """Straight lines between points, with a name at the last of them.

    Attributes:
        name: As text.
        points: Where and how high (0 to 1), by rising place.
        band: For each point the bounds of its height; empty for none.
        kind: ``a``, ``b`` (dashed) or ``thin``.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    kind: str = "a"


@dataclass(frozen=True, slots=True)
class _Frame:
    height: int
    right: int
    axis: Axis
    top: float = 1.0

    def x(self, value: float) -> float:
        return _LEFT + self.axis.place(value) * (WIDTH - _LEFT - self.right)

    def y(self, share: float) -> float:
        up = min(1.0, max(0.0, share / self.top))
        return self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM)

    def open(self, caption: Caption, ticks: Sequence[tuple[float, str]]) -> str:
        parts = [head(caption, self.height)]
        for share in (quarter * self.top for quarter in _QUARTERS):
            y = self.y(share)
            parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - self.right}"/>')
            parts.append(label(_LEFT - 6, y + 4, f"{100 * share:g}%", "end"))
        bottom = self.height - _BOTTOM
        parts.append(
            f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{WIDTH - self.right}"/>'
            + "".join(label(self.x(at), bottom + 17, text, "middle") for at, text in ticks)
        )
        parts.append(label(4, 14, caption.up, "start"))
        middle = (WIDTH + _LEFT - self.right) / 2
        parts.append(label(middle, self.height - 6, caption.across, "middle"))
        return "".join(parts)


def scatter(caption: Caption, dots: Sequence[Dot]) -> str:
    """Draw points of two shares, with the line on which both are equal."""
    frame = _Frame(330, _RIGHT, Axis(0.0, 1.0))
    parts = [frame.open(caption, [(share, f"{share:.0%}") for share in _QUARTERS])]
    even = f"M{frame.x(0):.1f} {frame.y(0):.1f}L{frame.x(1):.1f} {frame.y(1):.1f}"
    parts.append(f'<path class="line even" d="{even}"/>')
    parts += [_move(frame, dot) for dot in dots if dot.start]
    parts += [_mark(dot.kind, frame.x(dot.across), frame.y(dot.up)) for dot in dots]
    taken: list[tuple[float, float]] = []
    places = [(frame.x(dot.across), frame.y(dot.up)) for dot in dots]
    for dot in dots:
        if dot.name:
            parts.append(_beside(frame, dot, taken, places))
    return "".join((*parts, "</svg>"))


def mark(kind: str) -> str:
    """Draw a track's mark alone, for a key beside a plot."""
    return f'<svg viewBox="0 0 14 14" aria-hidden="true">{_mark(kind, 7, 7)}</svg>'


def curves(
    caption: Caption,
    axis: Axis,
    lines: Sequence[Curve],
    ticks: Sequence[float],
    top: float = 1.0,
) -> str:
    """Draw curves of shares, each named at its end; names keep apart from one another.

    Args:
        caption: What it is.
        axis: Of the places.
        lines: The curves.
        ticks: Places that are labeled.
        top: Share at the top of the picture.
    """
    frame = _Frame(max(250, int(_TOP + _BOTTOM + _GAP * len(lines))), _NAMES, axis, top)
    parts = [frame.open(caption, [(at, f"{at:g}") for at in ticks])]
    parts += [
        f'<path class="band {line.kind}" d="{_band(frame, line)}"/>' for line in lines if line.band
    ]
    for line in lines:
        parts.append(f'<path class="line {line.kind}" d="{_path(frame, line.points)}"/>')
        if line.kind != "thin":
            parts += [
                f'<circle class="knot {line.kind}" cx="{frame.x(at):.1f}" cy="{frame.y(up):.1f}" '
                'r="3"/>'
                for at, up in line.points
            ]
    ends = sorted((frame.y(line.points[-1][1]), n) for n, line in enumerate(lines) if line.points)
    x = WIDTH - _NAMES
    for y, (end, n) in zip(
        spread([y for y, _ in ends], _TOP, frame.height - 44), ends, strict=True
    ):
        kind = "tiny" + (" faint" if lines[n].kind == "thin" else "")
        parts.append(f'<path class="line lead" d="M{x} {end:.1f}L{x + 10} {y:.1f}"/>')
        parts.append(label(x + 13, y + 3.5, plain(lines[n].name, 18), "start", kind))
    return "".join((*parts, "</svg>"))


def room_for(lines: Sequence[Curve]) -> float:
    """Choose the least round share above all points and bands of some curves."""
    heights = [up for line in lines for _, up in line.points]
    heights += [high for line in lines for _, high in line.band]
    highest = max(heights, default=0.0)
    return next((top for top in _TOPS if highest <= top), 1.0)


def differences(caption: Caption, bars: Sequence[tuple[float, float, float, str]]) -> str:
    """Draw signed differences in a row, each with its interval.

    Args:
        caption: Its ``across`` says how they are ordered.
        bars: Value, lower and upper bound, and kind: ``better``, ``worse`` or ``same``.
    """
    height, far = 280, max((max(abs(low), abs(high)) for _, low, high, _ in bars), default=0.0)
    most = math.ceil(20 * max(far, 0.01)) / 20
    middle, scale = (_TOP + height - _BOTTOM) / 2, (height - _BOTTOM - _TOP) / 2 / most
    parts = [head(caption, height), label(4, 14, caption.up, "start")]
    for share in (-most, -most / 2, 0.0, most / 2, most):
        y = middle - share * scale
        kind = "grid" if share else "axis"
        parts.append(f'<path class="{kind}" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(label(_LEFT - 6, y + 4, f"{100 * share:+.3g}" if share else "0", "end"))
    wide = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    thick = min(12.0, 0.8 * wide)
    for n, (value, low, high, kind) in enumerate(bars):
        x = _LEFT + (n + 0.5) * wide
        top, tall = middle - max(value, 0.0) * scale, abs(value) * scale
        whisker = f"M{x:.1f} {middle - low * scale:.1f}V{middle - high * scale:.1f}"
        parts.append(
            f'<rect class="bar {kind}" x="{x - thick / 2:.1f}" y="{top:.1f}" '
            f'width="{thick:.1f}" height="{tall:.1f}"/>'
        )
        parts.append(f'<path class="whisker" d="{whisker}"/>')
    parts.append(label((WIDTH + _LEFT - _RIGHT) / 2, height - 6, caption.across, "middle"))
    return "".join((*parts, "</svg>"))


def spread(places: Sequence[float], low: float, high: float) -> list[float]:
    """Move rising places apart until each stands ``_GAP`` from the next, within bounds."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + _GAP) if moved else max(place, low))
    limit = high
    for n in reversed(range(len(moved))):
        moved[n] = min(moved[n], limit)
        limit = moved[n] - _GAP
    return moved


def head(caption: Caption, height: int) -> str:
    """Begin a picture: its size, title and description."""
    key = escape(caption.key)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(caption.title)}</title>'
        f'<desc id="{key}-d">{escape(caption.description)}</desc>'
    )


def _mark(kind: str, x: float, y: float) -> str:
    if kind == "related":
        shape = f'<path d="M{x:.1f} {y - 4.5:.1f}l4 7h-8z"'
    elif kind == "unseen":
        shape = f'<rect x="{x - 3.3:.1f}" y="{y - 3.3:.1f}" width="6.6" height="6.6"'
    else:
        shape = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.6"'
    kind = kind if kind in ("seen", "related", "unseen") else "other"
    return f'{shape} class="dot {kind}"/>'


def _move(frame: _Frame, dot: Dot) -> str:
    if dot.start is None:
        return ""
    way = "better" if dot.up > dot.start[1] else "worse" if dot.up < dot.start[1] else ""
    x, y = frame.x(dot.start[0]), frame.y(dot.start[1])
    end = f"{frame.x(dot.across):.1f} {frame.y(dot.up):.1f}"
    return f'<path class="line move {way}" d="M{x:.1f} {y:.1f}L{end}"/>'


def _beside(
    frame: _Frame,
    dot: Dot,
    taken: list[tuple[float, float]],
    places: Sequence[tuple[float, float]],
) -> str:
    """Write a point's name where no other name is and fewest marks are, with a line if far."""
    text = plain(dot.name, 18)
    wide = 6.2 * len(text)
    x, y = frame.x(dot.across), frame.y(dot.up)
    best: tuple[int, int, float, float] | None = None
    for far, step in enumerate((0, -12, 12, -24, 24, -36, 36)):
        for side in (1, -1):
            middle, level = x + side * (8 + 4 * far + wide / 2), y + step
            free = all(abs(middle - a) > wide or abs(level - b) > 11 for a, b in taken)
            inside = middle - wide / 2 > _LEFT and middle + wide / 2 < WIDTH
            if free and inside and _TOP < level < frame.height - _BOTTOM - 6:
                hidden = sum(
                    abs(middle - a) < wide / 2 + 4 and abs(level - b) < 9 for a, b in places
                )
                best = min(best or (99, 0, 0.0, 0.0), (hidden, far, middle, level))
    if best is None:
        return ""
    _, far, middle, level = best
    taken.append((middle, level))
    edge = middle - wide / 2 if middle > x else middle + wide / 2
    line = f'<path class="line lead" d="M{x:.1f} {y:.1f}L{edge:.1f} {level:.1f}"/>' if far else ""
    return line + label(middle, level + 4, text, "middle", "halo")


def _path(frame: _Frame, points: Sequence[tuple[float, float]]) -> str:
    places = (f"{frame.x(at):.1f} {frame.y(up):.1f}" for at, up in points)
    return "M" + "L".join(places) if points else ""


def _band(frame: _Frame, line: Curve) -> str:
    there = [(at, high) for (at, _), (_, high) in zip(line.points, line.band, strict=True)]
    back = [(at, low) for (at, _), (low, _) in zip(line.points, line.band, strict=True)]
    return f"{_path(frame, [*there, *back[::-1]])}Z"
