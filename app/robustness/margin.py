"""How far a query's vector may move before its answer is lost: exact geometry, no model call.

The boundary between a relevant document a and a rival b is the plane q.(a - b) = 0. A relevant
document leaves the top k only where k rivals have passed it, so the k-th nearest boundary is safe
ground: nothing nearer can do it. Distances are chords |q' - q| between unit vectors, the same unit
as the vector shift that an attack causes. What it trades away: it says nothing of which *texts*
move a vector so far.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.pool import Pool

WHOLE_SPHERE = 2.0
"""The largest distance between unit vectors: nothing can be farther away."""

# Engines compute scores in single precision; differences below this are none.
SLACK = 1e-6


@dataclass(frozen=True, slots=True)
class Margin:
    """How far a query's vector may move.

    Attributes:
        radius: Every unit vector at a distance (chord) below it has the same outcome; 0 if the
            outcome is not there to begin with.
        ambient: The same for vectors of any length, by straight distance; never above ``radius``.
        tight: Whether a vector just beyond ``radius`` loses the outcome for certain; else the
            radius is a lower bound.
    """

    radius: float
    ambient: float
    tight: bool


def margin_radius(
    query: NDArray[np.floating], pool: Pool, relevant: frozenset[str], top_k: int
) -> Margin:
    """Bound how far a query may move with a relevant document staying in the top k.

    Sound: if all relevant documents are out, k rivals are above the best of them, hence above
    each of them; so for any one passage of a relevant document, the query has crossed the planes
    between it and k rivals, and none of these is nearer than the k-th nearest. The radius is that
    of the passage for which it is largest. A rival of several passages passes by its first one.
    On the unit sphere a plane at distance m from q is nearest at the angle asin(m), so at the
    chord 2 sin(asin(m) / 2).

    Tight with ``top_k`` = 1 and one relevant passage: the nearest plane is then the boundary.

    Args:
        query: A unit vector, shape (dim,).
        pool: Documents to compare with; must hold all that could be hits.
        relevant: Names of documents that answer the query, at least one.
        top_k: Hits that the user sees.

    Raises:
        InvalidInputError: If a relevant document is not in the pool, or ``top_k`` is below 1.
    """
    ours, rivals = pool.parts(relevant)
    _require(ours, top_k)
    if len(rivals.doc_ids) < top_k:
        return Margin(WHOLE_SPHERE, WHOLE_SPHERE, tight=False)
    planes = _planes(query, ours.vectors, rivals.vectors)  # (ours, rivals' passages)
    nearest = np.minimum.reduceat(planes, rivals.starts, axis=1)  # (ours, rivals)
    kth = np.partition(nearest, top_k - 1, axis=1)[:, top_k - 1]
    return _margin(float(kth.max()), tight=top_k == 1 and len(planes) == 1)


def set_radius(query: NDArray[np.floating], pool: Pool, top_k: int) -> Margin:
    """Bound how far a query may move with the set of its first ``top_k`` hits staying the same.

    Each of them has to stay above every other document; the nearest of all these planes decides.
    """
    if not 1 <= top_k < len(pool.doc_ids):
        return Margin(WHOLE_SPHERE, WHOLE_SPHERE, tight=False)
    scores = pool.best(pool.scores(np.asarray(query)[None]))[0]
    order = sorted(range(len(scores)), key=lambda place: (-scores[place], pool.doc_ids[place]))
    members = [pool.doc_ids[place] for place in order[:top_k]]
    _, others = pool.parts(members)
    return min(
        (margin_radius(query, pool.joined(name, others), frozenset([name]), 1) for name in members),
        key=lambda margin: margin.radius,
    )


def exclusion_radius(query: NDArray[np.floating], pool: Pool, target: str, top_k: int) -> Margin:
    """Bound how far a query may move with a document staying *out* of the top k (promotion).

    With n documents above it now, it enters only after passing n - k + 1 of them; none of the
    planes it crosses for that is nearer than the (n - k + 1)-th nearest. It passes a document of
    several passages only by passing all of them.

    Args:
        query: A unit vector, shape (dim,).
        pool: Documents to compare with; must hold all that could be hits.
        target: Name of the document that shall not rise.
        top_k: Hits that the user sees.

    Raises:
        InvalidInputError: If the target is not in the pool, or ``top_k`` is below 1.
    """
    ours, others = pool.parts([target])
    _require(ours, top_k)
    if not others.doc_ids:
        return Margin(0.0, 0.0, tight=True)
    planes = -_planes(query, ours.vectors, others.vectors, -SLACK)  # (ours, others' passages)
    distances = np.maximum.reduceat(planes, others.starts, axis=1).min(axis=0)  # (others,)
    above = np.sort(distances[distances > 0.0])
    if len(above) < top_k:
        return Margin(0.0, 0.0, tight=True)
    tight = len(above) == top_k == 1 and len(planes) == 1 and others.sizes.max() == 1
    return _margin(float(above[len(above) - top_k]), tight)


def margin_from_scores(own: float, rivals: list[float], top_k: int) -> Margin:
    """Bound the same from the scores of a search alone, without any document's vector.

    Scores are cosines of angles, and a query that turns by t changes no angle by more than t: the
    document stays above the k-th rival for every t below half the difference of their angles.
    Where only scores are known nothing better holds, for the document, the query and the rival
    may lie on one great circle.

    Args:
        own: Score of the best relevant document.
        rivals: Scores of the documents that are not relevant, highest first; at least ``top_k`` of
            them, or all that there are.
        top_k: Hits that the user sees.
    """
    if top_k < 1:
        raise InvalidInputError(f"top_k is {top_k}; expected at least 1.")
    if len(rivals) < top_k:
        return Margin(WHOLE_SPHERE, WHOLE_SPHERE, tight=False)
    angles = [
        math.acos(min(1.0, max(-1.0, score))) for score in (own - SLACK, rivals[top_k - 1] + SLACK)
    ]
    turn = max(0.0, angles[1] - angles[0]) / 2
    return Margin(2.0 * math.sin(turn / 2), math.sin(turn), tight=False)


def _planes(
    query: NDArray[np.floating],
    ours: NDArray[np.floating],
    theirs: NDArray[np.floating],
    slack: float = SLACK,
) -> NDArray[np.float64]:
    """Signed distances of the query to the planes between each two, shape (ours, theirs)."""
    q = np.asarray(query, dtype=np.float64)
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(theirs, dtype=np.float64)
    gaps = (a @ q)[:, None] - (b @ q)[None, :] - slack
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2.0 * (a @ b.T)
    apart = np.sqrt(np.maximum(squares, 0.0))
    # Equal vectors have no plane between them: their order is that of their names, wherever q is.
    equal = apart <= SLACK
    return np.where(equal, np.minimum(gaps, 0.0), gaps / np.where(equal, 1.0, apart))


def _margin(plane: float, tight: bool) -> Margin:
    distance = min(max(plane, 0.0), 1.0)
    return Margin(2.0 * math.sin(math.asin(distance) / 2), distance, tight and distance > 0.0)


def _require(ours: Pool, top_k: int) -> None:
    if top_k < 1 or not ours.doc_ids:
        raise InvalidInputError(
            f"Got {len(ours.doc_ids)} documents of interest and top_k {top_k}; expected at least "
            "one document and top_k from 1."
        )
