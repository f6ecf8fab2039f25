"""The head of a benchmark's page: what came out, in a few sentences and a few figures."""

from collections.abc import Sequence
from html import escape

from app.robustness.markup import plain, show
from app.robustness.reading import number, part, word
from training.xtyntegra.report_budget import white_box_sums
from training.xtyntegra.report_heat import edits_words, heat_of
from training.xtyntegra.report_names import (
    ALL,
    CLEAN,
    METRIC_NAMES,
    Group,
    bounds,
    group_name,
    main_metric,
    spoken,
    tenth,
)
from training.xtyntegra.report_reading import Macro, Reading, Sum

_NONE = Macro(None, None, None, None, None)
_SPOKEN = {
    "seen": "low-resource languages seen in training",
    "related": "those with only a relative or a script seen",
    "unseen": "those wholly unseen",
    "other": "languages with more data",
}


def headline(reading: Reading) -> str:
    """Write title, the finding in words, and the key figures."""
    record = reading.record
    name = word(part(record, "encoder"), "name")
    group = reading.main
    if group is None:
        return f"<h1>XTYNTEGRA: {show(name)}</h1><p class='lead'>Nothing was measured.</p>"
    sentences = [_clean(reading, group), _tracks(reading, group)]
    attack = [_attacked(reading, group), _inside(reading)]
    broken = " ".join(one for one in attack if one) or (
        "Nothing was attacked, so this run says nothing of robustness."
    )
    confidence = number(part(record, "protocol"), "confidence") or 0.95
    return (
        f"<h1>XTYNTEGRA: {show(name)}</h1>"
        f"<p class='lead'>{' '.join(one for one in sentences if one)}</p>"
        f"<p class='lead'>{broken}</p>"
        f"{_tiles(reading, group)}"
        f"<p class='note'>{_scope(reading)} In brackets stand intervals that hold with a "
        f"confidence of {100 * confidence:g}%; means count each language the same.</p>"
    )


def _clean(reading: Reading, group: Group) -> str:
    one, metric = reading.sum_of(group), main_metric(group)
    found = one.metrics.get(metric, _NONE) if one else _NONE
    if one is None or found.value is None:
        return f"{escape(plain(group_name(group), 90))} was measured without a mean."
    says = (
        "the right answer comes first for"
        if metric == "accuracy@1"
        else f"{METRIC_NAMES[metric]} is"
    )
    where = (
        f"in the mean of {one.languages:,} languages" if one.languages > 1 else "in one language"
    )
    worst = (
        f" The worst is {spoken(found.worst_lang)} with {tenth(found.worst)}%."
        if one.languages > 1 and found.worst_lang
        else ""
    )
    of = " of queries" if metric == "accuracy@1" else ""
    return (
        f"<b>{escape(plain(group_name(group), 90))}: {says} {_percent(found)}{of}</b>, {where}."
        f"{worst}"
    )


def _tracks(reading: Reading, group: Group) -> str:
    metric = main_metric(group)
    known = [
        (_SPOKEN[track], one.metrics.get(metric, _NONE))
        for track in _SPOKEN
        if (one := reading.sum_of(group, CLEAN, track))
    ]
    known = [(name, one) for name, one in known if one.value is not None]
    if len(known) < 2:
        return ""
    said = [f"{name} {_percent(one)}" for name, one in known]
    text = f"{'; '.join(said)}."
    return text[0].upper() + text[1:]


