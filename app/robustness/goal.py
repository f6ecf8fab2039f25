"""What an attack wants: that the relevant documents leave the top k.

The measure is (rank, then negative margin) of the best relevant document; the margin tells apart
candidates of the same rank, so that a search can climb where the rank alone is flat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.retrieval.store import MAX_TOP_K, Hit

SEARCH_DEPTH = MAX_TOP_K
"""How deep a relevant document is looked for; ranks beyond it are not known."""

# Scores differ in their last bits between batches of other shapes; beyond this they are the same.
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Standing:
    """How a text's ranking treats the relevant documents.

    Attributes:
        rank: Rank of the best relevant document, or None if it is not among the first
            ``SEARCH_DEPTH`` hits.
        margin: Its score minus that of the rival it must not fall behind, the ``top_k``-th; if it
            is not among the hits, an upper bound of that.
        found: How many relevant documents are among the first ``top_k`` hits.
        depth: The ``top_k`` of the search that showed it.
    """

    rank: int | None
    margin: float
    found: int
    depth: int

    @property
    def badness(self) -> tuple[int, float]:
        """What an attack maximizes; a rank beyond the depth counts as the next one."""
        return (self.rank or SEARCH_DEPTH + 1, -self.climb)

    @property
    def climb(self) -> float:
        """What a search goes by, the lower the worse: the margin, without its last bits."""
        return round(self.margin, _DIGITS)


@dataclass(frozen=True, slots=True)
class Demotion:
    """The goal that every relevant document leaves the ``top_k``.

    Attributes:
        relevant: Documents that answer the query.
        top_k: How many hits the user of the search sees.
    """

    relevant: frozenset[str]
    top_k: int

    def stand(self, hits: Sequence[Hit], depth: int) -> Standing:
        """Read off the hits of a search with ``top_k`` = ``depth`` where the documents stand."""
        best = next((hit for hit in hits if hit.document.doc_id in self.relevant), None)
        # The best relevant document leaves the top k as the k-th rival passes it.
        rival: Hit | None = None
        rivals = found = 0
        for hit in hits:
            if hit.document.doc_id in self.relevant:
                found += hit.rank <= self.top_k
            elif rivals < self.top_k:
                rivals += 1
                rival = hit
            if rivals == self.top_k and hit.rank >= self.top_k:
                break
        own = best.score if best else hits[-1].score if hits else 0.0
        margin = own - rival.score if rival else own
        return Standing(best.rank if best else None, margin, found, depth)

    def reached(self, standing: Standing) -> bool:
        """Tell whether the best relevant document is out of the top k."""
        return standing.rank is None or standing.rank > self.top_k
