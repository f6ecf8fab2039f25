"""Languages under attacks: one picture of all of them, and the numbers behind it, folded.

Columns stand from the attack that breaks most to the one that breaks least, rows by track and
within it from the language that breaks most, so that what belongs together is seen together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from app.robustness.markup import plain, show
from app.robustness.plots import Caption
from app.robustness.reading import FEW, Part
from training.xtyntegra.report_carpet import NAMED, carpet
from training.xtyntegra.report_names import (
    TRACK_NAMES,
    Group,
    group_name,
    mean,
    spoken,
    tenth,
)
from training.xtyntegra.report_reading import Cell, Reading, reference_edits
from training.xtyntegra.report_tables import Row, fold, grid, scale, shaded, shaded_part

_WORST = 15
_MOST_LANGS = 400
_MOST_FAMILIES = 40
_MOST_CELLS = 25_000
_EMPTY = Part(None, None, None, 0, 0)


@dataclass(frozen=True)
class Heat:
    """The success of each attack on each language of a task, at one budget.

    Attributes:
        group: The task.
        edits: The budget.
        families: From the one that breaks most.
        tracks: Language -> track, by track and from the one that breaks most.
        cells: Language and family -> cell.
    """

    group: Group
    edits: float
    families: Sequence[str]
    tracks: Mapping[str, str]
    cells: Mapping[tuple[str, str], Cell]

    def success(self, lang: str, family: str) -> Part:
        """The share that an attack broke; empty where it was not measured."""
        cell = self.cells.get((lang, family))
        return cell.attack.success if cell and cell.attack else _EMPTY

    def over_families(self, lang: str) -> float | None:
        """Average a language over the attacks."""
        return mean(self.success(lang, family).value for family in self.families)

    def over_langs(self, family: str, langs: Sequence[str]) -> float | None:
        """Average an attack over some languages."""
        return mean(self.success(lang, family).value for lang in langs)


def heat_of(reading: Reading, group: Group) -> Heat | None:
    """Gather a task's attacks at the budget that they are compared at; None without attacks."""
    cells = reading.under_attack(group)
    edits = reference_edits(cells)
    if edits is None:
        return None
    found: dict[tuple[str, str], Cell] = {}
    tracks: dict[str, str] = {}
    for one in cells:
        if one.attack and one.attack.edits == edits:
            found[one.lang, one.attack.family] = one
            tracks[one.lang] = one.track
    rough = Heat(group, edits, list(dict.fromkeys(name for _, name in found)), tracks, found)
    langs = list(tracks)
    families = sorted(
        rough.families, key=lambda name: _falling(rough.over_langs(name, langs), name)
    )[:_MOST_FAMILIES]
    order = {track: place for place, track in enumerate(("unseen", "related", "seen", "other"))}
    langs.sort(key=lambda lang: _falling(rough.over_families(lang), lang))
    langs.sort(key=lambda lang: order.get(tracks[lang], 9))
    return Heat(group, edits, families, {lang: tracks[lang] for lang in langs}, found)


def heat_section(reading: Reading) -> str:
    """Draw the main task's attacks, and write the tables of all tasks."""
    heats = [heat for group in reading.attacked if (heat := heat_of(reading, group))]
    if not heats:
        return "<p>No attack on texts was run, so nothing is said of how languages break.</p>"
    heat = heats[0]
    parts = [_intro(heat), scale(), _overview(heat), _worst(heat), _whole(heat)]
    cells = len(heat.cells)
    for other in heats[1:]:
        cells += len(other.cells)
        name = plain(group_name(other.group), 90)
        if cells <= _MOST_CELLS:
            parts.append(fold(f"{name}: under attack", _overview_table(other) + _whole(other)))
        else:
            parts.append(fold(f"{name}: under attack, by track", _overview_table(other)))
    return "".join(parts)


def edits_words(edits: float) -> str:
    """Write a budget in words."""
    return f"{edits:g} edit{'' if edits == 1 else 's'}"


def _intro(heat: Heat) -> str:
    return (
        f"<p>Of the queries that were right before, the share that an attack with up to "
        f"{edits_words(heat.edits)} broke ({escape(plain(group_name(heat.group), 90))}). "
        "A query counts as broken if one of the draws of the attack breaks it. "
        "Attacks stand from the hardest to the mildest, languages by track and within it from "
        "the one that breaks most.</p>"
    )


def _overview(heat: Heat) -> str:
    langs = list(heat.tracks)
    bands = [
        (
            TRACK_NAMES.get(track, track) if len(langs) <= NAMED else track,
            [(one, [heat.success(one, name).value for name in heat.families]) for one in some],
        )
        for track, some in _by_track(heat).items()
    ]
    hardest = heat.families[0]
    caption = Caption(
        "carpet",
        f"{len(langs):,} languages under {len(heat.families):,} attacks",
        f"Each row is a language, each column an attack. The hardest, {plain(hardest)}, breaks "
        f"{tenth(heat.over_langs(hardest, langs))} percent in the mean of the languages. The "
        "tables beside and below have the numbers.",
        "",
        "",
    )
    picture = f"<figure><figcaption>{escape(caption.title)}</figcaption>"
    return (
        f'<div class="beside">{picture}{carpet(caption, heat.families, bands)}</figure>'
        f"<div>{_attack_table(heat)}</div></div>{_overview_table(heat)}"
    )


