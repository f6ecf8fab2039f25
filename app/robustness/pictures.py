"""From a probe's report to its plots, each with the table of its numbers."""

from collections.abc import Sequence

from app.robustness.markup import plain, show
from app.robustness.plots import Axis, Caption, Line, bar_plot, step_plot
from app.robustness.reading import (
    Record,
    by_name,
    count,
    counted,
    flag,
    interval,
    number,
    part,
    parts,
    percent,
    share,
    short,
    word,
)
from app.robustness.tables import table, text_cell

_ABSENT = "<p>This report has no curves: an older version wrote it.</p>"
_BINS = ((1, 3), (4, 10), (11, 30), (31, 100), (101, 300))
_DASH = "\N{EN DASH}"
_LEAST = 1e-300
"""Smaller sizes, and larger ones than its inverse, do not get an axis of their own."""


def success_curves(report: Record) -> str:
    """Draw success against texts tried and against edits, over all attacks."""
    curves = part(report, "curves")
    overall = part(curves, "overall")
    if not overall:
        return _ABSENT
    drawn = _against_queries(report, overall) + _against_edits(overall)
    rows = [["all attacks", *_curve_row(overall)]]
    rows += [[show(name), *_curve_row(one)] for name, one in by_name(curves, "by_attack").items()]
    most = len(parts(overall, "edits"))
    heads = ["attack", "queries", "censored", "half broken after", "interval"]
    heads += [f"with {edits} edit{'s' if edits > 1 else ''}" for edits in range(1, most + 1)]
    return f'<div class="pairs">{drawn}</div>' + table(
        "How many texts, and how many edits, a success takes", heads, rows
    )


def _against_queries(report: Record, curves: Record) -> str:
    steps = parts(part(curves, "queries"), "steps")
    points = [(0.0, 0.0), *((_at(one, "calls"), _at(one, "share")) for one in steps)]
    band = [(0.0, 0.0), *((_at(one, "low"), _at(one, "high")) for one in steps)]
    tried = [_at(one, "queries") for one in parts(report, "results")]
    high = max([*tried, *(x for x, _ in points)], default=1) or 1
    caption = Caption(
        "curve-queries",
        "Share of queries broken, against texts tried",
        f"Kaplan-Meier estimate with its band; it ends at {percent(points[-1][1])} after "
        f"{points[-1][0]:g} texts.",
        "texts tried within one attack",
        "share broken",
    )
    return _figure(caption, step_plot(caption, Axis(0, high), [Line("all attacks", points, band)]))


def _against_edits(curves: Record) -> str:
    steps = [(one, share(part(one, "share"))) for one in parts(curves, "edits")]
    points = [(0.0, 0.0), *((_at(one, "edits"), of.value or 0.0) for one, of in steps)]
    band = [(0.0, 0.0), *((of.low or 0.0, of.high or 0.0) for _, of in steps)]
    caption = Caption(
        "curve-edits",
        "Share of queries broken, against edits",
        "; ".join(f"{percent(y)} with up to {x:g} edits" for x, y in points[1:]) + ".",
        "edits of the query, at most",
        "share broken",
    )
    axis = Axis(0, points[-1][0] + 0.5)
    return _figure(caption, step_plot(caption, axis, [Line("all attacks", points, band)]))


def _curve_row(curves: Record) -> list[str]:
    curve = part(curves, "queries")
    low, high = (number(curve, name) for name in ("median_low", "median_high"))
    bounds = f"[{short(low)}, {'?' if high is None else short(high)}]" if low is not None else _DASH
    shares = [share(part(one, "share")) for one in parts(curves, "edits")]
    return [
        f"{count(curve, 'attacks'):,}",
        f"{count(curve, 'censored'):,}",
        _DASH if number(curve, "median") is None else f"{count(curve, 'median'):,} texts",
        bounds,
        *(f"{percent(one.value)} {interval(one.low, one.high)}" for one in shares),
    ]


def rank_shifts(report: Record) -> str:
    """Draw by how many ranks each query's document moved under the worst of its attacks."""
    promoted = word(part(report, "goal"), "type") == "promotion"
    worst: dict[str, float] = {}
    for one in parts(report, "results"):
        moved = _shift(one, promoted) if counted(one) else None
        if moved is not None:
            name = word(one, "query_id") or ""
            worst[name] = max(worst.get(name, moved), moved)
    if not worst:
        return "<p>No query has a rank both clean and under attack.</p>"
    bars = _binned(list(worst.values()))
    what = "the target rose" if promoted else "the document fell"
    caption = Caption(
        "rank-shifts",
        f"By how many ranks {what}, in the worst case of each query",
        "; ".join(f"{label}: {n} queries" for label, n in bars) + ".",
        f"ranks {what}",
        "queries",
    )
    rows = [[label, f"{n:,}", percent(n / len(worst))] for label, n in bars]
    return f'<div class="pairs">{_figure(caption, bar_plot(caption, bars))}' + (
        f"{table(caption.title, ['ranks', 'queries', 'share'], rows)}</div>"
    )


