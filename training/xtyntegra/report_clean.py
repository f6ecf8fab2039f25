"""How well an encoder finds what it should, without attack: by task, track and language."""

from collections.abc import Sequence
from html import escape

from app.robustness.markup import plain
from training.xtyntegra.report_names import (
    ALL,
    METRIC_NAMES,
    METRICS,
    TRACK_NAMES,
    TRACKS,
    Group,
    bounds,
    group_name,
    main_metric,
    spoken,
    tenth,
)
from training.xtyntegra.report_reading import Cell, Macro, Reading, Sum
from training.xtyntegra.report_tables import DASH, Row, fold, grid, meter, shaded, with_bounds

_TRAINED = "in_training_corpora"
_MOST_LANGS = 400
_MOST_GROUPS = 14
_BIAS = {
    "rank_distance": "rank distance",
    "own_share": "hits of own language",
    "own_pool_share": "of the pool",
    "english_share": "hits in English",
    "english_pool_share": "of the pool",
    "language_bias": "language bias",
}


def clean_tables(reading: Reading) -> str:
    """Write each task, setting and track: means over languages, and the worst language."""
    rows: list[Row] = []
    for group in reading.groups:
        rows += _of_group(reading, group)
    if not rows:
        return "<p>Nothing was measured without attack.</p>"
    heads = ["task, track", "languages", "accuracy@1", "interval"]
    heads += [METRIC_NAMES[name] for name in METRICS[1:]] + ["worst language", "its figure"]
    trained = (
        '<p class="note">* Texts of this task are among the corpora that encoders of this project '
        "may be trained on; read it as a figure of fit, not of transfer.</p>"
        if any(_is_trained(reading, group) for group in reading.groups)
        else ""
    )
    return (
        grid("Without attack: means over languages, in percent", heads, rows)
        + '<p class="note">Each language counts the same. In bold the metric that a task is '
        "usually quoted by, which is also that of its worst language. In brackets: the interval "
        "when whole sentences are drawn anew.</p>"
        + trained
        + fold("Every language, without attack", _languages(reading))
    )


def _of_group(reading: Reading, group: Group) -> list[Row]:
    sums = {one.track: one for one in reading.sums if one.group == group and not one.family}
    found = {track: sums[track] for track in (ALL, *TRACKS) if track in sums}
    found |= {track: one for track, one in sums.items() if track not in found}
    if len(found) == 2:  # the one track is all there is
        found.pop(next(track for track in found if track != ALL), None)
    metric = main_metric(group)
    mark = "*" if _is_trained(reading, group) else ""
    name = f"{escape(plain(group_name(group), 90))}{mark}"
    rows: list[Row] = []
    for track, one in found.items():
        first = track == ALL or not rows
        label = name if first else escape(TRACK_NAMES.get(track, plain(track)))
        rows.append(("sum start" if first else "part", [label, *_figures(one, metric)]))
    return rows


def _figures(one: Sum, metric: str) -> list[str]:
    none = Macro(None, None, None, None, None)
    first = one.metrics.get("accuracy@1", none)
    chosen = one.metrics.get(metric, none)
    shown = [
        f"<b>{tenth(value)}</b>" if name == metric else tenth(value)
        for name in METRICS
        for value in [one.metrics.get(name, none).value]
    ]
    return [
        f"{one.languages:,}",
        f"{shown[0]}{meter(first.value)}",
        bounds(first.low, first.high) or DASH,
        *shown[1:],
        f"<td>{spoken(chosen.worst_lang)}</td>",
        tenth(chosen.worst),
    ]


def _is_trained(reading: Reading, group: Group) -> bool:
    return any(one.extras.get(_TRAINED) for one in reading.clean(group))


def _languages(reading: Reading) -> str:
    """Write each language with its figure in each task, by track and from the lowest up."""
    groups = reading.groups[:_MOST_GROUPS]
    found: dict[tuple[str, str], dict[Group, Cell]] = {}
    for group in groups:
        for one in reading.clean(group):
            found.setdefault((one.track, one.lang), {})[group] = one
    order = {track: place for place, track in enumerate(TRACKS)}
    keys = sorted(found, key=lambda key: (order.get(key[0], 9), _level(found[key]), key[1]))
    rows: list[Row] = []
    for track, lang in keys[:_MOST_LANGS]:
        known = found[track, lang]
        first = not rows or keys[len(rows) - 1][0] != track
        cells = [_quoted(known.get(group)) for group in groups]
        names = [spoken(lang), f"<td>{escape(plain(track))}</td>"]
        rows.append(("start" if first else "", [*names, *cells]))
    left = len(keys) - len(rows)
    rest = f'<p class="note">{left:,} more in the JSON.</p>' if left else ""
    heads = ["language", "track", *(plain(group_name(group), 60) for group in groups)]
    return grid("Each language in each task, in percent", heads, rows, "dense", 2) + rest


def _quoted(cell: Cell | None) -> str:
    if cell is None:
        return shaded(None)
    one = cell.metrics.get(main_metric(cell.group))
    if one is None:
        return shaded(None)
    said = with_bounds(one.value, one.low, one.high)
    return shaded(one.value, f"{said} of {cell.queries:,} queries")


def _level(cells: dict[Group, Cell]) -> float:
    first = next(iter(cells.values()))
    one = first.metrics.get(main_metric(first.group))
    return 2.0 if one is None or one.value is None else one.value


def language_bias(reading: Reading) -> str:
    """Write, for pools of many languages, how far hits prefer some of them."""
    tables = [_bias_of(reading, group) for group in reading.groups]
    shown = "".join(one for one in tables if one)
    if not shown:
        return "<p>No pool of several languages was measured.</p>"
    return (
        "<p>Where documents of many languages compete, an encoder should rank by meaning alone. "
        "<b>Rank distance</b>: how far apart the first and the last right document stand, in "
        "ranks (0 to few is good). <b>Hits of own language</b>, and <b>in English</b>: share of "
        "the first ten hits, beside the share of the pool that is in it; equal shares are free of "
        "bias. <b>Language bias</b>: share of hits that would have to change their language for "
        f"that.</p>{shown}"
    )


def _bias_of(reading: Reading, group: Group) -> str:
    cells = [one for one in reading.clean(group) if "rank_distance" in one.extras]
    if not cells:
        return ""
    names = [name for name in _BIAS if any(name in one.extras for one in cells)]
    rows: list[Row] = [("sum", ["mean", *(_extra(_mean(cells, name), name) for name in names)])]
    ordered = sorted(cells, key=lambda one: (-one.extras.get("language_bias", 0.0), one.lang))
    each = [
        ("", [spoken(one.lang), *(_extra(one.extras.get(name), name) for name in names)])
        for one in ordered[:_MOST_LANGS]
    ]
    heads = ["queries in", *(_BIAS[name] for name in names)]
    title = f"Language bias: {plain(group_name(group), 90)}"
    if len(each) <= 12:
        return grid(title, heads, [*rows, *each])
    short = grid(title, heads, [*rows, *each[:8]])
    note = '<p class="note">Shown are the mean and the eight languages with most bias.</p>'
    whole = grid(f"{title}, every language", heads, each)
    return short + note + fold(f"All {len(cells):,} languages", whole)


def _mean(cells: Sequence[Cell], name: str) -> float | None:
    known = [one.extras[name] for one in cells if name in one.extras]
    return sum(known) / len(known) if known else None


def _extra(value: float | None, name: str) -> str:
    if name == "rank_distance" and value is not None:
        return f"{value:,.1f}"
    return tenth(value) + ("" if value is None else "%")