def _attack_table(heat: Heat) -> str:
    """Write each attack: over all languages, and where it does most."""
    langs = list(heat.tracks)
    rows: list[Row] = []
    for family in heat.families:
        known = [lang for lang in langs if heat.success(lang, family).value is not None]
        sure = [lang for lang in known if heat.success(lang, family).n >= FEW] or known
        worst = max(sure, key=lambda lang: heat.success(lang, family).value or 0.0, default=None)
        most = heat.success(worst, family) if worst else _EMPTY
        rows.append(
            (
                "",
                [
                    show(family),
                    shaded(heat.over_langs(family, langs)),
                    f"<td>{spoken(worst)}</td>",
                    shaded_part(most),
                    f"{len(known):,}",
                ],
            )
        )
    heads = ["attack", "mean %", "worst language", "there %", "languages"]
    note = f'<p class="note">Worst of the languages with {FEW} or more right queries.</p>'
    return grid("Each attack over the languages", heads, rows, "dense") + note


def _overview_table(heat: Heat) -> str:
    rows = [
        _means(heat, TRACK_NAMES.get(track, track), langs)
        for track, langs in _by_track(heat).items()
    ]
    if len(rows) > 1:
        rows.append(("sum start", _means(heat, "all", list(heat.tracks))[1]))
    return grid(
        "Success of attacks by track: means over its languages, in percent",
        ["track", "languages", "mean", *(plain(name, 30) for name in heat.families)],
        rows,
        "dense",
        3,
    )


def _means(heat: Heat, name: str, langs: Sequence[str]) -> Row:
    cells = [heat.over_langs(family, langs) for family in heat.families]
    return "", [
        escape(plain(name, 60)),
        f"{len(langs):,}",
        shaded(mean(cells)),
        *map(shaded, cells),
    ]


def _worst(heat: Heat) -> str:
    langs = list(heat.tracks)
    if len(langs) <= _WORST:
        return ""
    langs.sort(key=lambda lang: _falling(heat.over_families(lang), lang))
    return _table(heat, f"The {_WORST} languages that break most", langs[:_WORST])


def _whole(heat: Heat) -> str:
    parts: list[str] = []
    for track, langs in _by_track(heat).items():
        name = TRACK_NAMES.get(track, plain(track))
        title = f"{len(langs):,} language{'' if len(langs) == 1 else 's'}: {name}"
        parts.append(fold(title, _table(heat, title, langs[:_MOST_LANGS])))
    scripts = _groups(heat, lambda lang: lang.partition(">")[0].rpartition("_")[2] or lang)
    if len(scripts) > 1:
        order = sorted(scripts, key=lambda one: _falling(_level(heat, scripts[one]), one))
        rows = [_means(heat, script, scripts[script]) for script in order]
        heads = ["script", "languages", "mean", *(plain(name, 30) for name in heat.families)]
        table = grid("Success of attacks by script, in percent", heads, rows, "dense", 3)
        parts.append(fold(f"{len(scripts):,} scripts", table))
    return "".join(parts)


def _table(heat: Heat, title: str, langs: Sequence[str]) -> str:
    rows: list[Row] = []
    for lang in langs:
        cells = [shaded_part(heat.success(lang, family)) for family in heat.families]
        rows.append(
            ("", [spoken(lang), _clean(heat, lang), shaded(heat.over_families(lang)), *cells])
        )
    heads = ["language", "right before", "mean", *(plain(name, 30) for name in heat.families)]
    return grid(f"{title}, in percent", heads, rows, "dense", 3) + (
        f'<p class="note">A dashed border: fewer than {FEW} queries were right before, so the '
        "share says little. Intervals come up on a cell, and stand in the JSON.</p>"
    )


def _clean(heat: Heat, lang: str) -> str:
    known = (heat.cells.get((lang, family)) for family in heat.families)
    cell = next((one for one in known if one and one.attack), None)
    return tenth(cell.attack.clean.get("accuracy@1")) if cell and cell.attack else tenth(None)


def _level(heat: Heat, langs: Sequence[str]) -> float | None:
    return mean(heat.over_families(lang) for lang in langs)


def _by_track(heat: Heat) -> dict[str, list[str]]:
    return _groups(heat, lambda lang: heat.tracks[lang])


def _groups(heat: Heat, name_of: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for lang in heat.tracks:
        groups.setdefault(name_of(lang), []).append(lang)
    return groups


def _falling(value: float | None, name: str) -> tuple[float, str]:
    return (1.0 if value is None else -value, name)
