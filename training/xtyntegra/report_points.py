"""Clean against robust: one point a language, those named that fall out of the row."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app.robustness.markup import plain
from app.robustness.plots import Caption
from training.xtyntegra.report_heat import Heat, edits_words, heat_of
from training.xtyntegra.report_names import (
    TRACK_NAMES,
    TRACKS,
    group_name,
    mean,
    spoken,
    tenth,
)
from training.xtyntegra.report_reading import Reading
from training.xtyntegra.report_svg import Dot, mark, scatter
from training.xtyntegra.report_tables import DASH, Row, fold, grid

_LABELS = 9
_ROWS = 12
_MOST = 400


@dataclass(frozen=True, slots=True)
class Point:
    """A language clean, and in the mean of the attacks: shares of queries answered first."""

    lang: str
    track: str
    clean: float
    robust: float

    @property
    def kept(self) -> float | None:
        """Share of the clean figure that is left; None where there was none."""
        return self.robust / self.clean if self.clean else None


def points_of(heat: Heat) -> list[Point]:
    """Average each language over the attacks on it."""
    points: list[Point] = []
    for lang, track in heat.tracks.items():
        cells = [heat.cells[lang, name] for name in heat.families if (lang, name) in heat.cells]
        clean = mean(one.attack.clean.get("accuracy@1") for one in cells if one.attack)
        found = (one.metrics.get("accuracy@1") for one in cells)
        robust = mean(one.value for one in found if one)
        if clean is not None and robust is not None:
            points.append(Point(lang, track, clean, robust))
    return points


def outliers(points: Sequence[Point], most: int = _LABELS) -> list[Point]:
    """Choose those that are farthest from what is usual for their clean figure."""
    total = sum(one.clean for one in points)
    usual = sum(one.robust for one in points) / total if total else 0.0
    return sorted(points, key=lambda one: -abs(one.robust - usual * one.clean))[:most]


def marks(tracks: Sequence[str]) -> str:
    """Write the key of the marks."""
    known = [track for track in (*TRACKS, *tracks) if track in tracks]
    items = "".join(
        f"<li>{mark(track)}{escape(TRACK_NAMES.get(track, plain(track)))}</li>"
        for track in dict.fromkeys(known)
    )
    return f'<ul class="marks">{items}</ul>'


def moved(first: Heat, second: Heat) -> list[tuple[Point, Point]]:
    """Pair the points of two runs by language, where both have one."""
    before = {one.lang: one for one in points_of(first)}
    return [(before[one.lang], one) for one in points_of(second) if one.lang in before]


def points_section(reading: Reading) -> str:
    """Draw the main task's languages, clean against attacked, and list who lost most."""
    heats = [heat for group in reading.attacked if (heat := heat_of(reading, group))]
    points = points_of(heats[0]) if heats else []
    if not points:
        return "<p>No attack on texts was run, so there is nothing to set beside the clean run.</p>"
    heat = heats[0]
    named = {one.lang for one in outliers(points)}
    dots = [
        Dot(one.clean, one.robust, one.track, one.lang if one.lang in named else "")
        for one in sorted(points, key=lambda one: one.lang not in named)
    ]
    clean, robust = mean(one.clean for one in points), mean(one.robust for one in points)
    caption = Caption(
        "points",
        f"Clean against attacked, {plain(group_name(heat.group), 90)}",
        f"One mark for each of {len(points):,} languages. In the mean the right answer comes "
        f"first for {tenth(clean)} percent clean and {tenth(robust)} percent attacked.",
        "accuracy@1 clean",
        f"accuracy@1, mean of attacks with {edits_words(heat.edits)}",
    )
    return (
        "<p>The farther below the dotted line, the more a language loses under attack; on the "
        f"line it would lose nothing. Named are those farthest from what is usual. "
        "Attacked figures are means over the draws, and count queries that an attack sets right "
        "as well, so they are milder than the shares broken above.</p>"
        '<div class="beside"><figure><figcaption>'
        f"{escape(caption.title)}</figcaption>{scatter(caption, dots)}"
        f"{marks(list(heat.tracks.values()))}</figure><div>{_lost(points)}</div></div>"
    )


def _lost(points: Sequence[Point]) -> str:
    """Write those that keep least; languages that found next to nothing say nothing."""
    ordered = sorted(points, key=lambda one: (one.kept is None, one.kept or 0.0, one.lang))
    able = [one for one in ordered if one.clean >= 0.05]
    heads = ["language", "track", "clean", "attacked", "kept"]
    short = grid("Languages that keep least of it, in percent", heads, map(_row, able[:_ROWS]))
    note = '<p class="note">Of languages with 5% or more clean. Kept: attacked / clean.</p>'
    if len(points) <= _ROWS and len(able) == len(points):
        return short
    whole = grid("Clean and attacked, in percent", heads, map(_row, ordered[:_MOST]))
    return short + note + fold(f"All {len(points):,} languages", whole)


def _row(one: Point) -> Row:
    track = escape(plain(one.track))
    kept = DASH if one.kept is None else tenth(one.kept)
    return "", [spoken(one.lang), f"<td>{track}</td>", tenth(one.clean), tenth(one.robust), kept]
