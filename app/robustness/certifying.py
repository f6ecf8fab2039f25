"""The stage of a probe that certifies: how far a query may change without losing its answer.

Each certificate stands beside the smallest change in its own unit that an attack succeeded with.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from app.retrieval.store import VectorStore
from app.robustness.bounds import Confidence, preference
from app.robustness.certificates import (
    SCOPES,
    certified_edits,
    deletion_losses,
    substitution_losses,
)
from app.robustness.empirical import Empirical
from app.robustness.findings import CertificateReport, CertifiedQuery
from app.robustness.goal import Demotion, Promotion
from app.robustness.inner import Inner
from app.robustness.inside import HaltedError
from app.robustness.margin import (
    Margin,
    exclusion_radius,
    margin_from_scores,
    margin_radius,
    set_radius,
)
from app.robustness.pool import Pool, collect
from app.robustness.ranking import Ranker
from app.robustness.request import CertifyChoice, ProbeRequest
from app.robustness.smoothing import Noise
from app.robustness.victims import Victim
from app.robustness.white_box import Case
from app.robustness.wordnoise import Substitutes, deleted_texts, units_of, vectors_of
from app.text.perturbations.context import TokenNeighbors

DELETION = 0.6
"""Probability that a word is deleted; a certificate of one word needs more than a half."""
_MOST_EXACT = 5_000
_MOST_EDITS = 16
_AT_ONCE = 64
_UNITS = {
    "output_margin": "distance of unit vectors",
    "gaussian_embedding": "mean token norms",
    "word_deletion": "words",
    "word_substitution": "words",
}


@dataclass(frozen=True, slots=True)
class Means:
    """What certificates are computed with.

    Attributes:
        store: Where the collection is.
        ranker: Encodes and counts.
        inner: The white box, if it was opened.
        stop: Tells that time or texts are over.
    """

    store: VectorStore
    ranker: Ranker
    inner: Inner | None
    stop: Callable[[], bool]

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode a few texts at a time.

        Raises:
            HaltedError: If it is time to stop.
        """
        parts: list[NDArray[np.float32]] = []
        for start in range(0, len(texts), _AT_ONCE):
            if self.stop():
                raise HaltedError
            parts.append(self.ranker.encode(texts[start : start + _AT_ONCE]))
        return np.concatenate(parts)


def certify(
    request: ProbeRequest,
    victims: Sequence[Victim],
    empirical: dict[str, Empirical],
    means: Means,
) -> tuple[list[CertificateReport], list[str]]:
    """Compute the output margin, and the certificates that were asked for.

    Returns:
        A report for each, and sentences on what could not be certified.
    """
    eligible = [victim for victim in victims if victim.eligible and victim.vector is not None]
    notes: list[str] = []
    reports: list[CertificateReport] = []
    if request.goal.type in ("disagreement", "vector_shift"):
        notes.append(f"No certificate covers the goal {request.goal.type}")
    else:
        reports.append(_margins(eligible, empirical, means))
    choice = request.certify
    for method in choice.methods if choice else ():
        if choice is None:
            continue
        if method == "gaussian_embedding":
            reports += [
                _gaussian(sigma, request, choice, (eligible, empirical, means))
                for sigma in choice.sigma
            ]
        else:
            found, note = _words(method, request, choice, (eligible, empirical, means))
            reports += found
            notes += note
    return reports, notes


def _margins(
    eligible: Sequence[Victim], empirical: dict[str, Empirical], means: Means
) -> CertificateReport:
    board = means.ranker.board
    pool = board.pool if board and len(board.pool.vectors) <= _MOST_EXACT else None
    found: list[CertifiedQuery] = []
    for victim in eligible:
        if means.stop():
            break
        margin = _margin(victim, pool)
        if margin is not None:
            shift = empirical[victim.sent.query_id].shift
            found.append(_certified(victim, margin.radius, shift))
    return _report("output_margin", found, len(eligible))


def _margin(victim: Victim, pool: Pool | None) -> Margin | None:
    goal, vector = victim.goal, victim.vector
    if goal is None or vector is None:
        return None
    if pool is None:
        if not isinstance(goal, Demotion) or goal.kept is not None:
            return None
        own = [hit.score for hit in victim.hits if hit.document.doc_id in goal.relevant]
        rivals = [hit.score for hit in victim.hits if hit.document.doc_id not in goal.relevant]
        return margin_from_scores(own[0], rivals, goal.top_k)
    if isinstance(goal, Promotion):
        return exclusion_radius(vector, pool, goal.target, goal.top_k)
    if isinstance(goal, Demotion) and goal.kept is not None:
        return set_radius(vector, pool, goal.top_k)
    return margin_radius(vector, pool, goal.relevant, goal.top_k)


