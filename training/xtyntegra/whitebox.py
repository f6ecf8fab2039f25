"""Noise on token embeddings: the worst that gradients find, and as much of it at random.

Of the queries that are right, the share that noise within a ball makes wrong, for balls of several
radii; radii are in mean token norms, so that encoders of other scales are compared alike. It is
no text: a bound on every attacker of texts of the same tokens within the ball. The random noise is
the control, of the same size and drawn as often; where it is as good as the gradient, the gradient
leads nowhere and the figure says nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import ArtifactError, InvalidInputError
from app.robustness.ball import Ball, Norm
from app.robustness.descent import Descent, Pushed, push, scatter
from app.robustness.inside import TokenRow
from app.robustness.resources import Access
from app.robustness.smoothing import Lens, unit_rows
from app.robustness.substitution import row_of
from training.xtyntegra.dethrone import Dethrone
from training.xtyntegra.encoders import OpenEncoder
from training.xtyntegra.entries import entry_of
from training.xtyntegra.measure import Measured, rank_cell
from training.xtyntegra.outcomes import HEADLINE, Outcome, attack_figures
from training.xtyntegra.plan import Plan, part_of, sample
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import Cell
from training.xtyntegra.vectors import Vectors

GRADIENT, CONTROL = "white-box", "white-box-noise"
_LAST_BITS = 0.02  # share of queries whose first hit rounding may decide


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try.

    Attributes:
        steps: Gradient steps of each restart.
        restarts: Starts of each query, the first from the query itself.
        norm: Whether a radius bounds the noise of each token, or of the whole text.
    """

    steps: int = 10
    restarts: int = 2
    norm: Norm = "text"


@dataclass(frozen=True)
class FromInside:
    """What noise on embeddings came to in one cell.

    Attributes:
        cell: Key of the cell.
        rows: The queries that were attacked, as rows of the whole cell, shape (queries,).
        query_ids: Their ids.
        entries: For ``cells`` of a result: two for each radius, gradient and control.
        measured: By query, one for each entry.
        shifts: The least shift of each query's vector that broke it; infinite where nothing did.
        warnings: Where a figure is not to be trusted, and why.
    """

    cell: str
    rows: NDArray[np.intp]
    query_ids: Sequence[str]
    entries: list[dict[str, Any]]
    measured: list[Measured]
    shifts: NDArray[np.float64]
    warnings: list[str] = field(default_factory=list)


def open_inside(encoder: OpenEncoder) -> Access | str:
    """Open the gradient graph of what is scored; or say why there is none."""
    if encoder.artifact is None:
        return (
            f"a {encoder.kind} has no gradient graph to attack; export it as an artifact with a "
            "white box"
        )
    try:
        from app.insight import open_access

        precision = str(encoder.runtime.get("precision", "auto"))
        return open_access(encoder.artifact, precision)
    except (InvalidInputError, ArtifactError) as error:
        return error.message


def attack_inside(
    access: Access,
    cell: Cell,
    vectors: Vectors,
    plan: Plan,
    drawing: Drawing,
    effort: Effort | None = None,
) -> FromInside:
    """Attack a cell's sample of queries with noise on their token embeddings.

    A query that a smaller radius breaks is broken at a larger one, whose ball holds that noise; so
    only the others are attacked there. The control is drawn for each radius on its own. Queries
    that are wrong without noise are left as they are.

    Args:
        access: The gradient graph and the tokenizer.
        cell: The cell, whole.
        vectors: The encoder that is scored, for the documents.
        plan: Its radii, seed and sample.
        drawing: Of intervals.
        effort: How hard to try; None: the defaults.
    """
    chosen = effort or Effort()
    most = plan.inside_queries if plan.inside_queries is not None else plan.queries
    drawn = sample(cell, most)
    part = drawn.cell
    run = _Run(access, part, vectors.documents(cell.pool), chosen, plan.seed)
    served = vectors.queries(part.queries)
    shifts = np.full(len(part.queries), np.inf)
    entries: list[dict[str, Any]] = []
    measured: list[Measured] = []
    warnings = run.disagreement(served)
    broken: dict[int, Pushed] = {}
    for epsilon in sorted(plan.epsilons):
        left = [row for row in run.right if row not in broken]
        broken |= {row: one for row, one in run.push(left, epsilon).items() if one.success}
        control = {row: one for row, one in run.scatter(epsilon).items() if one.success}
        for row, one in (*broken.items(), *control.items()):
            shifts[row] = min(shifts[row], one.shift)
        if len(control) > len(broken):
            warnings.append(
                f"{cell.key}, epsilon {epsilon:g}: random noise broke {len(control)} queries and "
                f"the gradient {len(broken)} of {len(run.right)}"
            )
        for name, found in ((GRADIENT, broken), (CONTROL, control)):
            measured.append(run.measure(found, f"{name}/epsilon={epsilon:g}"))
            named = {"family": name, "epsilon": epsilon, **asdict(chosen)}
            entries.append(run.entry(measured[-1], named, drawing))
    return FromInside(cell.key, drawn.rows, part.query_ids, entries, measured, shifts, warnings)