def _attacked(reading: Reading, group: Group) -> str:
    found = _families(reading, group)
    if not found:
        return ""
    edits = found[0].edits or 0.0
    hardest, middle = found[0], found[len(found) // 2]
    text = (
        f"<b>Under attack with up to {edits_words(edits)}, {show(hardest.family)} breaks "
        f"{_percent(hardest.success)}</b> of what was right before"
    )
    if len(found) > 2:
        text += (
            f"; the middle one of {len(found):,} attacks, {show(middle.family)}, breaks "
            f"{_percent(middle.success)}"
        )
    worst = (
        f", worst in {spoken(hardest.success.worst_lang)}"
        if hardest.languages > 1 and hardest.success.worst_lang
        else ""
    )
    return f"{text}{worst}." if len(found) <= 2 else f"{text}."


def _inside(reading: Reading) -> str:
    groups = list(dict.fromkeys(one.group for one in reading.sums if one.epsilon is not None))
    for group in groups:
        attack, noise = _same_size(white_box_sums(reading, group))
        if attack is None:
            continue
        text = (
            f"With the model's gradients and an epsilon of {attack.epsilon:g}, "
            f"{_percent(attack.success)} break"
        )
        beside = f"; noise of the same size breaks {_percent(noise.success)}" if noise else ""
        return f"{text}{beside}."
    return ""


def _same_size(sums: Sequence[Sum]) -> tuple[Sum | None, Sum | None]:
    """Choose the attack in the middle of the radii, and the noise of its size."""
    attacks = [one for one in sums if not one.is_noise and one.success.value is not None]
    if not attacks:
        return None, None
    attack = attacks[len(attacks) // 2]
    noise = [one for one in sums if one.is_noise and one.epsilon == attack.epsilon]
    return attack, next((one for one in noise if one.success.value is not None), None)


def _families(reading: Reading, group: Group) -> list[Sum]:
    """Sums of the attacks at the budget that they are compared at, the hardest first."""
    heat = heat_of(reading, group)
    if heat is None:
        return []
    found = [
        one
        for one in reading.sums
        if one.group == group
        and one.track == ALL
        and one.edits == heat.edits
        and one.is_shared
        and one.success.value is not None
    ]
    return sorted(found, key=lambda one: -(one.success.value or 0.0))


def _tiles(reading: Reading, group: Group) -> str:
    tiles: list[tuple[str, Macro, str]] = []
    for one in reading.groups:
        total = reading.sum_of(one)
        if total:
            metric = main_metric(one)
            name = escape(plain(group_name(one), 60))
            languages = f"{total.languages:,} language{'' if total.languages == 1 else 's'}"
            tiles.append(
                (name, total.metrics.get(metric, _NONE), f"{METRIC_NAMES[metric]}, {languages}")
            )
    return _list(tiles) + _list(_robust_tiles(reading, group))


def _list(tiles: Sequence[tuple[str, Macro, str]]) -> str:
    items = "".join(
        f'<li><span class="note">{name}</span><b>{tenth(one.value)}% '
        f'<small>{bounds(one.low, one.high)}</small></b><span class="note">{below}</span></li>'
        for name, one, below in tiles
    )
    return f'<ul class="tiles">{items}</ul>' if items else ""


def _robust_tiles(reading: Reading, group: Group) -> list[tuple[str, Macro, str]]:
    found = _families(reading, group)
    tiles: list[tuple[str, Macro, str]] = []
    if found:
        chosen = {"broken by the hardest attack": found[0]}
        if len(found) > 2:
            chosen["broken by the middle attack"] = found[len(found) // 2]
        tiles = [
            (name, one.success, f"{show(one.family)}, {edits_words(one.edits or 0)}")
            for name, one in chosen.items()
        ]
    for inside in dict.fromkeys(one.group for one in reading.sums if one.epsilon is not None):
        attack, noise = _same_size(white_box_sums(reading, inside))
        for name, one in (("broken from the inside", attack), ("broken by noise", noise)):
            if one:
                tiles.append((name, one.success, f"epsilon {one.epsilon:g}"))
        break
    return tiles


def _scope(reading: Reading) -> str:
    encoder = part(reading.record, "encoder")
    langs = {one.lang for one in reading.cells if ">" not in one.lang}
    attacks = {one.attack.family for one in reading.cells if one.attack}
    dim = number(encoder, "dim")
    size = f", {dim:,} dimensions" if dim else ""
    source = show(word(encoder, "source"))
    return (
        f"Measured was {_article(word(encoder, 'kind'))} ({source}{size}) on "
        f"{_some(len(reading.groups), 'task')} in {_some(len(langs), 'language')}, under "
        f"{_some(len(attacks), 'kind')} of attack."
    )


def _some(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _article(kind: str | None) -> str:
    text = kind or "encoder"
    return f"{'an' if text[0] in 'aeio' else 'a'} {show(text)}"


def _percent(one: Macro) -> str:
    return f'<span class="together">{tenth(one.value)}% {bounds(one.low, one.high)}</span>'.replace(
        " </span>", "</span>"
    )
