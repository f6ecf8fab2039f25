"""Over languages and over seeds: the mean, the worst, and how far they can be trusted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import InvalidInputError
from app.retrieval.metrics import Interval
from app.robustness.binomial import share_interval

LEAST_SEEDS = 10
"""Random families are to be drawn with at least so many seeds (the field's protocol)."""


@dataclass(frozen=True, slots=True)
class Languages:
    """Success rates over languages, each language counting alike.

    Attributes:
        macro: Mean of the languages' rates.
        worst: The language with the highest rate; of equals the one with more queries, then the
            first by name.
        worst_rate: Its rate.
        worst_interval: Its interval, wide enough that those of all languages hold at once: the
            worst of many is partly the unluckiest.
        languages: How many there are.
        few: Languages with fewer than ``least`` queries, which make the mean noisy.
    """

    macro: float
    worst: str
    worst_rate: float
    worst_interval: Interval
    languages: int
    few: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seeds:
    """One rate under several seeds.

    Attributes:
        mean: Mean over the seeds.
        deviation: Standard deviation between them (n - 1); None for one seed.
        low: The least.
        high: The highest.
        seeds: How many.
        enough: Whether there are ``LEAST_SEEDS`` at least.
    """

    mean: float
    deviation: float | None
    low: float
    high: float
    seeds: int
    enough: bool


def over_languages(
    counts: Mapping[str, tuple[int, int]], *, confidence: float = 0.95, least: int = 30
) -> Languages | None:
    """Sum up success rates over languages.

    Args:
        counts: For each language the successes and the eligible queries; those without any
            eligible query are left out.
        confidence: That all languages' intervals hold at once (Bonferroni), in (0, 1).
        least: Languages with fewer queries are named in ``few``.

    Returns:
        None if no language has an eligible query.
    """
    known = {lang: pair for lang, pair in sorted(counts.items()) if pair[1]}
    if not known:
        return None
    rates = {lang: successes / n for lang, (successes, n) in known.items()}
    worst = max(known, key=lambda lang: (rates[lang], known[lang][1]))
    interval = share_interval(*known[worst], 1.0 - (1.0 - confidence) / len(known))
    return Languages(
        macro=sum(rates.values()) / len(rates),
        worst=worst,
        worst_rate=rates[worst],
        worst_interval=interval,
        languages=len(known),
        few=tuple(lang for lang, (_, n) in known.items() if n < least),
    )


def over_seeds(rates: Sequence[float]) -> Seeds:
    """Sum up one rate over the seeds it was measured with.

    Raises:
        InvalidInputError: If there is none, or one is not finite.
    """
    found = np.asarray(rates, dtype=np.float64)
    if found.ndim != 1 or not found.size or not np.isfinite(found).all():
        raise InvalidInputError(
            f"Got rates of shape {found.shape}; expected one finite rate for each seed."
        )
    return Seeds(
        float(found.mean()),
        float(found.std(ddof=1)) if found.size > 1 else None,
        float(found.min()),
        float(found.max()),
        found.size,
        found.size >= LEAST_SEEDS,
    )
