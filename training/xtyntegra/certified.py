"""Which share of queries provably stays right, beside what attacks broke, in the same unit.

Two units. *Vector shift*: how far a query's vector moves, a chord between unit vectors. There the
output margin is exact geometry and covers every change of the text whatsoever that moves the vector
less; beside it stands the share that no attack of this run broke by so small a shift, which bounds
from above what any certificate can reach. *Mean token norms*: noise on the token embeddings, where
the smoothed encoder's certificate stands beside the white box's success rate at the same epsilon;
it holds for search by smoothed vectors alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.robustness.bounds import Confidence, preference
from app.robustness.certificates import gaussian_certificate
from app.robustness.margin import SLACK, WHOLE_SPHERE
from app.robustness.pool import Pool, pool_of
from app.robustness.resources import Access
from app.robustness.smoothing import Noise, noisy_vectors
from app.robustness.substitution import row_of
from training.xtyntegra.outcomes import share
from training.xtyntegra.task import Cell

MARGIN, UNBROKEN, SMOOTHED = "output-margin", "unbroken", "smoothed-embeddings"
SHIFT, NORMS = "vector shift (chord)", "mean token norms"
CONFIDENCE = 0.95
_BLOCK_BYTES = 64 << 20


def margin_radii(
    queries: NDArray[np.float32], documents: NDArray[np.float32], cell: Cell
) -> NDArray[np.float64]:
    """Bound how far each query's vector may move with a right document staying first.

    For one right document the radius is the distance to the nearest plane between it and a wrong
    one, exactly; for several it is that of the document for which it is largest, a lower bound.

    Args:
        queries: Unit rows, shape (queries, dim).
        documents: Unit rows, shape (documents, dim).
        cell: What is right and what competes.

    Returns:
        Chords between unit vectors, shape (queries,); 0 for queries that are not right, 2 where
        nothing competes.

    References:
        The theorem and its proof are those of ``app.robustness.margin.margin_radius`` with
        ``top_k`` = 1.
    """
    radii = np.zeros(len(queries))
    whole = documents.astype(np.float64)
    squares = (whole * whole).sum(axis=1)
    owners = np.repeat(np.arange(len(queries)), [len(rows) for rows in cell.relevant])
    right = np.concatenate(cell.relevant) if len(queries) else np.empty(0, dtype=np.intp)
    size = max(1, _BLOCK_BYTES // (24 * max(1, len(documents))))
    for start in range(0, len(right), size):
        mine, rows = right[start : start + size], owners[start : start + size]
        vectors = queries[rows].astype(np.float64)
        scores = vectors @ whole.T  # (block, documents)
        gaps = scores[np.arange(len(mine)), mine][:, None] - scores - SLACK
        apart = squares[mine][:, None] + squares[None] - 2.0 * (whole[mine] @ whole.T)
        apart = np.sqrt(np.maximum(apart, 0.0))
        # Equal vectors have no plane between them; a tie counts against the query.
        planes = np.where(apart <= SLACK, np.minimum(gaps, 0.0), gaps / np.maximum(apart, SLACK))
        for place, query in enumerate(rows.tolist()):
            planes[place, cell.relevant[query]] = np.inf
            if cell.excluded is not None:
                planes[place, cell.excluded[query]] = np.inf
        nearest = planes.min(axis=1)
        np.maximum.at(radii, rows, _chords(nearest))
    return radii


def certified_entries(
    cell: Cell, kind: str, radii: NDArray[np.float64], at: Sequence[float]
) -> list[dict[str, Any]]:
    """Tell the share of all queries whose radius is at least so large.

    Args:
        cell: The cell with the queries that the radii are of.
        kind: ``MARGIN`` or ``SMOOTHED``.
        radii: 0 for queries that are not right, or where nothing is certified, shape (queries,).
        at: Radii to tell it at, above 0.
    """
    unit = NORMS if kind == SMOOTHED else SHIFT
    return [_entry(cell, kind, unit, radius, radii >= radius) for radius in sorted(at)]


def unbroken_entries(
    cell: Cell, right: NDArray[np.bool_], shifts: NDArray[np.float64], at: Sequence[float]
) -> list[dict[str, Any]]:
    """Tell the share of all queries that are right and that nothing broke by so small a shift.

    Args:
        cell: The cell with the queries that were attacked.
        right: Those that are right without attack, shape (queries,).
        shifts: The least shift that broke each, infinite where nothing did, shape (queries,).
        at: Radii to tell it at.
    """
    return [
        _entry(cell, UNBROKEN, SHIFT, radius, right & (shifts >= radius)) for radius in sorted(at)
    ]


def smoothed_radii(
    access: Access,
    documents: NDArray[np.float32],
    cell: Cell,
    noise: Noise,
    alpha: float = 0.01,
) -> NDArray[np.float64]:
    """Certify noise on each query's token embeddings, for search by smoothed vectors.

    Args:
        access: The white box and the tokenizer.
        documents: Unit rows, shape (documents, dim).
        cell: The cell with the queries to certify.
        noise: What is averaged over.
        alpha: Probability that one query's radius is wrong.

    Returns:
        Frobenius norms in mean token norms, shape (queries,); 0 to abstain.
    """
    inside = access.inside
    sigma, unit = noise.entry_sigma(inside), inside.mean_norm
    radii = np.zeros(len(cell.queries))
    for place, read in enumerate(access.speller.read(cell.queries)):
        row = row_of(read)
        if row.end == row.begin:
            continue
        drawn = noisy_vectors(inside, row, noise)
        pool, names = _competitors(documents, cell, place)
        low = preference(drawn, pool, names, 1, Confidence(alpha))
        found = gaussian_certificate(low, sigma, unit, noise.samples, Confidence(alpha))
        radii[place] = found.relative
    return radii


def violations(radii: NDArray[np.float64], shifts: NDArray[np.float64]) -> int:
    """Count queries that were broken by a shift below their certified radius: none, if all is well.

    Args:
        radii: Of ``margin_radii``.
        shifts: The least shift that broke each query.
    """
    return int((shifts < radii - 2.0 * SLACK).sum())


def _competitors(
    documents: NDArray[np.float32], cell: Cell, query: int
) -> tuple[Pool, frozenset[str]]:
    """The documents that compete for a query, and the names of the right ones."""
    rows = np.arange(len(documents))
    if cell.excluded is not None:
        rows = np.setdiff1d(rows, cell.excluded[query])
    pool = pool_of([str(row) for row in rows.tolist()], documents[rows])
    return pool, frozenset(str(row) for row in cell.relevant[query].tolist())


def _entry(
    cell: Cell, kind: str, unit: str, radius: float, kept: NDArray[np.bool_]
) -> dict[str, Any]:
    return {
        "task": cell.task,
        "setting": cell.setting,
        "query_lang": cell.query_lang,
        "document_lang": cell.document_lang,
        "kind": kind,
        "unit": unit,
        "radius": float(radius),
        "share": share(int(kept.sum()), len(kept), CONFIDENCE),
    }


def _chords(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Chords on the unit sphere from distances to planes; the whole sphere where there is none."""
    inside = np.clip(np.where(np.isfinite(planes), planes, 0.0), 0.0, 1.0)
    return np.where(np.isposinf(planes), WHOLE_SPHERE, 2.0 * np.sin(np.arcsin(inside) / 2.0))
