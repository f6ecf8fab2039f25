"""What an attack wants, each with one score to climb.

Every goal reads a text's standing off the hits of a search (``stand``); ``board`` does the same for
many texts at once from a matrix of scores. The margin is what is left until success: it tells apart
candidates of the same rank, so that a search can climb where the rank alone is flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.retrieval.store import MAX_TOP_K, Hit
from app.robustness.agreement import rank_biased_overlap
from app.robustness.request import GoalChoice

SEARCH_DEPTH = MAX_TOP_K
"""How deep a relevant document is looked for; ranks beyond it are not known."""

# Scores differ in their last bits between batches of other shapes; beyond this they are the same.
_DIGITS = 6
# Between rankings that agree alike, the farther vector is nearer to the next exchange.
LEAN = 1e-3


@dataclass(frozen=True, slots=True)
class Standing:
    """How a text's ranking treats the documents that a goal is about.

    Attributes:
        rank: Rank of the best relevant document, or None if it is not among the first
            ``SEARCH_DEPTH`` hits.
        margin: What is left until the goal is reached, in scores or in the goal's own measure;
            where a document is not among the hits, a bound of it.
        found: How many relevant documents are among the first ``top_k`` hits.
        depth: The ``top_k`` of the search that showed it.
        level: What an attack maximizes first; None for the rank.
        value: The goal's own measure; None for the rank.
    """

    rank: int | None
    margin: float
    found: int
    depth: int
    level: float | None = None
    value: float | None = None

    @property
    def badness(self) -> tuple[float, float]:
        """What an attack maximizes; a rank beyond the depth counts as the next one."""
        level = (self.rank or SEARCH_DEPTH + 1) if self.level is None else self.level
        return (level, -self.climb)

    @property
    def climb(self) -> float:
        """What a search goes by, the lower the worse: the margin, without its last bits."""
        return round(self.margin, _DIGITS)


class Goal(Protocol):
    """What an attack on one query wants."""

    @property
    def relevant(self) -> frozenset[str]:
        """Documents that answer the query."""
        ...

    @property
    def top_k(self) -> int:
        """How many hits the user of the search sees."""
        ...

    @property
    def followed(self) -> tuple[frozenset[str], ...]:
        """Sets of documents; a search goes deeper until it has one of each."""
        ...

    def stand(self, hits: Sequence[Hit], depth: int, cosine: float = 1.0) -> Standing:
        """Read off hits, and off the cosine with the clean query, where a text stands.

        Args:
            hits: At least the first ``top_k`` and as many more as there are relevant documents,
                by rank; deeper ones as far as known.
            depth: How deep the search went.
            cosine: Of the text's vector with that of the clean query.
        """
        ...

    def reached(self, standing: Standing) -> bool:
        """Tell whether the attack has what it wants."""
        ...

    def barred(self, clean: Standing) -> str | None:
        """Say why a query is not eligible with such a clean standing, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Demotion:
    """The goal that the relevant documents leave the ``top_k``, all but ``kept``.

    Attributes:
        relevant: Documents that answer the query.
        top_k: How many hits the user of the search sees.
        kept: How many relevant documents may stay; None: none, success goes by the rank.
        clean_found: How many were among the first ``top_k`` without attack, where that counts.
    """

    relevant: frozenset[str]
    top_k: int
    kept: int | None = None
    clean_found: int = 0

    @property
    def followed(self) -> tuple[frozenset[str], ...]:
        """See ``Goal``."""
        return (self.relevant,)

    def stand(self, hits: Sequence[Hit], depth: int, cosine: float = 1.0) -> Standing:
        """See ``Goal``."""
        own, rivals, found = _parts(hits, self.relevant, self.top_k)
        # With n relevant documents before it, one leaves the top k as the (k - n)-th rival passes.
        stay = max(0, self.kept or 0)
        last = own[stay].score if len(own) > stay else hits[-1].score if hits else 0.0
        passing = rivals[: self.top_k - stay]
        margin = last - passing[-1] if passing else last
        return self.standing(own[0].rank if own else None, margin, found, depth)

    def standing(self, rank: int | None, margin: float, found: int, depth: int) -> Standing:
        """Put a standing together."""
        if self.kept is None:
            return Standing(rank, margin, found, depth)
        lost = self.clean_found - found
        return Standing(rank, margin, found, depth, lost, lost / max(1, len(self.relevant)))

    def reached(self, standing: Standing) -> bool:
        """Tell whether enough relevant documents are out of the top k."""
        if self.kept is None:
            return standing.rank is None or standing.rank > self.top_k
        return standing.found <= self.kept

    def barred(self, clean: Standing) -> str | None:
        """See ``Goal``."""
        if self.kept is not None and self.kept < 0:
            return (
                f"Without any attack {self.clean_found} of its {len(self.relevant)} relevant "
                f"documents are in the top {self.top_k}: the recall cannot drop so far."
            )
        if self.kept is None and self.reached(clean):
            rank = clean.rank or f"beyond {SEARCH_DEPTH}"
            return f"Its best relevant document has rank {rank} without any attack."
        return None


