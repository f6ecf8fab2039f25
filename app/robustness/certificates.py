"""What provably cannot break a smoothed query: noise on embeddings, and edits of words.

A smoothed encoder g(x) = E f(x perturbed at random) changes slowly, whatever f is; from how much g
prefers a document at x follows how much it still must prefer it nearby. The certificates hold for
the *smoothed* encoder with the very noise they were sampled with: a search has to be served by g
(``smoothing``) for them to mean anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.bounds import Confidence

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a certificate covers and what it does not, in words."""

    covers: str
    does_not_cover: str


SCOPES = {
    "output_margin": Scope(
        "Every change of the query whatsoever that moves its vector by less than the radius.",
        "It does not say which texts move a vector so far: a single typo often moves it farther. "
        "It holds for the documents that are in the collection now, and for exact search.",
    ),
    "gaussian_embedding": Scope(
        "Every change of the query's token embeddings whose length, over all tokens together, is "
        "below the radius, when the search is served with the same smoothing.",
        "Not one changed word: exchanging a token moves its embedding much farther than the radius "
        "as a rule. Not texts with more or fewer tokens, not special tokens or the prompt, not "
        "search without smoothing, and not documents added later.",
    ),
    "word_deletion": Scope(
        "Every text that differs from the query by at most so many inserted, deleted or replaced "
        "words, when the search is served by averaging over random deletions of words.",
        "Not search without these deletions. A typo counts as one replaced word; a space put into "
        "a word counts as one replaced and one inserted word.",
    ),
    "word_substitution": Scope(
        "Every text that differs from the query by at most so many words, each replaced by one "
        "from its list of neighbors, when the search is served by averaging over such texts.",
        "Not words outside the lists, hence no typos; not inserted, deleted or moved words; not "
        "search without these substitutions.",
    ),
}
"""By the name of the certificate."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A radius in the space of token embeddings.

    Attributes:
        radius: Every change of the token embeddings with a shorter Frobenius norm keeps a relevant
            document in the top k; infinite where there are not enough rivals, 0 when it abstains.
        relative: The radius in mean token norms, the unit of an attack's ``epsilon``.
        preference: Lower bound of how much the k-th rival is beaten, in [-1, 1].
        abstained: Whether nothing could be certified.
        samples: How many were drawn.
        confidence: How sure it is.
    """

    radius: float
    relative: float
    preference: float
    abstained: bool
    samples: int
    confidence: Confidence


def gaussian_radius(preference: float, sigma: float, served_error: float = 0.0) -> float:
    """Bound how far token embeddings may move with the smoothed preference staying positive.

    Phi^-1((1 + g.u) / 2) changes by at most |delta| / sigma when the embeddings move by delta, so
    the preference stays above t for every |delta| below
    R = sigma (Phi^-1((1 + gamma) / 2) - Phi^-1((1 + t) / 2)), and t = 0 keeps the order.

    Args:
        preference: Lower bound gamma of the preference without any change, in [-1, 1].
        sigma: Standard deviation of the noise on each entry, in units of the embeddings.
        served_error: The t above. A search that averages m fresh samples serves not g but an
            estimate; with ``served_error(m, alpha)`` each such search keeps the order with
            probability 1 - alpha, its noise being independent of the change.

    Returns:
        The radius; 0 to abstain.

    Raises:
        InvalidInputError: If sigma is not positive, or the error is negative.

    References:
        Salman et al. 2019, lemma 2, https://arxiv.org/abs/1906.04584 (Phi^-1 of a smoothed function
        into [0, 1] is 1/sigma-Lipschitz), applied to (1 + f.u) / 2; Cohen et al. 2019, theorem 1,
        https://arxiv.org/abs/1902.02918, is the case of f.u in {-1, 1}.
    """
    if sigma <= 0.0 or served_error < 0.0:
        raise InvalidInputError(
            f"Got sigma {sigma} and an error of {served_error}; expected sigma above 0 and an "
            "error of at least 0."
        )
    if preference <= served_error:
        return 0.0
    if preference >= 1.0:
        return math.inf
    quantiles = [_NORMAL.inv_cdf((1.0 + value) / 2) for value in (preference, served_error)]
    return sigma * (quantiles[0] - quantiles[1])


