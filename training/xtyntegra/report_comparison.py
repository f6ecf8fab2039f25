"""Two or more runs of the benchmark as one page of HTML; the first is the baseline."""

from collections.abc import Mapping, Sequence
from html import escape

from app.errors import InvalidInputError
from app.robustness.markup import plain, show
from app.robustness.page import page_of
from app.robustness.reading import Record, count, number, part, parts, short, word
from training.xtyntegra.report_differences import (
    Change,
    changes_of,
    languages_section,
    moves_section,
    points,
    points_bounds,
    small_p,
    tally,
    tinted,
)
from training.xtyntegra.report_names import (
    ALL,
    CLEAN,
    METRIC_NAMES,
    TRACK_NAMES,
    TRACKS,
    Group,
    group_name,
    main_metric,
    tenth,
)
from training.xtyntegra.report_origin import gaps
from training.xtyntegra.report_reading import Reading, read_result
from training.xtyntegra.report_style import rules
from training.xtyntegra.report_tables import DASH, Row, fold, grid

_MOST_ROWS = 400
_Q = 0.05


def html_of_comparison(comparison: object, results: Sequence[object]) -> str:
    """Write a comparison's page for readers.

    Args:
        comparison: The comparison, read from JSON.
        results: The results of its runs, in their order; empty where they are not at hand.

    Raises:
        InvalidInputError: If one of them is something else, or their number differs.
    """
    record = _check(comparison, results)
    readings = [read_result(one) for one in results]
    names = _names(parts(record, "runs"))
    pairs = parts(record, "pairs")
    q = number(record, "q") or _Q
    head = "".join(_lead(pair, names, q) for pair in pairs)
    sections = [("All runs", _overview(names, pairs))]
    for place, pair in enumerate(pairs):
        title = f"{_named(names, pair, 'other')} against {_named(names, pair, 'baseline')}"
        sections.append((title, _pair(pair, readings, q, place)))
    sections.append(("What was not compared", gaps(parts(record, "left_out"), "compared")))
    sections.append(("How it was compared", _origin(record)))
    lead = (
        "<h1>XTYNTEGRA: runs compared</h1>"
        f"{head or '<p>There is no pair of runs to compare.</p>'}"
        '<p class="note">Differences are in points of percent, positive where the second run is '
        "better. In brackets: 95% intervals, the same sentences drawn for both runs.</p>"
    )
    title = " against ".join(plain(name, 40) for name in names[:2])
    return page_of(f"XTYNTEGRA: {escape(title)}", lead, sections, "", rules())


def _check(comparison: object, results: Sequence[object]) -> Record:
    known = isinstance(comparison, Mapping) and comparison.get("benchmark")
    if not isinstance(comparison, Mapping) or known != "xtyntegra-comparison":
        raise InvalidInputError(
            "This is not a comparison of runs: expected an object with `benchmark` "
            "'xtyntegra-comparison', as `tyntegra bench compare` writes it to comparison.json."
        )
    runs = parts(comparison, "runs")
    if results and len(results) != len(runs):
        raise InvalidInputError(
            f"Got {len(results)} results for a comparison of {len(runs)} runs; expected one for "
            "each, in their order."
        )
    for pair in parts(comparison, "pairs"):
        for side in ("baseline", "other"):
            if not 0 <= count(pair, side) < len(runs):
                raise InvalidInputError(
                    f"A pair's {side!r} is run {count(pair, side)}; expected a place among the "
                    f"{len(runs)} runs."
                )
    return comparison


def _name(run: Record) -> str:
    return word(part(run, "encoder"), "name") or word(run, "folder") or "a run"


