"""Which cells are attacked, with what, and how hard: fixed before any model is seen.

Two plans: ``quick_plan`` takes minutes for a small encoder on two cores, ``full_plan`` is the
whole protocol. A cell's sample of queries is chosen by a hash of their ids, so it is the same
sentences in every language and on every machine.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from training.xtyntegra.perturbed import SHARED_FAMILIES, Recipe
from training.xtyntegra.task import Cell

QUICK_FAMILIES = (
    "typo",
    "diacritics",
    "confusable",
    "invisible",
    "spacing",
    "romanization",
    "word_deletion",
    "code_switch",
)
"""One of each sort: keys, marks, look-alikes, what is unseen, spaces, script, words, languages."""

_QUICK_LANGUAGES = """
    acm_Arab acq_Arab aeb_Arab ajp_Arab aka_Latn amh_Ethi ars_Arab ayr_Latn azb_Arab bak_Cyrl
    bjn_Latn bod_Tibt dik_Latn gaz_Latn hau_Latn hye_Armn ilo_Latn isl_Latn kac_Latn kan_Knda
    kas_Deva kea_Latn kir_Cyrl kmb_Latn knc_Arab lao_Laoo lin_Latn ltg_Latn lua_Latn lug_Latn
    luo_Latn lus_Latn mai_Deva min_Arab npi_Deva pag_Latn pap_Latn plt_Latn quy_Latn run_Latn
    sag_Latn sat_Olck scn_Latn ssw_Latn szl_Latn tuk_Latn twi_Latn xho_Latn
"""
QUICK_LANGUAGES = tuple(_QUICK_LANGUAGES.split())
"""Of the low-resource track in FLORES-200 all that are unseen in training, and by a hash of their
codes 15 that have a seen relative and 24 that were seen; 11 scripts."""

QUICK_CELLS = ("flores200/to-english", "xquad-r/pooled")
QUICK_QUERIES = 100
INSIDE_QUERIES = 30
EPSILONS = (0.05, 0.1, 0.2, 0.5, 1.0)
RADII = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
SMOOTHING = 0.1
SMOOTHED_RADII = (0.0005, 0.001, 0.01, 0.05, 0.1)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is attacked, and how.

    Attributes:
        families: Families of perturbations; see ``perturbed.SHARED_FAMILIES``.
        edits: Budgets of edits.
        draws: Texts drawn for each query and budget.
        seed: Of everything that is drawn.
        cells: Tasks with their settings, such as ``flores200/to-english``; empty: all.
        languages: Languages of queries that are attacked; empty: all.
        whole_tasks: Tasks that are attacked in all their languages all the same.
        queries: Most queries of a cell; None: all.
        epsilons: Radii of noise on token embeddings, in mean token norms; empty: none.
        inside_queries: Most queries of a cell that are attacked from the inside; None: ``queries``.
        radii: Distances of vectors at which the certified share is told.
        smoothing: Size of the noise that embeddings are smoothed with to be certified, in mean
            token norms; 0: they are not.
        samples: Draws of that noise for each query.
        smoothed_radii: Radii in mean token norms at which that certified share is told.
        search: Whether the probe's own search attacks as well, which depends on the model.

    Raises:
        InvalidInputError: If a value does not fit.
    """

    families: tuple[str, ...] = QUICK_FAMILIES
    edits: tuple[int, ...] = (1, 2)
    draws: int = 3
    seed: int = 0
    cells: tuple[str, ...] = QUICK_CELLS
    languages: tuple[str, ...] = ()
    whole_tasks: tuple[str, ...] = ()
    queries: int | None = QUICK_QUERIES
    epsilons: tuple[float, ...] = EPSILONS
    inside_queries: int | None = INSIDE_QUERIES
    radii: tuple[float, ...] = RADII
    smoothing: float = 0.0
    samples: int = 200
    smoothed_radii: tuple[float, ...] = SMOOTHED_RADII
    search: bool = False

    def __post_init__(self) -> None:
        if len(set(self.families)) < len(self.families):
            raise InvalidInputError(
                f"Got the attacks {', '.join(self.families)}; expected each one once."
            )
        for most in (self.queries, self.inside_queries):
            if most is not None and most < 1:
                raise InvalidInputError(f"Got {most} queries of a cell; expected at least 1.")
        lengths = (*self.epsilons, *self.radii, *self.smoothed_radii)
        if min(lengths, default=1.0) <= 0.0 or self.smoothing < 0.0 or self.samples < 2:
            raise InvalidInputError(
                f"Got epsilons {self.epsilons}, radii {(*self.radii, *self.smoothed_radii)}, "
                f"smoothing {self.smoothing:g} and {self.samples} samples; expected epsilons and "
                "radii above 0, smoothing from 0 and at least 2 samples."
            )
        self.recipes()

    def recipes(self) -> tuple[Recipe, ...]:
        """How each family perturbs; raises InvalidInputError if one cannot be asked so."""
        return tuple(Recipe(name, self.edits, self.draws, self.seed) for name in self.families)

    def covers(self, cell: Cell) -> bool:
        """Tell whether a cell is attacked."""
        if self.cells and f"{cell.task}/{cell.setting}" not in self.cells:
            return False
        known = not self.languages or cell.query_lang in self.languages
        return known or cell.task in self.whole_tasks


@dataclass(frozen=True)
class Sample:
    """A cell with the queries that are attacked.

    Attributes:
        cell: The cell, with these queries alone.
        rows: Where they stand in the whole cell, rising, shape (queries,).
        whole: Whether these are all of its queries.
    """

    cell: Cell
    rows: NDArray[np.intp]
    whole: bool


def quick_plan(languages: Sequence[str] = ()) -> Plan:
    """Attack part of the low-resource track and XQuAD-R, or the languages given, in minutes."""
    if languages:
        return Plan(languages=tuple(languages))
    return Plan(languages=QUICK_LANGUAGES, whole_tasks=("xquad-r",))


def full_plan(languages: Sequence[str] = ()) -> Plan:
    """Attack every cell with every family, ten draws, all queries: hours."""
    return Plan(
        families=SHARED_FAMILIES,
        draws=10,
        cells=(),
        languages=tuple(languages),
        queries=None,
        inside_queries=None,
        smoothing=SMOOTHING,
    )


def with_task(plan: Plan, task: str, settings: Sequence[str]) -> Plan:
    """Attack a task as well, in all of its languages."""
    cells = (*plan.cells, *(f"{task}/{setting}" for setting in settings)) if plan.cells else ()
    return replace(plan, cells=cells, whole_tasks=(*plan.whole_tasks, task))


def sample(cell: Cell, most: int | None) -> Sample:
    """Choose the queries of a cell that are attacked, by their ids alone."""
    n = len(cell.queries)
    if most is None or n <= most:
        return Sample(cell, np.arange(n), whole=True)
    order = sorted(range(n), key=lambda row: (_ticket(cell.query_ids[row]), row))
    return part_of(cell, np.array(sorted(order[:most])))


def part_of(cell: Cell, rows: NDArray[np.intp]) -> Sample:
    """Take some queries of a cell."""
    chosen = rows.tolist()
    excluded = cell.excluded
    part = replace(
        cell,
        queries=[cell.queries[row] for row in chosen],
        query_ids=[cell.query_ids[row] for row in chosen],
        relevant=[cell.relevant[row] for row in chosen],
        excluded=None if excluded is None else [excluded[row] for row in chosen],
    )
    return Sample(part, rows, whole=len(rows) == len(cell.queries))


def _ticket(query_id: str) -> bytes:
    return hashlib.blake2b(query_id.encode(), digest_size=16).digest()