def served_error(samples: int, rivals: int, alpha: float) -> float:
    """Bound how far a served mean over samples lies from g, for all rivals at once (Hoeffding).

    Args:
        samples: Samples that each search averages.
        rivals: Comparisons that have to hold.
        alpha: Probability that one search gets one of them wrong.
    """
    return math.sqrt(2.0 * math.log(max(1, rivals) / alpha) / samples)


def gaussian_certificate(
    preference: float, sigma: float, mean_norm: float, samples: int, confidence: Confidence
) -> Certificate:
    """Put a radius together with what it rests on.

    Args:
        preference: What ``bounds.preference`` gave for vectors of ``smoothing.noisy_vectors``.
        sigma: Standard deviation of the noise on each entry.
        mean_norm: Mean token norm, the unit of ``relative``.
        samples: How many were drawn.
        confidence: How sure the preference is.
    """
    radius = gaussian_radius(preference, sigma)
    return Certificate(radius, radius / mean_norm, preference, radius == 0.0, samples, confidence)


def certified_edits(lower: float, losses: Sequence[float] | NDArray[np.floating]) -> int:
    """Count how many edits keep a smoothed share above one half.

    Args:
        lower: Lower bound of the share at the query itself: of samples that hit (by
            ``binomial.share_at_least``), or (1 + preference) / 2 for averaged vectors.
        losses: By how much the share can fall at most with 0, 1, 2, ... edits; rising.

    Returns:
        The most edits that keep it; -1 to abstain.
    """
    kept = [lower - loss > 0.5 for loss in losses]
    return (kept.index(False) if False in kept else len(kept)) - 1


def deletion_losses(deletion: float, most: int) -> NDArray[np.float64]:
    """Bound what 0 to ``most`` edited words do where each word is deleted with some probability.

    With r words inserted, deleted or replaced, the words that are not common to both texts are all
    deleted, from each of them, with probability p^r at least, and what is left then has the same
    distribution. So a share mu falls to mu - (1 - p^r) at worst (which is replacement).

    Args:
        deletion: Probability p that a word is deleted, in (0, 1).
        most: Edits up to which to compute it.

    References:
        Huang et al. 2023 (RS-Del), theorem for the edit distance, https://arxiv.org/abs/2302.01757.
    """
    if not 0.0 < deletion < 1.0:
        raise InvalidInputError(f"deletion is {deletion}; expected more than 0 and less than 1.")
    return 1.0 - deletion ** np.arange(most + 1, dtype=np.float64)


def substitution_losses(overlaps: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Bound what substituting 0, 1, ... words does where each word is drawn from its neighbors.

    The distributions at two texts share the product of the words' overlaps, so the share falls by 1
    minus that product; at worst the words with the least overlaps are substituted.

    Args:
        overlaps: For each word of the query the least mass that its distribution shares with that
            of any of its substitutes, as ``smoothing.Substitutes`` gives them.

    References:
        Ye, Gong and Liu 2020 (SAFER), theorem 1, https://arxiv.org/abs/2005.14424, by total
        variation; used for rankings by Wu et al. 2022 (CertDR), https://arxiv.org/abs/2209.06691.
    """
    least = np.sort(np.asarray(overlaps, dtype=np.float64))
    return 1.0 - np.concatenate([[1.0], np.cumprod(least)])


def masking_losses(words: int, kept: int, most: int) -> NDArray[np.float64]:
    """Bound what replacing 0 to ``most`` words does where ``kept`` random words are left.

    None of r words is among those kept with probability C(n - r, m) / C(n, m).

    Args:
        words: Words n of the query.
        kept: Words m that each sample keeps, 0 to n.
        most: Edits up to which to compute it; beyond n they count as n.

    References:
        Zeng et al. 2021 (RanMASK), theorem 3.1 without its factor beta,
        https://arxiv.org/abs/2105.03743.
    """
    if not 0 <= kept <= words:
        raise InvalidInputError(f"Got {kept} words kept of {words}; expected 0 to all of them.")
    whole = math.comb(words, kept)
    return np.array([1.0 - math.comb(max(0, words - r), kept) / whole for r in range(most + 1)])
