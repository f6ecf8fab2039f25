"""Rankings made of others: a hit with the scores that it had there, and reciprocal rank fusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.retrieval.store import Hit

RRF_K = 60
"""Cormack et al. chose it on other collections; the ranking hardly depends on it."""


@dataclass(frozen=True, slots=True)
class Found:
    """A hit of a combined ranking.

    Attributes:
        hit: The hit, with its rank and score in the combined ranking.
        scores: What it scored in the rankings that have it, by their names; empty: there was but
            one, and its score is the hit's.
    """

    hit: Hit
    scores: Mapping[str, float] = field(default_factory=dict)


def fuse(rankings: Mapping[str, Sequence[Hit]]) -> list[Found]:
    """Fuse rankings of one query by reciprocal rank fusion.

        score(d) = sum over the rankings that have d of 1 / (k + rank of d there),  k = 60

    A score says nothing but where the document stood; scores of the rankings, whose scales differ,
    do not enter. Equal scores are ordered by ``doc_id``. A hit keeps the passage of the ranking
    that has it highest, of several the first.

    Args:
        rankings: By name; ranks count from the one that each hit has.

    References:
        Cormack, Clarke and Buettcher 2009, Reciprocal rank fusion outperforms Condorcet and
        individual rank learning methods, https://doi.org/10.1145/1571941.1572114.
    """
    best: dict[str, Hit] = {}
    fused: dict[str, float] = {}
    scores: dict[str, dict[str, float]] = {}
    for name, hits in rankings.items():
        for hit in hits:
            doc_id = hit.document.doc_id
            fused[doc_id] = fused.get(doc_id, 0.0) + 1 / (RRF_K + hit.rank)
            scores.setdefault(doc_id, {})[name] = hit.score
            if doc_id not in best or hit.rank < best[doc_id].rank:
                best[doc_id] = hit
    order = sorted(fused, key=lambda doc_id: (-fused[doc_id], doc_id))
    return [
        Found(replace(best[doc_id], rank=rank, score=fused[doc_id]), scores[doc_id])
        for rank, doc_id in enumerate(order, 1)
    ]
