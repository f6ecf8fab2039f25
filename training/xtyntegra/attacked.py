"""Cells under the attacks of a plan: perturbed queries in, entries of a result out.

The perturbed queries are made first, for all cells and without any model (``TextAttacks.prepare``),
and compared with the digests that come along. Then each cell is measured, its sample of queries
under each family, budget of edits and draw.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.entries import entry_of
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.known import KnownTexts, committed
from training.xtyntegra.measure import Measured, rank_cell
from training.xtyntegra.outcomes import HEADLINE, Outcome, attack_figures
from training.xtyntegra.perturbed import Condition, Perturbed
from training.xtyntegra.perturbed_files import Request, make_files, perturbed_for, read_perturbed
from training.xtyntegra.plan import Plan, Sample, sample
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import Cell
from training.xtyntegra.vectors import Vectors

Group = tuple[str, str]
"""Task and language of queries: cells of one group share their perturbed queries."""


@dataclass(frozen=True)
class Attacked:
    """One cell under all attacks of one family.

    Attributes:
        cell: Key of the cell.
        rows: The queries that were attacked, as rows of the whole cell, shape (queries,).
        query_ids: Their ids.
        entries: For ``cells`` of a result: one for each budget of edits.
        measured: By query, one for each budget and draw.
        shifts: The least shift of each query's vector that broke it (a chord between unit
            vectors, as the certified radius); infinite where nothing did, shape (queries,).
    """

    cell: str
    rows: NDArray[np.intp]
    query_ids: Sequence[str]
    entries: list[dict[str, Any]]
    measured: list[Measured]
    shifts: NDArray[np.float64]


class TextAttacks:
    """The attacks by texts of one run."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        drawing: Drawing,
        *,
        known: KnownTexts | None = None,
        accept_changed: bool = False,
    ) -> None:
        """Choose what is attacked; nothing is made yet.

        Args:
            plan: What, and how hard.
            folder: Where perturbed queries are, or will be written.
            drawing: Of intervals.
            known: Digests to compare with; None: those that come along.
            accept_changed: Go on with texts that are not those of the digests, and say so.
        """
        self._plan, self._folder, self._drawing = plan, folder, drawing
        self._known = committed() if known is None else known
        self._accept = accept_changed
        self._digests: dict[tuple[str, int], dict[str, str]] = {}
        self._checked: dict[str, list[bool]] = {}
        self._idle: dict[tuple[str, str, str], list[str]] = {}
        self.changed: list[str] = []
        """What differs from the digests that come along, in sentences."""

    def prepare(
        self,
        cells: Sequence[Cell],
        progress: Callable[[str], None] = lambda _: None,
        workers: int = 1,
    ) -> None:
        """Make the perturbed queries of all cells, or read them, and check them.

        Args:
            cells: The cells.
            progress: Is told each file that was made.
            workers: Processes that make them.

        Raises:
            BenchmarkError: If they are not those that the digests say, or a file is damaged.
        """
        requests = self.requests(cells)
        for made in make_files(requests, self._folder, workers):
            progress(f"{made.task} {made.lang}, {made.recipe.family}")
        for one in requests:
            self._note(read_perturbed(self._folder / one.file))
        if self.changed and not self._accept:
            more = f" (and {len(self.changed) - 3} more)" if len(self.changed) > 3 else ""
            raise BenchmarkError(
                "The perturbed queries are not those that all models are attacked with: "
                f"{'; '.join(self.changed[:3])}{more}. Use the data and the Python named, or "
                "accept changed texts: figures are then not to be compared with others."
            )

    def requests(self, cells: Sequence[Cell]) -> list[Request]:
        """Name the files of perturbed queries that the plan asks for."""
        return [
            Request(*group, texts, recipe)
            for group, texts in self._texts(cells).items()
            for recipe in self._plan.recipes()
        ]

    def protocol(self) -> list[dict[str, Any]]:
        """Name the attacks for a result, each with the SHA-256 of all its texts.

        ``known`` tells whether the texts are those that come along: ``same``, ``changed``, or
        ``unknown`` where there is nothing to compare some of them with.
        """
        return [
            {
                "family": recipe.family,
                "edits": edits,
                "draws": recipe.draws,
                "seed": recipe.seed,
                "sha256": _joined(self._digests.get((recipe.family, edits), {})),
                "known": self._verdict(recipe.family),
            }
            for recipe in self._plan.recipes()
            for edits in recipe.edits
        ]

    @property
    def not_measured(self) -> list[dict[str, str]]:
        """For ``not_measured`` of a result: families that act on no text of some languages."""
        return [
            {"what": f"{family} on {task}: {', '.join(sorted(set(langs)))}", "why": reason}
            for (family, task, reason), langs in sorted(self._idle.items())
        ]

    def on(
        self, cells: Sequence[Cell], clean: Mapping[str, Measured], vectors: Vectors
    ) -> Iterator[Attacked]:
        """Attack cells; those of one task and language of queries cost least together.

        Args:
            cells: Cells, those that the plan does not cover among them.
            clean: What each cell came to without attack, by its key.
            vectors: The encoder.

        Raises:
            BenchmarkError: If a file of perturbed queries is damaged.
        """
        everything = self._texts(cells)
        for group, texts in everything.items():
            samples = [sample(cell, self._plan.queries) for cell in self._of(cells, group)]
            for recipe in self._plan.recipes():
                perturbed = perturbed_for(*group, texts, recipe, self._folder)
                variants = [text for column in perturbed.variants.values() for text in column]
                distinct = sorted({text for text in variants if text is not None})
                rows = vectors.queries(distinct, keep=False)
                places = {text: place for place, text in enumerate(distinct)}
                for each in samples:
                    yield _attack(
                        each, clean[each.cell.key], perturbed, (rows, places), vectors,
                        self._drawing,
                    )  # fmt: skip

    def _texts(self, cells: Sequence[Cell]) -> dict[Group, list[str]]:
        """The distinct queries of each group, of the cells that the plan covers."""
        found: dict[Group, dict[str, None]] = {}
        for cell in cells:
            if self._plan.covers(cell):
                texts = found.setdefault((cell.task, cell.query_lang), {})
                texts |= dict.fromkeys(sample(cell, self._plan.queries).cell.queries)
        return {group: sorted(texts) for group, texts in found.items()}

    def _of(self, cells: Sequence[Cell], group: Group) -> list[Cell]:
        return [
            cell
            for cell in cells
            if self._plan.covers(cell) and (cell.task, cell.query_lang) == group
        ]

    def _note(self, perturbed: Perturbed) -> None:
        family, name = perturbed.recipe.family, f"{perturbed.task}/{perturbed.lang}"
        for edits in perturbed.recipe.edits:
            digests = [perturbed.digest((edits, draw)) for draw in range(perturbed.recipe.draws)]
            self._digests.setdefault((family, edits), {})[name] = "".join(digests)
        differences = self._known.differences(perturbed)
        self._checked.setdefault(family, []).append(differences is not None)
        self.changed += differences or []
        if reason := perturbed.why_not():
            self._idle.setdefault((family, perturbed.task, reason), []).append(perturbed.lang)

    def _verdict(self, family: str) -> str:
        if any(f", {family}:" in said for said in self.changed):
            return "changed"
        checked = self._checked.get(family, [])
        return "same" if checked and all(checked) else "unknown"