@dataclass(frozen=True, slots=True)
class Promotion:
    """The goal that one document enters the ``top_k``."""

    relevant: frozenset[str]
    top_k: int
    target: str

    @property
    def followed(self) -> tuple[frozenset[str], ...]:
        """See ``Goal``."""
        return (frozenset([self.target]), self.relevant)

    def stand(self, hits: Sequence[Hit], depth: int, cosine: float = 1.0) -> Standing:
        """See ``Goal``; the value is the target's rank."""
        own, _, found = _parts(hits, self.relevant, self.top_k)
        mine, others, _ = _parts(hits, frozenset([self.target]), self.top_k)
        score = mine[0].score if mine else hits[-1].score if hits else 0.0
        before = others[: self.top_k]
        margin = (before[-1] if before else 0.0) - score
        rank = mine[0].rank if mine else None
        return self.standing(own[0].rank if own else None, margin, found, depth, rank)

    def standing(
        self, rank: int | None, margin: float, found: int, depth: int, place: int | None
    ) -> Standing:
        """Put a standing together; ``place`` is the target's rank."""
        return Standing(rank, margin, found, depth, -(place or SEARCH_DEPTH + 1), place)

    def reached(self, standing: Standing) -> bool:
        """Tell whether the target is in the top k."""
        return standing.value is not None and standing.value <= self.top_k

    def barred(self, clean: Standing) -> str | None:
        """See ``Goal``."""
        if self.reached(clean):
            return f"The target has rank {clean.value:g} without any attack."
        return None


@dataclass(frozen=True, slots=True)
class Distance:
    """The goal that the hits, or the vector, are far from those of the clean query.

    Attributes:
        relevant: Documents that answer the query.
        top_k: How many hits the user of the search sees.
        threshold: What counts as success: of 1 - RBO, or of 1 - cosine.
        ranking: The clean hits by rank, to compare hits; None to compare vectors.
    """

    relevant: frozenset[str]
    top_k: int
    threshold: float
    ranking: tuple[str, ...] | None = None

    @property
    def followed(self) -> tuple[frozenset[str], ...]:
        """See ``Goal``."""
        return (self.relevant,)

    def stand(self, hits: Sequence[Hit], depth: int, cosine: float = 1.0) -> Standing:
        """See ``Goal``; the value is the distance."""
        own, _, found = _parts(hits, self.relevant, self.top_k)
        names = [hit.document.doc_id for hit in hits if hit.rank <= self.top_k]
        return self.standing(own[0].rank if own else None, found, depth, names, cosine)

    def standing(
        self, rank: int | None, found: int, depth: int, names: Sequence[str], cosine: float
    ) -> Standing:
        """Put a standing together from the first ``top_k`` hits."""
        if self.ranking is None:
            value, lean = 1.0 - cosine, 0.0
        else:
            value, lean = 1.0 - rank_biased_overlap(self.ranking, names), LEAN * cosine
        level = round(value, _DIGITS)
        return Standing(rank, self.threshold - value + lean, found, depth, level, value)

    def reached(self, standing: Standing) -> bool:
        """Tell whether the distance is large enough."""
        return standing.value is not None and standing.value >= self.threshold

    def barred(self, clean: Standing) -> str | None:
        """See ``Goal``: any query can be moved."""
        return None


def goal_for(choice: GoalChoice, relevant: frozenset[str], hits: Sequence[Hit], top_k: int) -> Goal:
    """Make the goal of one query.

    Args:
        choice: What the request wants.
        relevant: Documents that answer the query.
        hits: Those of the clean query, at least the first ``top_k``.
        top_k: How many of them the user sees.
    """
    shown = [hit.document.doc_id for hit in hits if hit.rank <= top_k]
    if choice.type == "promotion":
        return Promotion(relevant, top_k, choice.target or "")
    if choice.type == "recall_drop":
        found = sum(name in relevant for name in shown)
        # Without its last bits, or 0.3 of 10 documents would be 4.
        lost = max(1, int(np.ceil(round(choice.least * len(relevant), _DIGITS))))
        return Demotion(relevant, top_k, found - lost, found)
    if choice.type == "disagreement":
        return Distance(relevant, top_k, choice.least, tuple(shown))
    if choice.type == "vector_shift":
        return Distance(relevant, top_k, choice.least)
    return Demotion(relevant, top_k)


def chord(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Measure how far two unit vectors lie apart, in the unit of ``margin``."""
    return float(np.linalg.norm(np.asarray(first, np.float64) - np.asarray(second, np.float64)))


def _parts(
    hits: Sequence[Hit], names: frozenset[str], top_k: int
) -> tuple[list[Hit], list[float], int]:
    """Split hits in those named and the scores of the others; count the named in the top k."""
    own = [hit for hit in hits if hit.document.doc_id in names]
    rivals = [hit.score for hit in hits if hit.document.doc_id not in names]
    return own, rivals, sum(hit.rank <= top_k for hit in own)
