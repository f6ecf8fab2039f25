"""Parquet bitext -> pairs with languages, held as Arrow texts and integer rows.

A text that stands in many pairs (an English verse beside forty translations) is kept once; a pair
is five small integers. Two million pairs take some 300 MB this way, and drawing a batch of them is
array arithmetic. What it trades away: all texts are in memory, so a corpus of gigabytes does not
fit.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from training.meanings import Meanings
from training.reading import iterate_texts, merge, read_part
from training.registry import CORPORA, Corpus, CorpusError, data_folder, select_corpora

__all__ = [
    "CORPORA",
    "Bitext",
    "Corpus",
    "CorpusError",
    "data_folder",
    "iterate_texts",
    "load_bitext",
    "select_corpora",
    "texts_by_language",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Negatives:
    """Hard negatives that a file gives.

    Attributes:
        texts: Those of a pair after those of the pair before, shape (n,).
        starts: Where those of each pair start, and the end, shape (pairs + 1,).
    """

    texts: NDArray[np.int32]
    starts: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bitext:
    """Pairs of texts as integers; all arrays of pairs have shape (pairs,).

    Attributes:
        texts: The distinct normalized texts.
        langs: Language codes that ``lang_a`` and ``lang_b`` point into.
        corpora: What ``corpus`` points into.
        text_a: Index into ``texts`` of the pivot side (mostly English); the document of an own
            file, as texts beside one document say the same.
        text_b: Index into ``texts`` of its translation; the query of an own file.
        lang_a: Index into ``langs``.
        lang_b: Index into ``langs``.
        corpus: Index into ``corpora``. Rows keep the order of their file.
        negatives: Of the pairs; None: no file gives any.
        skipped: Corpus -> reason -> rows that were left out for it; only what was.
    """

    texts: pa.LargeStringArray
    langs: tuple[str, ...]
    corpora: tuple[Corpus, ...]
    text_a: NDArray[np.int32]
    text_b: NDArray[np.int32]
    lang_a: NDArray[np.int16]
    lang_b: NDArray[np.int16]
    corpus: NDArray[np.int8]
    negatives: Negatives | None = None
    skipped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.text_a)


def load_bitext(folder: Path, corpora: Sequence[Corpus], languages: Sequence[str] = ()) -> Bitext:
    """Read corpora into one table of pairs, and log how many rows were left out and why.

    Args:
        folder: The data folder, which holds ``bitext/``.
        corpora: What to read.
        languages: Keep only pairs with both languages among these; empty: all.

    Raises:
        CorpusError: If a file is missing, unreadable or without one usable row, or no pair is left.
    """
    parts = [read_part(folder, corpus, languages) for corpus in corpora]
    sizes = [len(part.text_a) for part in parts]
    if not sum(sizes):
        raise CorpusError(f"no pairs of the languages {', '.join(languages)} in these corpora")
    texts, into_texts = merge([part.texts for part in parts])
    langs, into_langs = merge([part.langs for part in parts])

    def joined(column: str, into: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        return np.concatenate([m[getattr(p, column)] for m, p in zip(into, parts, strict=True)])

    bitext = Bitext(
        texts=texts,
        langs=tuple(langs.to_pylist()),
        corpora=tuple(corpora),
        text_a=joined("text_a", into_texts),
        text_b=joined("text_b", into_texts),
        lang_a=joined("lang_a", into_langs).astype(np.int16),
        lang_b=joined("lang_b", into_langs).astype(np.int16),
        corpus=np.repeat(np.arange(len(corpora), dtype=np.int8), sizes),
    )
    skipped = {corpus.name: dict(part.skipped) for corpus, part in zip(corpora, parts, strict=True)}
    counts = np.concatenate([part.negative_counts for part in parts])
    if counts.any():
        negatives = _true_negatives(bitext, counts, joined("negatives", into_texts), skipped)
        bitext = replace(bitext, negatives=negatives)
    return replace(bitext, skipped=_report(skipped))


def texts_by_language(bitext: Bitext) -> dict[str, NDArray[np.int32]]:
    """Return, for each language, the indices of its distinct texts in order of appearance."""
    texts = np.concatenate([bitext.text_a, bitext.text_b])
    langs = np.concatenate([bitext.lang_a, bitext.lang_b])
    found: dict[str, NDArray[np.int32]] = {}
    for index, lang in enumerate(bitext.langs):
        own = texts[langs == index]
        _, first = np.unique(own, return_index=True)
        found[lang] = own[np.sort(first)]
    return found


def _true_negatives(
    bitext: Bitext,
    counts: NDArray[np.int32],
    texts: NDArray[np.int32],
    skipped: Mapping[str, dict[str, int]],
) -> Negatives:
    """Leave out, and count, what another row gives as a positive, and what translates one."""
    row = np.repeat(np.arange(len(bitext)), counts)  # (negatives,)
    meanings = Meanings(bitext.text_a, bitext.text_b, len(bitext.texts))
    false = meanings.same(bitext.text_a[row].astype(np.int64), texts.astype(np.int64))
    false |= meanings.same(bitext.text_b[row].astype(np.int64), texts.astype(np.int64))
    for index, count in enumerate(np.bincount(bitext.corpus[row[false]]).tolist()):
        if count:
            skipped[bitext.corpora[index].name]["negative that is a positive"] = count
    ends = np.cumsum(np.bincount(row[~false], minlength=len(bitext)))
    return Negatives(texts[~false], np.concatenate([[0], ends]).astype(np.int64))


def _report(skipped: Mapping[str, Mapping[str, int]]) -> dict[str, Mapping[str, int]]:
    found = {name: reasons for name, reasons in skipped.items() if reasons}
    for name, reasons in found.items():
        listed = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items())
        log.warning("left out of %s: %s", name, listed)
    return found
