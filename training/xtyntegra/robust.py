"""Everything but the clean figures of a run: attacks by texts, from the inside, certificates.

    robust = Robustness(encoder, plan, folder, drawing)
    robust.prepare(cells)
    for part in robust.on(cells, clean, vectors): ...

A part is one cell, whole: what it adds to a result, and its queries. Cells of one task and language
of queries cost least together.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.robustness.resources import Access
from app.robustness.smoothing import Noise
from training.xtyntegra.attacked import Attacked, TextAttacks
from training.xtyntegra.certified import (
    MARGIN,
    SMOOTHED,
    certified_entries,
    margin_radii,
    smoothed_radii,
    unbroken_entries,
    violations,
)
from training.xtyntegra.encoders import OpenEncoder
from training.xtyntegra.known import KnownTexts
from training.xtyntegra.measure import Measured
from training.xtyntegra.outcomes import HEADLINE
from training.xtyntegra.perturbed import SHARED_FAMILIES
from training.xtyntegra.plan import Plan, sample
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.searched import search_cell
from training.xtyntegra.task import Cell
from training.xtyntegra.vectors import Vectors
from training.xtyntegra.whitebox import FromInside, attack_inside, open_inside


@dataclass
class Part:
    """What the attacks on one cell add to a run.

    Attributes:
        cell: Its key.
        entries: For ``cells`` of a result.
        certified: For ``certified``.
        queries: What each condition came to by query, with the ids of its queries.
        not_measured: For ``not_measured``.
    """

    cell: str
    entries: list[dict[str, Any]] = field(default_factory=list)
    certified: list[dict[str, Any]] = field(default_factory=list)
    queries: list[tuple[Measured, Sequence[str]]] = field(default_factory=list)
    not_measured: list[dict[str, str]] = field(default_factory=list)


class Robustness:
    """The attacks and certificates of one run."""

    def __init__(
        self,
        encoder: OpenEncoder,
        plan: Plan,
        folder: Path,
        drawing: Drawing,
        *,
        known: KnownTexts | None = None,
        accept_changed: bool = False,
    ) -> None:
        """Open what looks inside the encoder, if there is anything.

        Args:
            encoder: What is scored.
            plan: What is attacked, and how hard.
            folder: Where perturbed queries are, or will be written.
            drawing: Of intervals.
            known: Digests of perturbed queries to compare with; None: those that come along.
            accept_changed: Go on with other texts than those of the digests, and say so.
        """
        self._plan, self._drawing = plan, drawing
        self._texts = TextAttacks(plan, folder, drawing, known=known, accept_changed=accept_changed)
        self._access: Access | None = None
        self._why: list[dict[str, str]] = []
        self._left: list[dict[str, str]] = []
        if plan.epsilons or plan.smoothing:
            opened = open_inside(encoder)
            if isinstance(opened, str):
                self._why.append({"what": "white-box", "why": opened})
            else:
                self._access = opened

    def prepare(
        self,
        cells: Sequence[Cell],
        progress: Callable[[str], None] = lambda _: None,
        workers: int = 1,
    ) -> None:
        """Make or read the perturbed queries of all cells; see ``TextAttacks.prepare``."""
        self._texts.prepare(cells, progress, workers)
        self._left = _left_out(self._plan, cells)

    @property
    def attacks(self) -> list[dict[str, Any]]:
        """For ``protocol`` of a result; see ``TextAttacks.protocol``."""
        return self._texts.protocol()

    @property
    def epsilons(self) -> list[float]:
        """For ``protocol`` of a result: radii of noise that was tried."""
        return sorted(self._plan.epsilons) if self._access else []

    @property
    def changed(self) -> list[str]:
        """For ``protocol``: how the perturbed queries differ from those that come along."""
        return list(self._texts.changed)

    @property
    def not_measured(self) -> list[dict[str, str]]:
        """For ``not_measured`` of a result: what no cell has."""
        return [*self._texts.not_measured, *self._why, *self._left]

    def on(
        self, cells: Sequence[Cell], clean: Mapping[str, Measured], vectors: Vectors
    ) -> Iterator[Part]:
        """Attack cells; those that the plan does not cover have no part.

        Args:
            cells: The cells.
            clean: What each came to without attack, by its key.
            vectors: The encoder.

        Raises:
            BenchmarkError: If a file of perturbed queries is damaged.
        """
        covered = [cell for cell in cells if self._plan.covers(cell)]
        by_cell: dict[str, list[Attacked]] = {cell.key: [] for cell in covered}
        for attacked in self._texts.on(covered, clean, vectors):
            by_cell[attacked.cell].append(attacked)
        for cell in covered:
            yield self._part(cell, clean[cell.key], by_cell.pop(cell.key), vectors)

    def _part(
        self, cell: Cell, clean: Measured, attacked: list[Attacked], vectors: Vectors
    ) -> Part:
        part = Part(cell.key)
        if self._plan.search:
            found, left = search_cell(cell, clean, vectors, self._plan, self._drawing)
            attacked, part.not_measured = attacked + found, part.not_measured + left
        for one in attacked:
            part.entries += one.entries
            part.queries += [(measured, one.query_ids) for measured in one.measured]
        inside = None
        if self._access and self._plan.epsilons:
            inside = attack_inside(self._access, cell, vectors, self._plan, self._drawing)
            part.entries += inside.entries
            part.queries += [(measured, inside.query_ids) for measured in inside.measured]
            part.not_measured += [
                {"what": f"white-box on {cell.key}, as it should be", "why": why}
                for why in inside.warnings
            ]
        self._certify(part, cell, clean, (attacked, inside), vectors)
        return part

    def _certify(
        self,
        part: Part,
        cell: Cell,
        clean: Measured,
        found: tuple[list[Attacked], FromInside | None],
        vectors: Vectors,
    ) -> None:
        plan = self._plan
        chosen = sample(cell, plan.queries)
        documents = vectors.documents(cell.pool)
        radii = margin_radii(vectors.queries(chosen.cell.queries), documents, chosen.cell)
        shifts = _least_shifts(len(cell.queries), found)[chosen.rows]
        part.certified += certified_entries(chosen.cell, MARGIN, radii, plan.radii)
        right = clean.values[HEADLINE][chosen.rows] == 1.0
        part.certified += unbroken_entries(chosen.cell, right, shifts, plan.radii)
        if broken := violations(radii, shifts):
            why = f"{broken} queries were broken by a shift below their certified radius"
            part.not_measured.append(
                {"what": f"{MARGIN} on {cell.key}, as it should be", "why": why}
            )
        if self._access and plan.smoothing:
            inner = sample(cell, plan.inside_queries).cell
            noise = Noise(plan.smoothing, plan.samples, plan.seed)
            proven = smoothed_radii(self._access, documents, inner, noise)
            part.certified += certified_entries(inner, SMOOTHED, proven, plan.smoothed_radii)


def _left_out(plan: Plan, cells: Sequence[Cell]) -> list[dict[str, str]]:
    """Name what the plan leaves out, so that nobody takes it for measured."""
    left: dict[str, int] = {}
    for cell in cells:
        if not plan.covers(cell):
            name = f"{cell.task}/{cell.setting}"
            left[name] = left.get(name, 0) + 1
    found = [
        {"what": f"attacks on {count} cells of {name}", "why": "the plan does not attack them"}
        for name, count in sorted(left.items())
    ]
    if families := [name for name in SHARED_FAMILIES if name not in plan.families]:
        why = "the plan does not have them"
        found.append({"what": f"attacks by {', '.join(families)}", "why": why})
    why = "its texts depend on the model, so no two models would be asked the same"
    found.append({"what": "attacks by token_neighbor", "why": why})
    if not plan.epsilons:
        found.append({"what": "white-box", "why": "the plan has no epsilons"})
    if not plan.smoothing:
        found.append({"what": SMOOTHED, "why": "the plan does not smooth"})
    return found


def _least_shifts(
    queries: int, found: tuple[list[Attacked], FromInside | None]
) -> NDArray[np.float64]:
    """The least shift that broke each query of a cell, over all attacks; infinite for none."""
    least = np.full(queries, np.inf)
    attacked, inside = found
    for one in (*attacked, *([inside] if inside else [])):
        least[one.rows] = np.minimum(least[one.rows], one.shifts)
    return least