def _attack(
    chosen: Sample,
    clean: Measured,
    perturbed: Perturbed,
    encoded: tuple[NDArray[np.float32], Mapping[str, int]],
    vectors: Vectors,
    drawing: Drawing,
) -> Attacked:
    """Measure one cell under one family."""
    cell, rows = chosen.cell, chosen.rows
    before = {name: values[rows] for name, values in clean.values.items()}
    plain, documents = vectors.queries(cell.queries), vectors.documents(cell.pool)
    places = [perturbed.places[text] for text in cell.queries]
    applies = np.array(perturbed.applies(), dtype=bool)[places]
    right = (before[HEADLINE] == 1.0) & applies
    shifts = np.full(len(rows), np.inf)
    measured: dict[Condition, Measured] = {}
    for condition in perturbed.recipe.conditions:
        after = plain.copy()
        column = perturbed.variants[condition]
        for row in np.flatnonzero(applies).tolist():
            after[row] = encoded[0][encoded[1][str(column[places[row]])]]
        name = f"{perturbed.recipe.family}/edits={condition[0]}/draw={condition[1]}"
        found = _as_before(rank_cell(after, documents, cell, name), clean, rows, ~applies)
        measured[condition] = found
        moved = np.linalg.norm(after.astype(np.float64) - plain, axis=1)
        broken = right & (found.values[HEADLINE] < 1.0)
        shifts = np.where(broken, np.minimum(shifts, moved), shifts)
    entries: list[dict[str, Any]] = []
    for edits in perturbed.recipe.edits:
        draws = [measured[edits, draw] for draw in range(perturbed.recipe.draws)]
        outcome = Outcome(cell.query_ids, before, [one.values for one in draws], applies)
        named = {
            "family": perturbed.recipe.family, "edits": edits, "draws": len(draws),
        }  # fmt: skip
        attack = named | attack_figures(outcome, drawing)
        condition = f"{perturbed.recipe.family}/edits={edits}"
        entries.append(entry_of(cell, condition, outcome, draws, attack, drawing))
    return Attacked(cell.key, rows, cell.query_ids, entries, list(measured.values()), shifts)


def _as_before(
    found: Measured, clean: Measured, rows: NDArray[np.intp], kept: NDArray[np.bool_]
) -> Measured:
    """Let queries that were not touched stand exactly as they did."""
    ranks = np.where(kept, clean.ranks[rows], found.ranks).astype(np.int32)
    values = {
        name: np.where(kept, clean.values[name][rows], column)
        for name, column in found.values.items()
    }
    return Measured(found.cell, found.condition, ranks, values, found.extras)


def _joined(digests: Mapping[str, str]) -> str:
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()
