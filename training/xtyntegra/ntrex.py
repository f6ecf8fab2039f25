"""NTREX-128: news sentences between 121 languages and English.

These texts are among the training corpora: a model trained on them has seen the answers, and its
figures here say how well it remembers. Figures of every cell say so (``in_training_corpora``).

Where a language has two translations of a sentence both are queries, and both are right answers.
Where it lacks some, they are neither queries nor documents.
"""

from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np

from training.registry import CorpusError
from training.xtyntegra.parquet import read_texts
from training.xtyntegra.task import Cell, Pool

NAME = "ntrex128"
ENGLISH = "eng_Latn"


def load(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of NTREX-128, to English and from it.

    Args:
        data: The data folder, which holds ``bitext/``.
        languages: Beside English; empty: all.

    Raises:
        CorpusError: If the file cannot be read or its pivot is not English.
    """
    path = data / "bitext" / "ntrex128.parquet"
    columns = read_texts(path, ["lang_a", "lang_b", "text_a", "text_b"])
    if others := sorted(set(columns["lang_a"]) - {ENGLISH}):
        raise CorpusError(f"{path}: lang_a is {', '.join(others)}; expected {ENGLISH} throughout")
    pairs: dict[str, list[tuple[str, str]]] = {}
    for lang, english, text in zip(
        columns["lang_b"], columns["text_a"], columns["text_b"], strict=True
    ):
        pairs.setdefault(lang, []).append((english, text))
    # The language with most pairs gives the document order; another may hold lines it lacks.
    ordered = sorted(pairs.values(), key=len, reverse=True)
    texts = list(dict.fromkeys(english for each in ordered for english, _ in each))
    numbers = [str(row) for row in range(len(texts))]
    pool = Pool(f"{NAME}:{ENGLISH}", texts, [ENGLISH] * len(texts), numbers)
    row_of = {text: row for row, text in enumerate(texts)}
    chosen = sorted(lang for lang in pairs if not languages or lang in languages)
    return [cell for lang in chosen for cell in _cells(lang, pairs[lang], pool, row_of)]


@cache
def _ids(rows: tuple[int, ...]) -> tuple[str, ...]:
    """Name English sentences; languages that have the same ones share the names."""
    return tuple(f"{NAME}:{row}" for row in rows)


def _cells(
    lang: str, pairs: list[tuple[str, str]], english: Pool, row_of: dict[str, int]
) -> tuple[Cell, Cell]:
    rows = [row_of[text] for text, _ in pairs]
    translations = [text for _, text in pairs]
    ids = _ids(tuple(rows))
    answers = list(np.array(rows, dtype=np.intp).reshape(-1, 1))
    to = Cell(NAME, "to-english", lang, ENGLISH, translations, ids, english, answers)
    names = [f"{row}.{number}" for number, row in enumerate(rows)]
    pool = Pool(f"{NAME}:{lang}", translations, [lang] * len(pairs), names)
    asked = sorted(set(rows))
    found: dict[int, list[int]] = {row: [] for row in asked}
    for place, row in enumerate(rows):
        found[row].append(place)
    back = Cell(
        NAME,
        "from-english",
        ENGLISH,
        lang,
        [english.texts[row] for row in asked],
        _ids(tuple(asked)),
        pool,
        [np.array(found[row], dtype=np.intp) for row in asked],
    )
    return to, back
