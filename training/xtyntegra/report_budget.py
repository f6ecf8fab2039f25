"""What a larger budget buys: more edits, and a larger epsilon, beside noise of its size."""

from collections.abc import Mapping, Sequence
from html import escape

from app.robustness.markup import plain, show
from app.robustness.plots import Axis, Caption
from app.robustness.reading import interval, short
from training.xtyntegra.report_heat import edits_words
from training.xtyntegra.report_names import (
    ALL,
    Group,
    group_name,
    mean,
    spoken,
    tenth,
)
from training.xtyntegra.report_reading import Macro, Reading, Sum
from training.xtyntegra.report_svg import Curve, curves, room_for
from training.xtyntegra.report_tables import DASH, Row, grid, shaded, with_bounds

_MOST_FAMILIES = 40
_NAMED = 3


def budget_section(reading: Reading) -> str:
    """Draw the success of attacks on the main task's texts against edits."""
    for group in reading.attacked:
        families = _families(reading, group)
        if families:
            return _against_edits(group, families) + _searched(reading)
    return "<p>No attack on texts was run with a budget of edits.</p>"


def inside_section(reading: Reading) -> str:
    """Draw attacks on vectors against their radius, beside noise of the same size."""
    drawn = [_against_epsilon(reading, group, n) for n, group in enumerate(_inside(reading))]
    if not any(drawn):
        return (
            "<p>No attack that sees the model's gradients was run; what was not measured says "
            "why.</p>"
        )
    return (
        "<p>These attacks move the query's token vectors, by at most epsilon times their mean "
        "norm, where the model's gradients point. Noise of the same size moves them anywhere: what "
        f"lies between both is due to malice, not to size.</p>{''.join(drawn)}"
    )


def white_box_sums(reading: Reading, group: Group) -> list[Sum]:
    """Find the sums over all languages of attacks on vectors, by rising epsilon."""
    found = [
        one
        for one in reading.sums
        if one.group == group and one.track == ALL and one.epsilon is not None
    ]
    return sorted(found, key=lambda one: one.epsilon or 0.0)


def _families(reading: Reading, group: Group) -> dict[str, dict[float, Macro]]:
    """Family -> edits -> success over all languages, the hardest family first."""
    found: dict[str, dict[float, Macro]] = {}
    for one in reading.sums:
        ours = one.group == group and one.track == ALL and one.success.value is not None
        if ours and one.family and one.edits is not None and one.is_shared:
            found.setdefault(one.family, {})[one.edits] = one.success
    order = sorted(found, key=lambda name: (-(_last(found[name]).value or 0.0), name))
    return {name: found[name] for name in order[:_MOST_FAMILIES]}


def _searched(reading: Reading) -> str:
    """Write what the probe's own search reached, beside the shared texts of the same budget."""
    shared = {
        (one.group, one.family, one.edits): one.success
        for one in reading.sums
        if one.track == ALL and one.is_shared
    }
    rows: list[Row] = []
    for one in reading.sums:
        name = one.family or ""
        if one.track != ALL or one.edits is None or one.is_shared:
            continue
        family = name.partition(":")[2]
        beside = shared.get((one.group, family, one.edits))
        where = [show(group_name(one.group), 90), f"<td>{show(family)}</td>", short(one.edits)]
        same = with_bounds(beside.value, beside.low, beside.high) if beside else DASH
        found = with_bounds(one.success.value, one.success.low, one.success.high)
        rows.append(("", [*where, same, found]))
    if not rows:
        return ""
    heads = ["task", "attack", "edits", "shared texts", "searched"]
    return (
        "<p>The shared texts are drawn without asking the model. An attacker who may ask it "
        "searches for the text that it fares worst with; that is other texts for each model.</p>"
        + grid("Share broken by shared texts and by search, in percent", heads, rows)
    )


def _last(by_edits: Mapping[float, Macro]) -> Macro:
    return by_edits[max(by_edits)]


