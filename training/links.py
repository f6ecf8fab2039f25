"""Which tokens of two translations stand for each other, from how often they meet in pairs.

IBM model 1 over one pair of languages: a token of the target is explained by the tokens of the
source, in proportion to how often they explained it in other pairs. A link is kept where each of
two tokens is the best of its text for the other. What it trades away: model 1 knows nothing of
order, and a token that stands for two is linked to one of them.

References:
    Brown et al. 1993, https://aclanthology.org/J93-2003 (model 1). Links of tokens that are each
    the other's best are ours, after Melamed 2000, https://aclanthology.org/J00-2004.
"""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.collation import Ints, within_runs
from training.tokens import TokenTable

LONGEST = 60
"""Tokens of a text; longer ones have too many candidates for what they say."""
MOST_CANDIDATES = 4_000_000
"""Pairs of a source and a target token that are weighed: some 0.7 seconds and 400 MB."""
ROUNDS = 4
LEAST_SCORE = 0.05  # of a link: Dice's coefficient
_SHRINK = 1.0  # times that a token explained nothing: what is rare explains less


@dataclass(frozen=True, slots=True)
class Links:
    """Links between the tokens of some pairs; all of shape (links,).

    Attributes:
        pairs: Place of the pair in what was given.
        source: Position of the token in the source text.
        target: Position of the token in the target text.
    """

    pairs: Ints
    source: Ints
    target: Ints


def find_links(tokens: TokenTable, source: Ints, target: Ints, rng: Generator) -> Links:
    """Link the tokens of pairs of one source and one target language.

    Args:
        tokens: Of all texts.
        source: Text of each pair, shape (pairs,).
        target: Its translation, shape (pairs,).
        rng: Chooses the pairs that are looked at, where there are too many, and between equals.
    """
    lengths, others = tokens.lengths[source], tokens.lengths[target]
    rows = rng.permutation(np.flatnonzero((lengths <= LONGEST) & (others <= LONGEST)))
    rows = rows[np.cumsum(lengths[rows] * others[rows]) <= MOST_CANDIDATES]
    if not len(rows):
        return Links(*(np.zeros(0, np.int64) for _ in range(3)))
    lengths, others = lengths[rows], others[rows]
    # Candidates by pair, then by target token: each target token has a run of source tokens.
    sizes = lengths * others
    pair = np.repeat(np.arange(len(rows)), sizes)
    place = within_runs(sizes)
    at_target, at_source = np.divmod(place, lengths[pair])
    of_source = np.repeat(np.cumsum(lengths) - lengths, sizes) + at_source
    runs = np.repeat(lengths, others)
    scores = _scores(
        tokens.ids[tokens.offsets[source[rows]][pair] + at_source],
        tokens.ids[tokens.offsets[target[rows]][pair] + at_target],
        runs,
    )
    scores += rng.random(len(scores)) * 1e-6  # so that equals have one best
    of_target = np.repeat(np.arange(len(runs)), runs)
    best_of_target = np.maximum.reduceat(scores, np.cumsum(runs) - runs)
    best_of_source = np.zeros(int(lengths.sum()))
    np.maximum.at(best_of_source, of_source, scores)
    kept = np.flatnonzero(
        (scores >= best_of_target[of_target])
        & (scores >= best_of_source[of_source])
        & (scores > LEAST_SCORE)
    )
    return Links(rows[pair[kept]], at_source[kept], at_target[kept])


def _scores(
    source: NDArray[np.int32], target: NDArray[np.int32], runs: Ints
) -> NDArray[np.float64]:
    """Score candidates: how much of both tokens' counts are of each other.

    Args:
        source: Token of each candidate, shape (candidates,).
        target: The same of the other side; one token in each run.
        runs: Candidates of each target token, shape (target tokens,).

    Returns:
        Dice's coefficients, shape (candidates,).
    """
    keys = target.astype(np.int64) << 32 | source
    distinct, kind = np.unique(keys, return_inverse=True)
    by_source = np.unique(distinct & 0xFFFFFFFF, return_inverse=True)[1]
    by_target = np.unique(distinct >> 32, return_inverse=True)[1]
    starts = np.cumsum(runs) - runs
    run = np.repeat(np.arange(len(runs)), runs)
    chances, counts = np.ones(len(distinct)), np.zeros(len(distinct))
    for _ in range(ROUNDS):
        shares = chances[kind]
        shares /= np.add.reduceat(shares, starts)[run]
        counts = np.bincount(kind, shares, len(distinct))
        chances = counts / (np.bincount(by_source, counts)[by_source] + _SHRINK)
    both = np.bincount(by_source, counts)[by_source] + np.bincount(by_target, counts)[by_target]
    return (2 * counts / (both + _SHRINK))[kind]
