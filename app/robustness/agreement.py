"""How much two rankings agree, the top of them most: rank-biased overlap."""

from collections.abc import Hashable, Sequence

from app.errors import InvalidInputError

PERSISTENCE = 0.9
"""Weight of each rank relative to the one above it: the first ten have 86% of all weight."""


def rank_biased_overlap(
    first: Sequence[Hashable], second: Sequence[Hashable], persistence: float = PERSISTENCE
) -> float:
    """Compare two rankings that may be cut at different depths and hold different items.

    What lies beyond the depths is extrapolated from what was seen (the paper's RBO_ext). Ties are
    not modeled: a ranking is a strict order, as a search gives it, where documents of equal score
    stand by rising ``doc_id``. Hence a change in the order of equal scores never shows, but two
    scores that differ in their last bits do.

    Args:
        first: Items by rank, each once.
        second: Items by rank, each once.
        persistence: The paper's p, in (0, 1): how deep a reader goes.

    Returns:
        1 for equal rankings, 0 for such that share nothing, both empty included among the equal.

    Raises:
        InvalidInputError: If an item occurs twice in a ranking, or the persistence does not fit.

    References:
        Webber, Moffat and Zobel 2010, equation 32, https://doi.org/10.1145/1852102.1852106.
    """
    if not 0.0 < persistence < 1.0:
        raise InvalidInputError(f"persistence is {persistence}; expected more than 0, less than 1.")
    for ranking in (first, second):
        if len(set(ranking)) != len(ranking):
            raise InvalidInputError("A ranking holds an item twice; expected each once: drop one.")
    short, long = sorted((first, second), key=len)
    if not short:
        return float(not long)
    seen_short: set[Hashable] = set()
    seen_long: set[Hashable] = set()
    overlap = at_short = 0
    total, weight = 0.0, 1.0
    for depth, item in enumerate(long, 1):
        weight *= persistence
        overlap += item in seen_short
        seen_long.add(item)
        if depth <= len(short):
            seen_short.add(short[depth - 1])
            overlap += short[depth - 1] in seen_long
            at_short = overlap
        beyond = max(0, depth - len(short))
        total += (overlap + at_short * beyond / len(short)) / depth * weight
    rest = (overlap - at_short) / len(long) + at_short / len(short)
    return (1.0 - persistence) / persistence * total + rest * weight
