"""Real texts to verify with: FLORES-200's development set, or a file of the caller's.

Which languages are looked at is a fixed rule: for every script of the corpus its alphabetically
first language, then others evenly spread over the alphabet.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import ArtifactError
from app.text.normalize import normalize
from training.registry import DEFAULT_DATA

LEAST_LANGUAGES = 40
TEXTS_PER_LANGUAGE = 8
PIVOT = "eng_Latn"


@dataclass(frozen=True)
class Texts:
    """Texts to verify with.

    Attributes:
        sample: Texts by language; the language is "" where it is not known.
        corpus: Sentences by language, translations in the same row; None for texts of a file.
        origin: Where they come from and by which rule, for the record.
    """

    sample: dict[str, list[str]]
    corpus: pa.Table | None
    origin: str


def flores_texts() -> Texts:
    """Read the verification texts from the corpora at ``TYNTEGRA_DATA``.

    Raises:
        ArtifactError: If they are not there.
    """
    data = Path(os.environ.get("TYNTEGRA_DATA") or DEFAULT_DATA)
    path = data / "eval" / "flores200-dev.parquet"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        got = _first_line(error) if path.exists() else "no such file"
        raise ArtifactError(
            f"{path}: got {got}; expected the texts that an export is verified "
            "with. Set TYNTEGRA_DATA to the folder that holds eval/, or give texts of your own "
            "with --texts FILE."
        ) from error
    codes = sorted(table.column_names)
    chosen = spread_languages(codes, LEAST_LANGUAGES)
    sample = {lang: table[lang].to_pylist()[:TEXTS_PER_LANGUAGE] for lang in chosen}
    origin = (
        f"flores200-dev: the first {TEXTS_PER_LANGUAGE} sentences of {len(chosen)} languages "
        "(of each script the first by code, then evenly spread)"
    )
    return Texts(sample, table, origin)


def file_texts(path: Path) -> Texts:
    """Read verification texts from a UTF-8 file, one a line.

    Raises:
        ArtifactError: If the file cannot be read or holds no text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: got {_first_line(error)}; expected a UTF-8 file with one text a line. Give "
            "--texts such a file."
        ) from error
    texts = [line for line in lines if normalize(line)]
    if not texts:
        raise ArtifactError(f"{path}: got no text; expected one a line. Give --texts such a file.")
    return Texts({"": texts}, None, f"{len(texts)} lines of {path.name}")


def spread_languages(codes: Sequence[str], least: int) -> list[str]:
    """Choose languages: the first of each script, then evenly spread ones up to ``least``.

    Args:
        codes: FLORES codes, such as ``yor_Latn``.
        least: How many to choose, if scripts alone are fewer.
    """
    ordered = sorted(codes)
    first: dict[str, str] = {}
    for code in ordered:
        first.setdefault(code.rpartition("_")[2], code)
    chosen = set(first.values())
    rest = [code for code in ordered if code not in chosen]
    missing = min(least - len(chosen), len(rest))
    if missing > 0:
        chosen.update(rest[index * len(rest) // missing] for index in range(missing))
    return sorted(chosen)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
