"""A benchmark's result as it comes back from JSON: cells and sums with types, names for readers.

Fields are read as the probe's report reads them: what is not there is None or empty, what is of
another type is refused by name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.errors import InvalidInputError
from app.robustness.reading import Part, Record, by_name, count, number, part, parts, share, word
from training.xtyntegra.report_names import ALL, CLEAN, Group, language_of

_SEARCHED = "probe:"
_KEYS = {"benchmark", "cells"}


@dataclass(frozen=True, slots=True)
class Attack:
    """How queries of a cell were changed, and what came of it.

    Attributes:
        family: Of perturbations, or the name of the white-box attack; ``probe:`` stands before it
            where texts were searched for by asking the model, and not the same for all models.
        edits: Most edits in a query; None for attacks on vectors.
        epsilon: Radius in mean token norms; None for attacks on text.
        success: Share of the queries right before that are no more, in the worst of the draws.
        drop: 1 - accuracy attacked / accuracy clean.
        clean: Metrics of the same queries without the attack; may be a sample of the cell's.
        not_applicable: Queries that the family has no edit for.
    """

    family: str
    edits: float | None
    epsilon: float | None
    success: Part
    drop: Part
    clean: Mapping[str, float | None]
    not_applicable: int

    @property
    def is_noise(self) -> bool:
        """Whether it is chance, to be compared with an attack of the same size."""
        return "noise" in self.family

    @property
    def is_shared(self) -> bool:
        """Whether it changes texts, the same ones for every model."""
        return self.edits is not None and not self.family.startswith(_SEARCHED)


@dataclass(frozen=True, slots=True)
class Cell:
    """One ranking problem under one condition; ``lang`` as ``language_of`` names it."""

    group: Group
    lang: str
    track: str
    condition: str
    queries: int
    metrics: Mapping[str, Part]
    extras: Mapping[str, float]
    attack: Attack | None


@dataclass(frozen=True, slots=True)
class Macro:
    """A mean over languages with its interval, and the worst of them."""

    value: float | None
    low: float | None
    high: float | None
    worst: float | None
    worst_lang: str | None


@dataclass(frozen=True, slots=True)
class Sum:
    """What the languages of a track came to; ``success`` and ``drop`` are empty when clean."""

    group: Group
    condition: str
    track: str
    languages: int
    metrics: Mapping[str, Macro]
    extras: Mapping[str, float]
    success: Macro
    drop: Macro
    family: str | None
    edits: float | None
    epsilon: float | None

    @property
    def is_noise(self) -> bool:
        """Whether it is of chance, not of an attack."""
        return "noise" in (self.family or "")

    @property
    def is_shared(self) -> bool:
        """Whether it is of an attack on texts, the same ones for every model."""
        return self.edits is not None and not (self.family or "").startswith(_SEARCHED)


@dataclass(frozen=True, slots=True)
class Reading:
    """A whole result.

    Attributes:
        record: As it came.
        cells: In the order of the run.
        sums: Likewise.
    """

    record: Record
    cells: Sequence[Cell]
    sums: Sequence[Sum]

    @property
    def groups(self) -> list[Group]:
        """Tasks and settings that were measured clean, in the order of the run."""
        return list(dict.fromkeys(one.group for one in self.cells if one.condition == CLEAN))

    @property
    def attacked(self) -> list[Group]:
        """Those with attacks on their texts, the ones with most languages first."""
        langs: dict[Group, set[str]] = {}
        for one in self.cells:
            if one.attack and one.attack.is_shared:
                langs.setdefault(one.group, set()).add(one.lang)
        return sorted(langs, key=lambda group: -len(langs[group]))

    @property
    def main(self) -> Group | None:
        """What the page leads with: attacked if any is, and of most languages."""
        sizes = {group: len(self.clean(group)) for group in self.attacked or self.groups}
        return max(sizes, key=lambda group: sizes[group]) if sizes else None

    def clean(self, group: Group) -> list[Cell]:
        """The cells of a group as they are without attack."""
        return [one for one in self.cells if one.group == group and one.condition == CLEAN]

    def under_attack(self, group: Group) -> list[Cell]:
        """The cells of a group under attacks with texts that are the same for every model."""
        return [
            one for one in self.cells if one.group == group and one.attack and one.attack.is_shared
        ]

    def sum_of(self, group: Group, condition: str = CLEAN, track: str = ALL) -> Sum | None:
        """Find a sum."""
        wanted = (group, condition, track)
        return next((s for s in self.sums if (s.group, s.condition, s.track) == wanted), None)


def read_result(result: object) -> Reading:
    """Take a result of ``tyntegra bench xtyntegra``.

    Raises:
        InvalidInputError: If it is none, or a field of it holds something else than it should.
    """
    if not isinstance(result, Mapping) or not result.keys() >= _KEYS:
        raise InvalidInputError(
            "This is not a result of the benchmark: expected an object with `benchmark` and "
            "`cells`, as `tyntegra bench xtyntegra` writes it to result.json."
        )
    if result["benchmark"] != "xtyntegra":
        raise InvalidInputError(
            f"This is a result of {result['benchmark']!r:.80}; expected one of 'xtyntegra': give "
            "the result.json of a run."
        )
    cells = [_cell(one) for one in parts(result, "cells")]
    return Reading(result, cells, [_sum(one) for one in parts(result, "summary")])


def reference_edits(cells: Iterable[Cell]) -> float | None:
    """Choose the budget that attacks are compared at: of the most usual ones the middle."""
    seen: dict[float, int] = {}
    for one in cells:
        if one.attack and one.attack.edits is not None:
            seen[one.attack.edits] = seen.get(one.attack.edits, 0) + 1
    usual = sorted(edits for edits, n in seen.items() if n >= 0.5 * max(seen.values()))
    return usual[len(usual) // 2] if usual else None


def _cell(record: Record) -> Cell:
    langs = (word(record, "query_lang") or "und", word(record, "document_lang") or "")
    return Cell(
        group=_group(record),
        lang=language_of(*langs),
        track=word(record, "track") or "other",
        condition=word(record, "condition") or CLEAN,
        queries=count(record, "queries"),
        metrics={name: share(one) for name, one in by_name(record, "metrics").items()},
        extras=_extras(record),
        attack=_attack(record) if part(record, "attack") else None,
    )


def _attack(cell: Record) -> Attack:
    record = part(cell, "attack")
    return Attack(
        family=_family(cell) or "",
        edits=number(record, "edits"),
        epsilon=number(record, "epsilon"),
        success=share(part(record, "success_rate")),
        drop=share(part(record, "relative_drop")),
        clean={name: number(part(record, "clean"), name) for name in part(record, "clean")},
        not_applicable=count(record, "not_applicable"),
    )


def _sum(record: Record) -> Sum:
    attack = part(record, "attack")
    return Sum(
        group=_group(record),
        condition=word(record, "condition") or CLEAN,
        track=word(record, "track") or ALL,
        languages=count(record, "languages"),
        metrics={name: _macro(one) for name, one in by_name(record, "metrics").items()},
        extras=_extras(record),
        success=_macro(part(attack, "success_rate")),
        drop=_macro(part(attack, "relative_drop")),
        family=_family(record),
        edits=number(attack, "edits"),
        epsilon=number(attack, "epsilon"),
    )


def _family(record: Record) -> str | None:
    name = word(part(record, "attack"), "family")
    searched = (word(record, "condition") or "").startswith(_SEARCHED)
    return f"{_SEARCHED}{name}" if name and searched else name


def _macro(record: Record) -> Macro:
    names = ("macro", "low", "high", "worst")
    value, low, high, worst = (number(record, name) for name in names)
    return Macro(value, low, high, worst, word(record, "worst_lang"))


def _group(record: Record) -> Group:
    return word(record, "task") or "", word(record, "setting") or ""


def _extras(record: Record) -> dict[str, float]:
    found = part(record, "extras")
    known = {name: number(found, name) for name in found}
    return {name: value for name, value in known.items() if value is not None}