def _against_edits(group: Group, families: Mapping[str, Mapping[float, Macro]]) -> str:
    budgets = sorted({edits for one in families.values() for edits in one})
    named = list(families)
    lines = [
        Curve(name, _curve(one), kind="thin" if n >= _NAMED else "a")
        for n, (name, one) in enumerate(families.items())
    ]
    complete = [one for one in families.values() if len(one) == len(budgets)]
    if len(complete) > 1:
        middle = [(edits, mean(one[edits].value for one in complete) or 0.0) for edits in budgets]
        lines.insert(0, Curve("mean", [(0.0, 0.0), *middle], kind="b"))
    caption = Caption(
        "edits",
        "Success against the budget of edits",
        f"One line an attack, over all languages. With {edits_words(budgets[-1])} the hardest, "
        f"{plain(named[0])}, breaks {tenth(_last(families[named[0]]).value)} percent, the mildest, "
        f"{plain(named[-1])}, {tenth(_last(families[named[-1]]).value)}.",
        "edits of a query, at most",
        "share broken, of queries right before",
    )
    picture = curves(caption, Axis(0, budgets[-1]), lines, [0, *budgets], room_for(lines))
    rows: list[Row] = [
        ("", [show(name), *(cell for edits in budgets for cell in _cells(one.get(edits)))])
        for name, one in families.items()
    ]
    heads = ["attack"]
    for edits in budgets:
        heads += [edits_words(edits), "interval"]
    title = f"Share broken by budget, in percent: {plain(group_name(group), 90)}"
    return (
        f'<div class="beside"><figure><figcaption>{escape(caption.title)}</figcaption>{picture}'
        f"</figure><div>{grid(title, heads, rows, 'dense')}</div></div>"
    )


def _cells(one: Macro | None) -> list[str]:
    if one is None:
        return [shaded(None), f'<td class="none">{DASH}</td>']
    return [shaded(one.value), f"<td>{interval(one.low, one.high) or DASH}</td>"]


def _curve(by_edits: Mapping[float, Macro]) -> list[tuple[float, float]]:
    points = [(edits, by_edits[edits].value or 0.0) for edits in sorted(by_edits)]
    return [(0.0, 0.0), *points]


def _inside(reading: Reading) -> list[Group]:
    return list(dict.fromkeys(one.group for one in reading.sums if one.epsilon is not None))


def _against_epsilon(reading: Reading, group: Group, place: int) -> str:
    sums = white_box_sums(reading, group)
    by_name: dict[str, list[Sum]] = {}
    for one in sums:
        if one.success.value is not None:
            by_name.setdefault(one.family or "", []).append(one)
    if not by_name:
        return ""
    lines = [
        Curve(_spoken(name), _risen(found), _band(found), "b" if found[0].is_noise else "a")
        for name, found in by_name.items()
    ]
    most = max(one.epsilon or 0.0 for one in sums)
    ends = "; ".join(
        f"{plain(_spoken(name))} breaks {tenth(found[-1].success.value)} percent"
        for name, found in by_name.items()
    )
    caption = Caption(
        f"epsilon-{place}",
        f"Success against epsilon: {plain(group_name(group), 90)}",
        f"At the largest epsilon, {most:g}: {ends}.",
        "epsilon, in mean token norms",
        "share broken, of queries right before",
    )
    axis = Axis(0, most)
    rows: list[Row] = [
        (
            "",
            [
                show(_spoken(one.family or "")),
                short(one.epsilon),
                with_bounds(one.success.value, one.success.low, one.success.high),
                f"<td>{spoken(one.success.worst_lang)}</td>",
                tenth(one.success.worst),
            ],
        )
        for found in by_name.values()
        for one in found
    ]
    heads = ["attack", "epsilon", "broken", "worst language", "there"]
    return (
        f'<div class="beside"><figure><figcaption>{escape(caption.title)}</figcaption>'
        f"{curves(caption, axis, lines, axis.ticks())}</figure>"
        f"<div>{grid('Share broken, in percent', heads, rows)}</div></div>"
    )


def _spoken(family: str) -> str:
    return "noise, same size" if "noise" in family else family


def _risen(found: Sequence[Sum]) -> list[tuple[float, float]]:
    return [(0.0, 0.0), *((one.epsilon or 0.0, one.success.value or 0.0) for one in found)]


def _band(found: Sequence[Sum]) -> list[tuple[float, float]]:
    if any(one.success.low is None for one in found):
        return []
    return [(0.0, 0.0), *((one.success.low or 0.0, one.success.high or 0.0) for one in found)]
