"""Plots written by hand as SVG: step curves with bands, and bars. No script, no outside file.

Colors come from classes (``style.py``), so that one picture serves a light and a dark page. Every
plot has a title and a description for those who cannot see it; the numbers belong in a table
beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 34, 44


@dataclass(frozen=True, slots=True)
class Caption:
    """What a plot is called.

    Attributes:
        key: Letters and hyphens, unlike any other on the page.
        title: A few words.
        description: What is to be seen, in sentences.
        across: The horizontal axis.
        up: The vertical axis.
    """

    key: str
    title: str
    description: str
    across: str
    up: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The horizontal axis, from ``low`` to ``high``; logarithmic if ``log``, and low above 0."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value is, from 0 at the left to 1 at the right; held within."""
        low, high, at = self.low, self.high, max(value, self.low)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return 0.5 if high <= low else min(1.0, max(0.0, (at - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Round values to label: powers of ten, or about five equal steps."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            powers = [10.0**n for n in range(first, last + 1, 1 + (last - first) // 6)]
            return powers if len(powers) > 1 else [self.low, self.high]
        rough = (self.high - self.low) / 5 or 1.0
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * n for n in (1, 2, 5, 10) if power * n >= rough)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True)
class Line:
    """A curve that stays at each height until the next point.

    Attributes:
        name: For the key above the plot.
        points: Where and how high (0 to 1), by rising place.
        band: For each point the bounds of its height; empty for none.
        kind: Class that colors it: ``a`` or ``b``; b is dashed.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float]] = ()
    kind: str = "a"


def step_plot(caption: Caption, axis: Axis, lines: Sequence[Line]) -> str:
    """Draw step curves of shares against an axis."""
    parts = [_frame(caption, [line.kind for line in lines], [line.name for line in lines])]
    for height in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(height)
        parts.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{WIDTH - _RIGHT}"/>')
        parts.append(label(_LEFT - 6, y + 4, f"{height:.0%}", "end"))
    parts += [
        label(_x(axis, value), HEIGHT - _BOTTOM + 17, f"{value:g}", "middle")
        for value in axis.ticks()
    ]
    for line in lines:
        if line.band:
            parts.append(f'<path class="band {line.kind}" d="{_area(axis, line)}"/>')
        parts.append(f'<path class="line {line.kind}" d="{_path(axis, line.points)}"/>')
    return "".join((*parts, "</svg>"))


def bar_plot(caption: Caption, bars: Sequence[tuple[str, float]]) -> str:
    """Draw bars, each with its label below and its number above."""
    parts = [_frame(caption, [], [])]
    most = max((value for _, value in bars), default=0) or 1
    width = (WIDTH - _LEFT - _RIGHT) / max(1, len(bars))
    for place, (name, value) in enumerate(bars):
        x = _LEFT + place * width
        y = _y(value / most)
        height = HEIGHT - _BOTTOM - y
        middle = x + width / 2
        parts.append(
            f'<rect class="bar" x="{x + 2:.1f}" y="{y:.1f}" width="{width - 4:.1f}" '
            f'height="{height:.1f}"/>'
        )
        parts.append(label(middle, y - 4, f"{value:g}", "middle"))
        parts.append(label(middle, HEIGHT - _BOTTOM + 17, name, "middle"))
    return "".join((*parts, "</svg>"))


def _frame(caption: Caption, kinds: Sequence[str], names: Sequence[str]) -> str:
    key = escape(caption.key)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="{key}-t {key}-d">'
        f'<title id="{key}-t">{escape(caption.title)}</title>'
        f'<desc id="{key}-d">{escape(caption.description)}</desc>'
        f'<path class="axis" d="M{_LEFT} {_TOP}V{HEIGHT - _BOTTOM}H{WIDTH - _RIGHT}"/>',
        label((WIDTH + _LEFT - _RIGHT) / 2, HEIGHT - 6, caption.across, "middle"),
    ]
    if not names:
        parts.append(label(4, 14, caption.up, "start"))
    x = 4.0
    for kind, name in zip(kinds, names, strict=True):
        parts.append(f'<path class="line {kind}" d="M{x:.0f} 10h20"/>')
        parts.append(label(x + 25, 14, name, "start"))
        x += 40 + 6.4 * len(name)
    return "".join(parts)


def _x(axis: Axis, value: float) -> float:
    return _LEFT + axis.place(value) * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - min(1.0, max(0.0, share)) * (HEIGHT - _TOP - _BOTTOM)


def _path(axis: Axis, points: Sequence[tuple[float, float]]) -> str:
    path = ""
    for value, share in points:
        x, y = _x(axis, value), _y(share)
        path += f"H{x:.1f}V{y:.1f}" if path else f"M{x:.1f} {y:.1f}"
    return f"{path}H{WIDTH - _RIGHT}" if path else ""


def _area(axis: Axis, line: Line) -> str:
    """The band: along the upper bounds to the right, and back along the lower ones."""
    places = [_x(axis, value) for value, _ in line.points]
    ends = [*places[1:], float(WIDTH - _RIGHT)]
    path = ""
    for x, end, (_, high) in zip(places, ends, line.band, strict=True):
        path += f"{'L' if path else 'M'}{x:.1f} {_y(high):.1f}H{end:.1f}"
    for x, end, (low, _) in reversed(list(zip(places, ends, line.band, strict=True))):
        path += f"L{end:.1f} {_y(low):.1f}H{x:.1f}"
    return f"{path}Z"


def label(x: float, y: float, text: str, anchor: str, kind: str = "") -> str:
    """Write text in a plot: where, what, how it is anchored, and its class."""
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
