"""The smallest changes that broke a query, in the units of the certificates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.robustness.findings import InnerReport
from app.robustness.statistics import Row
from app.robustness.wordnoise import units_of


@dataclass(frozen=True, slots=True)
class Empirical:
    """The smallest changes of one query that an attack succeeded with; None without one.

    Attributes:
        shift: Of its vector.
        size: Of its token embeddings, in mean token norms.
        words: Words inserted, deleted or replaced.
    """

    shift: float | None
    size: float | None
    words: int | None


def empirical_radii(
    texts: Mapping[str, str], rows: Sequence[Row], inner: Sequence[InnerReport]
) -> dict[str, Empirical]:
    """Find the smallest successful change of each query, by all attacks of the probe.

    Args:
        texts: The queries as they were sent, by name.
        rows: What the attacks by texts came to.
        inner: What those from the inside came to.
    """
    shifts: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    words: dict[str, list[int]] = {}
    for result in (row.result for row in rows if row.result.success):
        if result.shift is not None:
            shifts.setdefault(result.query_id, []).append(result.shift)
        changed = word_distance(texts[result.query_id], result.adversarial_text)
        words.setdefault(result.query_id, []).append(changed)
    for report in inner:
        for one in (one for one in report.results if one.success):
            if one.size is not None:
                sizes.setdefault(one.query_id, []).append(one.size)
            if report.smoothing:  # Other vectors than those that the margin is about
                continue
            shifts.setdefault(one.query_id, []).append(one.shift)
            if one.adversarial_text is not None:
                changed = word_distance(texts[one.query_id], one.adversarial_text)
                words.setdefault(one.query_id, []).append(changed)
    return {
        name: Empirical(
            min(shifts.get(name, ()), default=None),
            min(sizes.get(name, ()), default=None),
            min(words.get(name, ()), default=None),
        )
        for name in texts
    }


def word_distance(first: str, second: str) -> int:
    """Count the words to insert, delete or replace between two texts (Levenshtein)."""
    ours, theirs = units_of(first, "word")[0], units_of(second, "word")[0]
    row = list(range(len(theirs) + 1))
    for n, word in enumerate(ours, 1):
        diagonal, row[0] = row[0], n
        for m, other in enumerate(theirs, 1):
            diagonal, row[m] = (
                row[m],
                min(row[m] + 1, row[m - 1] + 1, diagonal + (word != other)),
            )
    return row[-1]