def _shift(result: Record, promoted: bool) -> float | None:
    if promoted:
        before, after = number(result, "clean_value"), number(result, "worst_value")
        return None if before is None or after is None else before - after
    before, after = number(result, "clean_rank"), number(result, "worst_rank")
    if before is None:
        return None
    if after is None:
        return float("inf") if flag(result, "beyond_depth") else None
    return after - before


def _binned(shifts: Sequence[float]) -> list[tuple[str, int]]:
    last = _BINS[-1][1]
    bars = [("0", sum(one == 0 for one in shifts))]
    if any(one < 0 for one in shifts):
        bars.insert(0, ("<0", sum(one < 0 for one in shifts)))
    bars += [(f"{a}\u2013{b}", sum(a <= one <= b for one in shifts)) for a, b in _BINS]
    bars.append((f">{last}", sum(last < one < float("inf") for one in shifts)))
    if float("inf") in shifts:
        bars.append(("lost", sum(one == float("inf") for one in shifts)))
    return bars


def certificates(report: Record) -> str:
    """Draw what is proven beside what was found, each certificate in its own unit."""
    found = parts(report, "certificates")
    if not found:
        return "<p>This report has no certificates.</p>"
    drawn = [_certificate(place, one) for place, one in enumerate(found)]
    scopes = [
        f"<h3>{_name(one)}</h3><p><b>Covers.</b> {show(word(one, 'covers'), 600)}</p>"
        f"<p><b>Does not cover.</b> {show(word(one, 'does_not_cover'), 600)}</p>"
        for one in _distinct(found)
    ]
    heads = ["certificate", "unit", "queries", "certified", "abstained"]
    heads += ["median certified", "median that broke", "alpha", "samples", "complete"]
    rows = [[_name(one), *_certificate_row(one)] for one in found]
    return (
        f'<div class="pairs">{"".join(drawn)}</div>'
        + table("Certified radius beside the smallest change that broke a query", heads, rows)
        + "".join(scopes)
    )


def _certificate(place: int, report: Record) -> str:
    queries = parts(report, "queries")
    proven = [
        float("inf") if number(one, "radius") is None else _at(one, "radius")
        for one in queries
        if not flag(one, "abstained") and number(one, "radius") != 0
    ]
    broke = [_at(one, "empirical") for one in queries if number(one, "empirical") is not None]
    sizes = sorted(one for one in (*proven, *broke) if _LEAST < one < 1 / _LEAST)
    method = plain((word(report, "method") or "").replace("_", " "))
    unit = plain(word(report, "unit") or "")
    if not sizes:
        return f"<figure><figcaption>{_name(report)}</figcaption><p>Nothing to draw.</p></figure>"
    log = sizes[-1] > 50 * sizes[0]
    axis = Axis(sizes[0] / 1.5, sizes[-1] * 1.2, True) if log else Axis(0, sizes[-1] * 1.1)
    certified = _falling(proven, len(queries), axis.low, len(proven))
    held = _falling(broke, len(queries), axis.low, len(queries))
    caption = Caption(
        f"certificate-{place}",
        f"{method}: share of queries that keep their answer, against the size of the change",
        f"Proven for {len(proven)} of {len(queries)} queries; {len(broke)} were broken.",
        f"size of the change, {unit}",
        "",
    )
    lines = [Line("proven", certified), Line("no attack broke it", held, kind="b")]
    return _figure(caption, step_plot(caption, axis, lines), _name(report))


def _falling(sizes: Sequence[float], n: int, low: float, first: int) -> list[tuple[float, float]]:
    """Points of the share of ``n`` that a change of so much leaves; ``first`` at the beginning."""
    points = [(low, first / n)]
    finite = sorted(one for one in sizes if one < float("inf"))
    points += [(one, (first - place) / n) for place, one in enumerate(finite, 1)]
    return points


def _certificate_row(report: Record) -> list[str]:
    median = number(report, "median")
    unbounded = median is None and count(report, "n") > 0
    return [
        text_cell(show(word(report, "unit"))),
        f"{count(report, 'n'):,}",
        f"{count(report, 'certified'):,}",
        percent(number(report, "abstain_rate")),
        "unbounded" if unbounded else short(median),
        short(number(report, "empirical_median")),
        short(number(report, "alpha")),
        f"{count(report, 'samples'):,}",
        text_cell("yes" if flag(report, "complete") else "cut short"),
    ]


def _name(report: Record) -> str:
    parameter = number(report, "parameter")
    name = show((word(report, "method") or "").replace("_", " "))
    return name if parameter is None else f"{name} {short(parameter)}"


def _distinct(reports: Sequence[Record]) -> list[Record]:
    """The first of each method: what they cover does not depend on the parameter."""
    return list({word(one, "method"): one for one in reversed(reports)}.values())[::-1]


def _figure(caption: Caption, svg: str, title: str | None = None) -> str:
    return f"<figure><figcaption>{title or caption.title}</figcaption>{svg}</figure>"


def _at(record: Record, name: str) -> float:
    return float(number(record, name) or 0.0)
