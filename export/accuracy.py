"""Accuracy at 1 of a translation search on FLORES-200, by torch and by every graph alike.

All 997 English sentences are always searched. Of a static encoder every sentence of every language
is asked for; of a transformer, which would take hours for all, the first sentences of a fixed
choice of languages.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from app.encoder.tokenizer import Tokenizer
from app.retrieval.metrics import accuracy_at_1
from export.texts import LEAST_LANGUAGES, PIVOT, Texts, spread_languages

TRANSFORMER_SENTENCES = 30
BATCH = 64

Run = Callable[[Sequence[list[int]]], NDArray[np.float32]]
"""Token ids of texts to their unit rows."""


def measure_accuracies(
    runs: Mapping[str, Run], tokenizer: Tokenizer, texts: Texts, *, few: bool
) -> tuple[dict[str, dict[str, float]], int]:
    """Measure every way to run an encoder on the same token ids.

    Args:
        runs: The ways to run it, by name.
        tokenizer: The artifact's.
        texts: May have no corpus.
        few: Measure a choice of languages and sentences.

    Returns:
        Accuracies in [0, 1] by name and language, empty without a corpus; and how many sentences
        of a language were asked for.
    """
    if texts.corpus is None:
        return {}, 0
    languages = [lang for lang in sorted(texts.corpus.column_names) if lang != PIVOT]
    if few:
        languages = spread_languages(languages, LEAST_LANGUAGES)
    asked = min(TRANSFORMER_SENTENCES, len(texts.corpus)) if few else len(texts.corpus)
    # Only vectors of one language and of English are in memory at a time.
    found: dict[str, dict[str, float]] = {name: {} for name in runs}
    english: dict[str, NDArray[np.float32]] = {}
    for lang in [PIVOT, *languages]:
        sentences = texts.corpus[lang].to_pylist()
        # Tokenizing takes longest, so it is done once for all.
        wanted = sentences if lang == PIVOT else sentences[:asked]
        rows = [row.ids for row in tokenizer.tokenize(wanted, "document")]
        for name, run in runs.items():
            vectors = run_sorted(run, rows)
            if lang == PIVOT:
                english[name] = vectors
            else:
                found[name][lang] = accuracy_at_1(vectors, english[name])
    return found, asked


def run_sorted(run: Run, rows: Sequence[list[int]]) -> NDArray[np.float32]:
    """Run rows of similar length together; gives their vectors in the order of the rows."""
    order = np.argsort([len(row) for row in rows], kind="stable")
    vectors = np.concatenate([run([rows[index] for index in part]) for part in _parts(order)])
    return vectors[np.argsort(order)]


def _parts(order: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]
