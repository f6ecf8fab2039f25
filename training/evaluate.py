"""Zero-shot retrieval through ``Encode``: can each language find its English sentence?

The same functions measure a checkpoint under training and an exported artifact, so their figures
can be compared. FLORES-200 dev (997 sentences, 204 languages beside English) is for tuning;
Tatoeba (112 languages) is only for reporting.

    python -m training.evaluate CHECKPOINT|ARTIFACT [--json FILE]
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.retrieval.metrics import accuracy_at_1
from app.retrieval.store import Encode
from training.corpus import CorpusError

PIVOT = "eng_Latn"


def flores_accuracy(encode: Encode, data: Path, languages: Sequence[str] = ()) -> dict[str, float]:
    """Measure accuracy at 1 from each language to English on FLORES-200 dev.

    Args:
        encode: The encoder.
        data: The data folder, which holds ``eval/``.
        languages: Of the file's columns; empty: all but English.

    Raises:
        CorpusError: If the file is missing, or has no such language.
    """
    table = _read(data / "eval" / "flores200-dev.parquet")
    chosen = languages or sorted(set(table.column_names) - {PIVOT})
    if missing := sorted({*chosen, PIVOT} - set(table.column_names)):
        raise CorpusError(f"flores200-dev has no column {', '.join(missing)}")
    english = encode(table[PIVOT].to_pylist())
    return {lang: accuracy_at_1(encode(table[lang].to_pylist()), english) for lang in chosen}


def tatoeba_accuracy(encode: Encode, data: Path) -> dict[str, float]:
    """Measure accuracy at 1 from each language to English within the language's own set.

    Raises:
        CorpusError: If the file is missing.
    """
    frame = _read(data / "eval" / "tatoeba-v1.parquet").to_pydict()
    rows: dict[str, tuple[list[str], list[str]]] = {}
    for lang, text, english in zip(frame["lang"], frame["text"], frame["english"], strict=True):
        texts, translations = rows.setdefault(lang, ([], []))
        texts.append(text)
        translations.append(english)
    return {
        lang: accuracy_at_1(encode(texts), encode(translations))
        for lang, (texts, translations) in sorted(rows.items())
    }


def mean_of(accuracies: Mapping[str, float], languages: Sequence[str] = ()) -> float:
    """Average over languages, each counting the same."""
    chosen = [accuracies[lang] for lang in languages or accuracies]
    return sum(chosen) / len(chosen)


def _read(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error
