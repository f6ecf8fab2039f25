"""What is proven up to a radius, beside what attacks could break, each unit in a picture."""

from collections.abc import Mapping, Sequence
from html import escape

from app.robustness.markup import plain, show
from app.robustness.plots import Axis, Caption
from app.robustness.reading import Part, number, part, parts, share, short, word
from training.xtyntegra.report_budget import white_box_sums
from training.xtyntegra.report_names import Group, group_name, mean, tenth
from training.xtyntegra.report_reading import Reading
from training.xtyntegra.report_svg import Curve, curves
from training.xtyntegra.report_tables import DASH, Row, grid

NORMS = "mean token norms"
_UNBROKEN = "unbroken"
_WHITE_BOX = "right under white-box"
_WIDE = 20.0
"""Radii so far apart get a logarithmic axis."""

Means = Mapping[str, Mapping[float, float | None]]


def certified_section(reading: Reading) -> str:
    """Draw shares of queries with a proven answer against the radius, beside what was found."""
    groups: dict[tuple[Group, str], list[tuple[str, float, Part]]] = {}
    for one in parts(reading.record, "certified"):
        place = (word(one, "task") or "", word(one, "setting") or "")
        key = (place, word(one, "unit") or "")
        radius = number(one, "radius")
        if radius is not None:
            kind = word(one, "kind") or ""
            groups.setdefault(key, []).append((kind, float(radius), share(part(one, "share"))))
    if not groups:
        return "<p>Nothing was certified.</p>"
    drawn = [_proven(reading, place, found, n) for n, (place, found) in enumerate(groups.items())]
    return (
        "<p>A certificate proves that no change up to the radius takes the first place from a "
        "right answer. Drawn is the share of all queries that this is proven for and, dashed, the "
        "share that no attack that was tried could break: the truth lies between the two. A "
        "certificate of smoothed embeddings is of search by smoothed vectors alone."
        f"</p>{''.join(drawn)}"
    )


def _proven(
    reading: Reading, place: tuple[Group, str], found: Sequence[tuple[str, float, Part]], n: int
) -> str:
    group, unit = place
    kinds: dict[str, dict[float, list[Part]]] = {}
    for kind, radius, one in found:
        kinds.setdefault(kind, {}).setdefault(radius, []).append(one)
    means: dict[str, dict[float, float | None]] = {
        kind: {radius: mean(one.value for one in some) for radius, some in sorted(radii.items())}
        for kind, radii in kinds.items()
    }
    if unit == NORMS and (beside := _white_box(reading, group)):
        means[_WHITE_BOX] = beside
    lines = [line for line in map(_line, means.items()) if line.points]
    if not lines:
        return ""
    caption = Caption(
        f"certified-{n}",
        f"Certified share: {plain(group_name(group), 90)}",
        "; ".join(map(_ends, lines)) + ".",
        f"radius, {plain(unit)}" if unit else "radius",
        "share of all queries",
    )
    rows: list[Row] = []
    for kind, by_radius in means.items():
        for radius, value in by_radius.items():
            rows.append(("", _figures(kind, radius, value, kinds.get(kind, {}).get(radius, []))))
    heads = ["kind", "radius", "mean", "least to most", "languages"]
    axis = _axis(sorted({at for line in lines for at, _ in line.points}))
    return (
        f'<div class="beside"><figure><figcaption>{escape(caption.title)}</figcaption>'
        f"{curves(caption, axis, lines, axis.ticks())}</figure>"
        f"<div>{grid('Share proven or unbroken, in percent', heads, rows)}</div></div>"
    )


def _figures(kind: str, radius: float, value: float | None, found: Sequence[Part]) -> list[str]:
    known = sorted(one.value for one in found if one.value is not None)
    spread = f"{tenth(known[0])} to {tenth(known[-1])}" if known else DASH
    cells = f"{len(known):,}" if known else DASH
    return [show(kind.replace("_", " ")), short(radius), tenth(value), spread, cells]


def _white_box(reading: Reading, group: Group) -> dict[float, float | None]:
    """The share of all queries that is right under the attack of each epsilon."""
    return {
        one.epsilon: one.metrics["accuracy@1"].value
        for one in white_box_sums(reading, group)
        if one.epsilon is not None and not one.is_noise and "accuracy@1" in one.metrics
    }


def _line(item: tuple[str, Mapping[float, float | None]]) -> Curve:
    kind, by_radius = item
    points = [(radius, value) for radius, value in by_radius.items() if value is not None]
    found = kind in (_UNBROKEN, _WHITE_BOX)
    return Curve(kind.replace("_", " "), points, kind="b" if found else "a")


def _ends(line: Curve) -> str:
    (first, most), (last, least) = line.points[0], line.points[-1]
    name = plain(line.name)
    return f"{name}: {tenth(most)} percent at radius {first:g}, {tenth(least)} at {last:g}"


def _axis(radii: Sequence[float]) -> Axis:
    low, high = radii[0], radii[-1]
    if low > 0 and high > _WIDE * low:
        return Axis(low, high, log=True)
    return Axis(0.0, high or 1.0)