class _Run:
    """One cell's queries seen from the inside.

    Attributes:
        clean: Where they stand without noise, by the white box's own vectors.
        moves: Queries with a token that may move, shape (queries,).
        right: Rows of the queries to attack.
    """

    def __init__(
        self,
        access: Access,
        cell: Cell,
        documents: NDArray[np.float32],
        effort: Effort,
        seed: int,
    ) -> None:
        self._lens = Lens(access.inside)
        self._cell, self._documents = cell, documents
        self._effort, self._seed = effort, seed
        self._tokens: list[TokenRow] = [row_of(one) for one in access.speller.read(cell.queries)]
        self._plain = unit_rows(self._lens.texts(self._tokens))
        self.clean = rank_cell(self._plain, documents, cell, "clean")
        self.moves = np.array([row.end > row.begin for row in self._tokens])
        right = (self.clean.values[HEADLINE] == 1.0) & self.moves
        self.right: list[int] = np.flatnonzero(right).tolist()

    def disagreement(self, served: NDArray[np.float32]) -> list[str]:
        """Warn where the white box is another encoder than the one that is scored."""
        ranked = rank_cell(served, self._documents, self._cell, "clean")
        others = int((ranked.values[HEADLINE] != self.clean.values[HEADLINE]).sum())
        if others <= _LAST_BITS * len(served):
            return []
        return [
            f"{self._cell.key}: the white box ranks {others} of {len(served)} queries otherwise "
            "than the encoder that is scored"
        ]

    def push(self, rows: Sequence[int], epsilon: float) -> dict[int, Pushed]:
        """Search for the worst noise for some queries."""
        return self._search(push, rows, epsilon)

    def scatter(self, epsilon: float) -> dict[int, Pushed]:
        """Try random noise for all queries that are right."""
        return self._search(scatter, self.right, epsilon)

    def measure(self, found: dict[int, Pushed], condition: str) -> Measured:
        """Rank again, the queries found with their noise."""
        vectors = self._plain.copy()
        for row, one in found.items():
            vectors[row] = one.vector
        return rank_cell(vectors, self._documents, self._cell, condition)

    def entry(self, after: Measured, named: Mapping[str, Any], drawing: Drawing) -> dict[str, Any]:
        """Write the entry of one radius."""
        ids, clean = self._cell.query_ids, self.clean.values
        outcome = Outcome(ids, clean, [after.values], self.moves)
        attack = {**named, **attack_figures(outcome, drawing)}
        return entry_of(self._cell, after.condition, outcome, [after], attack, drawing)

    def _search(self, how: Any, rows: Sequence[int], epsilon: float) -> dict[int, Pushed]:
        if not rows:
            return {}
        part = part_of(self._cell, np.array(rows)).cell
        found = how(
            self._lens,
            [self._tokens[row] for row in rows],
            Dethrone(part, self._documents),
            Ball(epsilon, self._effort.norm),
            Descent(self._effort.steps, self._effort.restarts, self._seed),
        )
        return dict(zip(rows, found, strict=True))
