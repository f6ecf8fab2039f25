"""The probe's own search for the worst text, anew for each model, apart from the shared files.

An attacker who can ask the model does better than one who cannot; but what one model is attacked
with, another is not, so these figures tell how far a model can be pushed and compare models only
roughly. Entries have conditions of their own, ``probe:typo/edits=2``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.retrieval.store import Collection, Page
from app.robustness.held import HeldStore
from app.robustness.probe import run_probe
from app.robustness.report import ProbeResult
from app.robustness.request import Budget, ProbeQuery, ProbeRequest, SearchChoice
from training.xtyntegra.attacked import Attacked
from training.xtyntegra.entries import entry_of
from training.xtyntegra.measure import Measured, rank_cell
from training.xtyntegra.outcomes import Outcome, attack_figures
from training.xtyntegra.plan import Plan, Sample, sample
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import Cell
from training.xtyntegra.vectors import Vectors

_NAME = "cell"


@dataclass(frozen=True, slots=True)
class Search:
    """How hard the probe tries.

    Attributes:
        queries: Texts tried for each query and family.
        seconds: Time for one cell, family and budget of edits; what is not done by then is told.
    """

    queries: int = 64
    seconds: float = 600.0


class CellStore(HeldStore):
    """The pool of a cell as a collection that a probe searches."""

    def __init__(self, cell: Cell, vectors: NDArray[np.float32]) -> None:
        documents = [
            Document(str(row), text, lang)
            for row, (text, lang) in enumerate(zip(cell.pool.texts, cell.pool.langs, strict=True))
        ]
        described = Collection(_NAME, vectors.shape[1], "model", len(documents))
        super().__init__(described, documents, vectors)

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        """See ``VectorStore``."""
        self.describe(name)
        known = {document.doc_id: document for document in self._documents}
        return [known[doc_id] for doc_id in doc_ids if doc_id in known]

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        """See ``VectorStore``; all of it is one page."""
        self.describe(name)
        spans = [[(0, len(document.text))] for document in self._documents]
        return Page(list(self._documents), spans, self._vectors if vectors else None, None)


def search_cell(
    cell: Cell,
    clean: Measured,
    vectors: Vectors,
    plan: Plan,
    drawing: Drawing,
    search: Search | None = None,
) -> tuple[list[Attacked], list[dict[str, str]]]:
    """Let the probe attack a cell's sample of queries, with each family and budget of the plan.

    Args:
        cell: The cell, whole.
        clean: What it came to without attack.
        vectors: The encoder.
        plan: Families, edits, seed and sample.
        drawing: Of intervals.
        search: How hard to try; None: the defaults.

    Returns:
        What each family and budget came to, and what was not measured with the reason.
    """
    if cell.excluded is not None:
        why = "the probe searches one collection for all queries; here some documents do not compete for some"  # noqa: E501
        return [], [{"what": f"probe on {cell.key}", "why": why}]
    chosen = search or Search()
    part = sample(cell, plan.queries)
    store = CellStore(part.cell, vectors.documents(cell.pool))
    encode = partial(vectors.queries, keep=False)
    found: list[Attacked] = []
    left: list[dict[str, str]] = []
    for family in plan.families:
        for edits in plan.edits:
            request = _request(part.cell, family, edits, plan.seed, chosen)
            report = run_probe(request, encode, store)  # pyright: ignore[reportArgumentType]
            if report.status != "complete":
                what = f"probe:{family}/edits={edits} on {cell.key}, in part"
                left.append({"what": what, "why": report.reason or "it was not complete"})
            before = {name: values[part.rows] for name, values in clean.values.items()}
            found.append(_entry(part, before, (family, edits), report.results, vectors, drawing))
    return found, left


def _request(cell: Cell, family: str, edits: int, seed: int, search: Search) -> ProbeRequest:
    queries = tuple(
        ProbeQuery(str(row), text, cell.query_lang, tuple(map(str, cell.relevant[row].tolist())))
        for row, text in enumerate(cell.queries)
    )
    return ProbeRequest(
        _NAME,
        queries,
        attacks=(family,),
        budget=Budget(edits, search.queries, search.seconds),
        top_k=1,
        seed=seed,
        search=SearchChoice(after_success=False),
    )


def _entry(
    part: Sample,
    before: Mapping[str, NDArray[np.float64]],
    attack: tuple[str, int],
    results: Sequence[ProbeResult],
    vectors: Vectors,
    drawing: Drawing,
) -> Attacked:
    family, edits = attack
    cell = part.cell
    plain, documents = vectors.queries(cell.queries), vectors.documents(cell.pool)
    texts = [result.adversarial_text for result in results]
    after = vectors.queries(texts, keep=False)
    condition = f"probe:{family}/edits={edits}"
    measured = rank_cell(after, documents, cell, condition)
    applies = np.array([result.outcome != "not_applicable" for result in results])
    outcome = Outcome(cell.query_ids, before, [measured.values], applies)
    figures: dict[str, Any] = {
        "family": family,
        "edits": edits,
        "draws": 1,
        "search": "probe",
        "tried": sum(result.queries for result in results),
        **attack_figures(outcome, drawing),
    }
    moved = np.linalg.norm(after.astype(np.float64) - plain, axis=1)
    shifts = np.where(outcome.broken, moved, np.inf)
    entry = entry_of(cell, condition, outcome, [measured], figures, drawing)
    return Attacked(cell.key, part.rows, cell.query_ids, [entry], [measured], shifts)
