"""Real texts to verify with: FLORES-200's development set, or a file of the caller's.

Which languages are looked at is a fixed rule: for every script of FLORES-200 its alphabetically
first language, then others evenly spread over the alphabet, and for every script that only other
corpora hold (Thaana, Syriac, Cherokee ...) the first language there.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import ArtifactError
from app.text.normalize import normalize
from app.text.script import COMMON, script_of
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

    @property
    def all(self) -> list[str]:
        """The sample's texts, and for each language one of all of its texts in a row.

        The long ones are more than most encoders read, so that where a text is cut is compared too.
        """
        texts = [text for some in self.sample.values() for text in some]
        return texts + [" ".join([*some, *some]) for some in self.sample.values()]

    @property
    def scripts(self) -> dict[str, int]:
        """How many of the sample's texts are in each script, by their letters."""
        counts = Counter(script_of(text) for some in self.sample.values() for text in some)
        return dict(sorted(counts.items()))


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
    rare = _rare_texts(data / "bitext", {_script(code) for code in codes})
    known = Texts({**sample, **rare}, None, "").scripts
    rare |= _unlabeled_texts(data / "eval" / "tatoeba-v1.parquet", set(known))
    if rare:
        origin += f"; {', '.join(rare)} of the other corpora, whose scripts it lacks"
    return Texts({**sample, **rare}, table, origin)


def _unlabeled_texts(path: Path, known: set[str]) -> dict[str, list[str]]:
    """Read texts of scripts that are not known from a corpus whose codes name no scripts."""
    found: dict[str, list[str]] = {}
    if path.is_file():
        table = pq.read_table(path, columns=["lang", "text"])
        for lang, text in zip(table["lang"].to_pylist(), table["text"].to_pylist(), strict=True):
            # The first character says at once that nearly every text is none of them.
            script = script_of(text[:1])
            if script != COMMON and script not in known and script_of(text) == script:
                found.setdefault(f"{lang}_{script}", []).append(text)
    return {code: some[:TEXTS_PER_LANGUAGE] for code, some in sorted(found.items())}


def _rare_texts(folder: Path, known: set[str]) -> dict[str, list[str]]:
    """Read texts of one language for every script of the training corpora that is not known.

    Args:
        folder: Of the corpora; may be absent.
        known: Scripts that need none, by code.
    """
    places: dict[str, tuple[str, Path, str]] = {}
    for path in sorted(folder.glob("*.parquet")):
        for side in ("a", "b"):
            column = f"lang_{side}"
            codes = pq.read_table(path, columns=[column], read_dictionary=[column])[column].unique()
            for code in codes.to_pylist():
                place = (code, path, side)
                if _script(code) not in known and place < places.get(_script(code), ("~",)):
                    places[_script(code)] = place
    found: dict[str, list[str]] = {}
    for code, path, side in sorted(places.values()):
        wanted = [(f"lang_{side}", "=", code)]
        texts = pq.read_table(path, columns=[f"text_{side}"], filters=wanted)[f"text_{side}"]
        found[code] = texts.slice(0, TEXTS_PER_LANGUAGE).to_pylist()
    return found


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
        first.setdefault(_script(code), code)
    chosen = set(first.values())
    rest = [code for code in ordered if code not in chosen]
    missing = min(least - len(chosen), len(rest))
    if missing > 0:
        chosen.update(rest[index * len(rest) // missing] for index in range(missing))
    return sorted(chosen)


def _script(code: str) -> str:
    return code.rpartition("_")[2]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