def _gaussian(
    sigma: float,
    request: ProbeRequest,
    choice: CertifyChoice,
    parts: tuple[Sequence[Victim], dict[str, Empirical], Means],
) -> CertificateReport:
    eligible, empirical, means = parts
    found: list[CertifiedQuery] = []
    complete = means.inner is not None
    if means.inner is not None and eligible and not means.stop():
        noise = Noise(sigma, choice.samples, request.seed)
        probe = means.inner.smoothed(noise)
        with probe.lens.inside.until(means.stop), suppress(HaltedError):
            for victim in eligible:
                if isinstance(victim.goal, Demotion):
                    confidence = Confidence(choice.alpha)
                    one = probe.certify(Case(victim.text, victim.goal), confidence)
                    size = empirical[victim.sent.query_id].size
                    found.append(_certified(victim, one.relative, size))
    return _report("gaussian_embedding", found, len(eligible), choice, sigma, complete=complete)


def _words(
    method: str,
    request: ProbeRequest,
    choice: CertifyChoice,
    parts: tuple[Sequence[Victim], dict[str, Empirical], Means],
) -> tuple[list[CertificateReport], list[str]]:
    eligible, empirical, means = parts
    deletion = DELETION if method == "word_deletion" else None
    if means.stop():
        return [_report(method, [], len(eligible), choice, deletion)], []
    board = means.ranker.board
    pool = board.pool if board else collect(means.store, request.collection)
    if not pool.complete:
        return [], [f"The collection is too large to be held, which {method} needs"]
    found: list[CertifiedQuery] = []
    unknown = 0
    with suppress(HaltedError):
        for victim in eligible:
            drawn = _drawn(method, victim, choice, (request.seed, means.stop))
            if drawn is None:
                unknown += 1
                continue
            texts, losses = drawn
            edits = _edits(texts, losses, victim, (pool, means, choice))
            of_type = empirical[victim.sent.query_id].words if deletion else None
            found.append(_certified(victim, max(0, edits), of_type))
    whole = len(eligible) - unknown
    notes = []
    if unknown:
        notes.append(
            f"{method} was not computed for {unknown} of {len(eligible)} queries: the encoder's "
            "neighbors of words are not known"
        )
    return [_report(method, found, whole, choice, deletion)], notes


def _drawn(
    method: str, victim: Victim, choice: CertifyChoice, by: tuple[int, Callable[[], bool]]
) -> tuple[list[str], NDArray[np.float64]] | None:
    """Draw the texts that smoothed search would average, and what edits can do to it at most."""
    text, (seed, stop) = victim.text, by
    if method == "word_deletion":
        losses = deletion_losses(DELETION, _MOST_EDITS)
        return deleted_texts(text, DELETION, choice.samples, seed), losses
    near = victim.context.token_neighbors
    if near is None:
        return None
    words = units_of(text, "word")[0]
    neighbors: dict[str, tuple[str, ...]] = {}
    for word in words:
        _add_neighbors(neighbors, word, near, stop)
    for other in [other for some in list(neighbors.values()) for other in some]:
        _add_neighbors(neighbors, other, near, stop)
    substitutes = Substitutes(neighbors)
    losses = substitution_losses(substitutes.overlaps(text))
    return substitutes.texts(text, choice.samples, seed), losses


def _add_neighbors(
    known: dict[str, tuple[str, ...]], word: str, near: TokenNeighbors, stop: Callable[[], bool]
) -> None:
    """Look a word's neighbors up, which takes a call of the encoder each."""
    if stop():
        raise HaltedError
    if word not in known:
        known[word] = tuple(near(word))


def _edits(
    texts: Sequence[str],
    losses: NDArray[np.float64],
    victim: Victim,
    parts: tuple[Pool, Means, CertifyChoice],
) -> int:
    """Certify so many edits of words; -1 to abstain."""
    pool, means, choice = parts
    goal = victim.goal
    if goal is None or not any(texts):
        return -1
    samples = vectors_of(texts, means.encode)
    low = preference(samples, pool, goal.relevant, goal.top_k, Confidence(choice.alpha))
    return certified_edits((1.0 + low) / 2, losses)


def _certified(victim: Victim, radius: float, empirical: float | None) -> CertifiedQuery:
    bounded = float(radius) if np.isfinite(radius) else None
    sent = victim.sent
    return CertifiedQuery(sent.query_id, sent.lang, bounded, radius <= 0.0, empirical)


def _report(
    method: str,
    found: Sequence[CertifiedQuery],
    wanted: int,
    choice: CertifyChoice | None = None,
    parameter: float | None = None,
    *,
    complete: bool = True,
) -> CertificateReport:
    radii = [np.inf if one.radius is None else one.radius for one in found]
    middle = median(radii) if radii else np.inf
    broken = [one.empirical for one in found if one.empirical is not None]
    abstained = sum(one.abstained for one in found)
    return CertificateReport(
        method=method,
        parameter=parameter,
        unit=_UNITS[method],
        covers=SCOPES[method].covers,
        does_not_cover=SCOPES[method].does_not_cover,
        n=len(found),
        certified=len(found) - abstained,
        abstain_rate=abstained / len(found) if found else None,
        median=float(middle) if np.isfinite(middle) else None,
        empirical_median=median(broken) if broken else None,
        alpha=choice.alpha if choice else 0.0,
        samples=choice.samples if choice else 0,
        complete=complete and len(found) == wanted,
        queries=tuple(found),
    )
