"""What a run's batches are made of, counted over some of them: for a look before training.

How often a run draws each pair is counted over all of its steps.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.collation import Batch, Side
from training.corpus import Bitext
from training.pairing import Use

LISTED = 12  # pairs of languages by name; the others are summed


@dataclass(frozen=True, slots=True)
class Makeup:
    """Counts over some batches.

    Attributes:
        batches: How many were counted.
        kinds: Cross-lingual and monolingual batches.
        corpora: Pairs by corpus; a text of several corpora counts for the last of them.
        languages: Pairs by query and document language.
        lengths: Tokens of each text of both sides, shape (texts,).
        widths: Tokens of the longest text of each batch, shape (batches,).
        padding: Share of positions of the batches' blocks that hold no token.
        masked: Share of a query's other documents that are taken out as accidental negatives.
        negatives: Hard negatives of a query, on average.
    """

    batches: int
    kinds: Counter[str]
    corpora: Counter[str]
    languages: Counter[tuple[str, str]]
    lengths: NDArray[np.int64]
    widths: NDArray[np.int64]
    padding: float
    masked: float
    negatives: float

    def lines(self, skipped: dict[str, dict[str, int]], *, mined: bool = True) -> list[str]:
        """Write the counts for people, one thing a line.

        Args:
            skipped: Corpus -> reason -> rows that could not be used.
            mined: Whether negatives that are to be mined were; else texts at random stand in.
        """
        pairs = self.languages.total()
        top = self.languages.most_common(LISTED)
        named = [f"{query}>{document} {_share(n, pairs)}" for (query, document), n in top]
        if rest := len(self.languages) - len(top):
            left = pairs - sum(n for _, n in top)
            named.append(f"{rest} others {_share(left, pairs)}")
        cross = self.kinds["cross"]
        rows = {
            "kinds": f"cross-lingual {_share(cross, self.batches)}, "
            f"in one language {_share(self.batches - cross, self.batches)}",
            "corpora": ", ".join(
                f"{name} {_share(n, pairs)}" for name, n in self.corpora.most_common()
            ),
            "languages": ", ".join(named),
            "tokens": f"mean {self.lengths.mean():.1f}, p95 {np.percentile(self.lengths, 95):.0f}, "
            f"max {self.lengths.max()}",
            "padding": f"{self.padding:.1%} of all positions",
            "masked": f"{self.masked:.3%} of other documents, as accidental negatives",
        }
        if self.negatives:
            stand_in = "" if mined else "; texts drawn at random stand for those to be mined"
            rows["negatives"] = f"{self.negatives:g} hard ones a query{stand_in}"
        rows["skipped rows"] = "; ".join(
            f"{name}: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.items())
            for name, reasons in skipped.items()
        )
        return [f"  {name:<14}{text or 'none'}" for name, text in rows.items()]


def count_makeup(batches: Sequence[Batch], bitext: Bitext) -> Makeup:
    """Count what batches are made of.

    Args:
        batches: At least one.
        bitext: What they were drawn from.
    """
    langs, corpora = _origins(bitext)
    sides = [side for batch in batches for side in _sides(batch)]
    query_texts, document_texts, pivots = (
        np.concatenate(part)
        for part in zip(*((*batch.sources, batch.pivots) for batch in batches), strict=True)
    )
    # A pair's corpus is that of its translated side: a pivot stands in many corpora.
    translated = np.where(query_texts == pivots, document_texts, query_texts)
    pairs = [len(batch.query.input_ids) for batch in batches]
    # Columns from the number of pairs on are hard negatives.
    masked = [int((b.masked[1] < n).sum()) for b, n in zip(batches, pairs, strict=True)]
    positions = sum(side.attention_mask.size for side in sides)
    lengths = np.concatenate([side.attention_mask.sum(axis=1) for side in sides])
    hard = sum(
        0 if batch.negatives is None else len(batch.negatives.input_ids) for batch in batches
    )
    names = np.array(bitext.langs, dtype=object)
    return Makeup(
        batches=len(batches),
        kinds=Counter(batch.kind for batch in batches),
        corpora=Counter(bitext.corpora[index].name for index in corpora[translated]),
        languages=Counter(
            zip(names[langs[query_texts]], names[langs[document_texts]], strict=True)
        ),
        lengths=lengths,
        widths=np.array([max(_widths(batch)) for batch in batches]),
        padding=1 - float(lengths.sum()) / positions,
        masked=sum(masked) / sum(n * (n - 1) for n in pairs),
        negatives=hard / sum(pairs),
    )


def epoch_lines(uses: Sequence[Use]) -> list[str]:
    """Write for people how often a run draws the pairs of each corpus, one corpus a line."""
    found: list[str] = []
    width = max(len(use.corpus) for use in uses) + 2
    for kind, title in (("cross", "cross-lingual batches"), ("mono", "batches in one language")):
        groups: dict[str, list[Use]] = {}
        for use in uses:
            if use.kind == kind:
                groups.setdefault(use.corpus, []).append(use)
        if any(use.drawn for group in groups.values() for use in group):
            found.append(f"  {title}")
            found += [f"    {name:<{width}}{_epochs_of(group)}" for name, group in groups.items()]
    return found


def _epochs_of(uses: Sequence[Use]) -> str:
    """Write the epochs of a corpus, then those of its largest and of its smallest bucket."""
    parts = [_epochs(sum(use.drawn for use in uses), sum(use.size for use in uses))]
    ordered = sorted(uses, key=lambda use: (-use.size, use.languages))
    if len(uses) > 1:
        for end, use in (("largest", ordered[0]), ("smallest", ordered[-1])):
            epochs = _epochs(use.drawn, use.size)
            parts.append(f"{end} {use.languages} ({use.size:,}) {epochs}")
    return "; ".join(parts)


def _epochs(drawn: int, size: int) -> str:
    return f"{drawn / size:.2f}" if drawn < 10 * size else f"{drawn / size:,.0f}"


def _origins(bitext: Bitext) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return language and corpus of each text, both of shape (texts,)."""
    langs = np.zeros(len(bitext.texts), np.int64)
    corpora = np.zeros(len(bitext.texts), np.int64)
    for texts, its_langs in ((bitext.text_a, bitext.lang_a), (bitext.text_b, bitext.lang_b)):
        langs[texts] = its_langs
        corpora[texts] = bitext.corpus
    return langs, corpora


def _sides(batch: Batch) -> list[Side]:
    sides = (batch.query, batch.document, batch.negatives, batch.noisy)
    return [side for side in sides if side is not None]


def _widths(batch: Batch) -> list[int]:
    return [side.input_ids.shape[1] for side in _sides(batch)]


def _share(count: float, total: float) -> str:
    return f"{count / total:.1%}"