def _names(runs: Sequence[Record]) -> list[str]:
    """Name runs by their encoders; of equal names the folder says which is which."""
    names = [_name(run) for run in runs]
    return [
        f"{name} in {word(run, 'folder')}" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def _named(names: Sequence[str], pair: Record, side: str) -> str:
    return show(names[count(pair, side)], 60)


def _rows(pair: Record, condition: str | None, track: str | None = ALL) -> list[Record]:
    """Rows of a pair's summary in each task's usual metric; None: of all attacks, of all tracks."""
    return [
        one
        for one in parts(pair, "summary")
        if (word(one, "condition") == condition if condition else word(one, "condition") != CLEAN)
        and (track is None or word(one, "track") == track)
        and (word(one, "metric") or "accuracy@1") == main_metric(_group(one))
    ]


def _group(record: Record) -> Group:
    return word(record, "task") or "", word(record, "setting") or ""


def _lead(pair: Record, names: Sequence[str], q: float) -> str:
    clean = _rows(pair, CLEAN)
    second, first = (_named(names, pair, side) for side in ("other", "baseline"))
    if not clean:
        return f"<p class='lead'>{second} against {first}: no task of both was compared.</p>"
    row = max(clean, key=lambda one: count(one, "languages"))
    group = _group(row)
    some = [one for one in changes_of(pair, q) if one.group == group and one.condition == CLEAN]
    languages = f" Of {len(some):,} languages: {tally(some)}." if some else ""
    return (
        f"<p class='lead'><b>{second} against {first}: {escape(plain(group_name(group), 90))}, "
        f"{METRIC_NAMES.get(main_metric(group))} goes from {tenth(number(row, 'baseline'))}% to "
        f"{tenth(number(row, 'other'))}%, <span class='together'>{_difference(row)}</span> "
        f"points.</b>{languages}{_attacks(pair, group)}</p>"
    )


def _attacks(pair: Record, group: Group) -> str:
    rows = [one for one in _rows(pair, None) if _group(one) == group]
    known = [(number(one, "difference"), _sign(one)) for one in rows]
    values = [value for value, _ in known if value is not None]
    if not values:
        return " No attack was run on both."
    better = sum(sign > 0 for _, sign in known)
    worse = sum(sign < 0 for _, sign in known)
    return (
        f" Under {len(values):,} attacks it changes by {points(min(values))} to "
        f"{points(max(values))} points: better under {better:,}, worse under {worse:,}."
    )


def _sign(row: Record) -> int:
    """Which way a difference is, where its interval leaves no doubt; else 0."""
    low, high = number(row, "low"), number(row, "high")
    if low is None or high is None:
        return 0
    return 1 if low > 0 else -1 if high < 0 else 0


def _difference(row: Record) -> str:
    bounds = points_bounds(number(row, "low"), number(row, "high"))
    return f"{points(number(row, 'difference'))} {bounds}".rstrip()


def _overview(names: Sequence[str], pairs: Sequence[Record]) -> str:
    """Write the macro of each task for each run, the baseline first."""
    found: dict[Group, dict[int, float | None]] = {}
    for pair in pairs:
        for row in _rows(pair, CLEAN):
            known = found.setdefault(_group(row), {})
            known[count(pair, "baseline")] = number(row, "baseline")
            known[count(pair, "other")] = number(row, "other")
    rows: list[Row] = []
    for group, known in found.items():
        values = [one for one in known.values() if one is not None]
        best = max(values, default=None)
        cells = [_value(known.get(place), best) for place in range(len(names))]
        metric = f"<td>{METRIC_NAMES.get(main_metric(group))}</td>"
        rows.append(("", [escape(plain(group_name(group), 90)), metric, *cells]))
    if not rows:
        return "<p>No task of several runs was compared without attack.</p>"
    heads = ["task", "metric", *(plain(name, 60) for name in names)]
    return grid("Without attack: means over languages, in percent", heads, rows) + (
        '<p class="note">In bold the highest; whether that is more than chance stands below.</p>'
    )


def _value(value: float | None, best: float | None) -> str:
    return f"<b>{tenth(value)}</b>" if value is not None and value == best else tenth(value)


def _pair(pair: Record, readings: Sequence[Reading], q: float, place: int) -> str:
    changes = changes_of(pair, q)
    written = [_macros(pair), _under_attack(pair)]
    group = _main(changes)
    if group:
        written.append(
            f"<h3>Language by language</h3>{languages_section(changes, group, str(place))}"
        )
    if readings:
        first, second = (readings[count(pair, side)] for side in ("baseline", "other"))
        written.append(f"<h3>Clean against robust</h3>{moves_section(first, second, str(place))}")
    return "".join(written)


def _main(changes: Sequence[Change]) -> Group | None:
    sizes: dict[Group, int] = {}
    for one in changes:
        if one.condition == CLEAN:
            sizes[one.group] = sizes.get(one.group, 0) + 1
    return max(sizes, key=lambda group: sizes[group], default=None)


def _macros(pair: Record) -> str:
    rows: list[Row] = []
    seen: dict[Group, list[Record]] = {}
    for row in _rows(pair, CLEAN, None):
        seen.setdefault(_group(row), []).append(row)
    order = {track: place for place, track in enumerate((ALL, *TRACKS))}
    for group, found in seen.items():
        found.sort(key=lambda one: order.get(word(one, "track") or "", 9))
        for n, row in enumerate(found):
            track = word(row, "track") or ""
            name = plain(group_name(group), 90) if n == 0 else TRACK_NAMES.get(track, plain(track))
            rows.append(("sum start" if n == 0 else "part", [escape(name), *_figures(row)]))
    if not rows:
        return ""
    heads = ["task, track", "languages", "first", "second", "points", "interval", "p"]
    return grid("Means over languages without attack, in percent", heads, rows[:_MOST_ROWS])


def _figures(row: Record) -> list[str]:
    return [
        f"{count(row, 'languages'):,}",
        tenth(number(row, "baseline")),
        tenth(number(row, "other")),
        tinted(number(row, "difference")),
        f"<td>{points_bounds(number(row, 'low'), number(row, 'high')) or DASH}</td>",
        small_p(number(row, "p_value")),
    ]


def _under_attack(pair: Record) -> str:
    rows = _rows(pair, None)
    if not rows:
        return "<p>No attack was run on both, so robustness is not compared.</p>"
    rows.sort(key=lambda one: number(one, "difference") or 0.0)
    written: list[Row] = [
        (
            "",
            [
                show(word(row, "condition")),
                f"<td>{escape(plain(group_name(_group(row)), 90))}</td>",
                *_figures(row),
            ],
        )
        for row in rows[:_MOST_ROWS]
    ]
    heads = ["attack", "task", "languages", "first", "second", "points", "interval", "p"]
    table = grid("Under attack: means over languages, in percent", heads, written)
    return table if len(written) <= 12 else fold(f"Under attack: {len(rows):,} conditions", table)


def _origin(record: Record) -> str:
    rows: list[Row] = [
        (
            "",
            [
                show(_name(run)),
                f"<td>{show(word(part(run, 'encoder'), 'kind'))}</td>",
                f"<td>{show(word(run, 'folder'), 200)}</td>",
                f"<td>{show(word(part(run, 'encoder'), 'identity'), 200)}</td>",
            ],
        )
        for run in parts(record, "runs")
    ]
    q = number(record, "q") or _Q
    known = [
        ("Written", show(word(record, "created"))),
        ("Confidence", short(number(record, "confidence"))),
        ("Resamples", short(number(record, "resamples"))),
        ("Seed", short(number(record, "seed"))),
    ]
    listed = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in known)
    return (
        "<p>Means are compared by a bootstrap that draws whole sentences anew, the same for both "
        "runs; a language by McNemar's exact test on the queries that only one run has right, "
        "corrected for the number of languages after Benjamini and Hochberg, with at most "
        f"{100 * q:g}% of the languages called different expected to be false.</p>"
        + grid("Runs", ["encoder", "kind", "folder", "identity"], rows)
        + f"<dl>{listed}</dl>"
    )
