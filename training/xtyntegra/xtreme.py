"""The retrieval tasks of XTREME, in the files that its ``download_data.sh`` leaves.

They lie under ``xtreme/`` in the data folder:

- ``tatoeba/af-en.af`` and ``tatoeba/af-en.en``, one sentence a line. XTREME sorts the English side
  and keeps the answers back, so ``labels/tatoeba/test-af.tsv`` must be there too: for each line of
  the first file, the line of the second from 0. LASER's own files, ``tatoeba/tatoeba.afr-eng.afr``
  and ``.eng``, whose lines translate each other, do as well.
- ``bucc2018/de-en.dev.de`` and ``.en``, lines of id, tab, sentence, and ``de-en.dev.gold``, lines
  of both ids. Queries are the sentences that have a translation, the pool is the whole English
  side, where sentences that are repeated are one document: accuracy of retrieval, not the F1 of
  mining that XTREME reports.
- ``lareqa/xquad-r/ar.json`` and so on, as LAReQA publishes them: see ``xquad``.

LAReQA's MLQA-R, which XTREME-R leaves out, and Mewsli-X are not read: see ``tasks.REFUSED``.

References:
    Hu et al. 2020, https://arxiv.org/abs/2003.11080.
"""

from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.registry import CorpusError
from training.xtyntegra import xquad
from training.xtyntegra.lines import read_fields, read_texts
from training.xtyntegra.task import Cell, Pool, one_to_one
from training.xtyntegra.tatoeba import FLORES as LASER

TATOEBA, BUCC, LAREQA = "xtreme-tatoeba", "xtreme-bucc", "xtreme-lareqa"
ENGLISH = "eng_Latn"
SPLIT = "dev"
"""Of BUCC 2018: XTREME keeps back the answers of the other."""

_CODES = """
    afr af ara ar bul bg ben bn deu de ell el spa es est et eus eu pes fa fin fi fra fr heb he
    hin hi hun hu ind id ita it jpn ja jav jv kat ka kaz kk kor ko mal ml mar mr nld nl por pt
    rus ru swh sw tam ta tel te tha th tgl tl tur tr urd ur vie vi cmn zh
    aze az lit lt pol pl ukr uk ron ro
"""
_WORDS = _CODES.split()
LASER_CODES: dict[str, str] = dict(zip(_WORDS[1::2], _WORDS[::2], strict=True))
"""XTREME's codes -> LASER's: its 36 languages beside English, and the five that XTREME-R added."""
_BUCC = ("de", "fr", "ru", "zh")


def load_tatoeba(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of XTREME's Tatoeba task, of the languages whose files are there.

    Args:
        data: The data folder, which holds ``xtreme/``.
        languages: FLORES codes; empty: all.

    Raises:
        CorpusError: If no file is there, one is not as expected, or the answers are missing.
    """
    folder = data / "xtreme" / "tatoeba"
    cells: list[Cell] = []
    for code, laser in LASER_CODES.items():
        lang = LASER[laser]
        own, plain = folder / f"{code}-en.{code}", folder / f"tatoeba.{laser}-eng.{laser}"
        if languages and lang not in languages:
            continue
        if own.exists():
            labels = data / "xtreme" / "labels" / "tatoeba" / f"test-{code}.tsv"
            cells.append(_sorted_cell(code, lang, own, labels))
        elif plain.exists():
            texts, english = read_texts(plain), read_texts(plain.with_suffix(".eng"))
            if len(texts) != len(english):
                raise CorpusError(
                    f"{plain}: got {len(texts)} lines and {len(english)} in English; expected as "
                    "many of each"
                )
            rows = one_to_one(len(texts))
            cells.append(_tatoeba_cell(code, lang, texts, english, rows))
    return _found(cells, languages, folder / "af-en.af")


def load_bucc(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of BUCC 2018, of the languages whose files are there.

    Args:
        data: The data folder, which holds ``xtreme/``.
        languages: FLORES codes; empty: all.

    Raises:
        CorpusError: If no file is there, or one is not as expected.
    """
    folder = data / "xtreme" / "bucc2018"
    cells: list[Cell] = []
    for code in _BUCC:
        lang = LASER[LASER_CODES[code]]
        start = folder / f"{code}-en.{SPLIT}.{code}"
        if (not languages or lang in languages) and start.exists():
            cells.append(_bucc_cell(code, lang, start))
    return _found(cells, languages, folder / f"de-en.{SPLIT}.de")


def load_lareqa(data: Path, languages: Collection[str] = ()) -> list[Cell]:
    """Make the cells of LAReQA's XQuAD-R from its own files.

    Args:
        data: The data folder, which holds ``xtreme/``.
        languages: FLORES codes; empty: all.

    Raises:
        CorpusError: If a file cannot be read or is not as expected.
    """
    return xquad.cells_of(LAREQA, data / "xtreme" / "lareqa" / "xquad-r", ".json", languages)


def _found(cells: list[Cell], languages: Collection[str], example: Path) -> list[Cell]:
    if not cells and (not set(languages) - {ENGLISH} or not example.parent.is_dir()):
        raise CorpusError(f"no files of this task: expected {example} and the like")
    return cells


def _sorted_cell(code: str, lang: str, path: Path, labels: Path) -> Cell:
    """Make a cell whose English side is sorted, from the answers beside it."""
    texts, english = read_texts(path), read_texts(path.with_suffix(".en"))
    if not labels.exists():
        raise CorpusError(
            f"{path}: XTREME sorts the English side and keeps the answers back; expected them in "
            f"{labels}, or LASER's files tatoeba.{LASER_CODES[code]}-eng.* in place of these"
        )
    rows: list[int] = []
    for number, (field,) in read_fields(labels, ["line of the English side"]):
        if not field.isdecimal() or int(field) >= len(english):
            raise CorpusError(
                f"{labels}, line {number}: got {field!r}; expected a line of {path.stem}.en, from "
                f"0 to {len(english) - 1}"
            )
        rows.append(int(field))
    if len(rows) != len(texts):
        raise CorpusError(
            f"{labels}: got {len(rows)} lines; expected {len(texts)}, one for each of {path}"
        )
    relevant = tuple(np.array(rows, dtype=np.intp).reshape(-1, 1))
    return _tatoeba_cell(code, lang, texts, english, relevant)


def _tatoeba_cell(
    code: str,
    lang: str,
    texts: list[str],
    english: list[str],
    relevant: tuple[NDArray[np.intp], ...],
) -> Cell:
    ids = [f"{TATOEBA}:{code}:{row}" for row in range(len(texts))]
    names = [str(row) for row in range(len(english))]
    pool = Pool(f"{TATOEBA}:{code}:{ENGLISH}", english, [ENGLISH] * len(english), names)
    return Cell(TATOEBA, "to-english", lang, ENGLISH, texts, ids, pool, relevant)


def _bucc_cell(code: str, lang: str, path: Path) -> Cell:
    sentences, english = _by_id(path), _by_id(path.with_suffix(".en"))
    texts = list(dict.fromkeys(english.values()))
    places = {text: row for row, text in enumerate(texts)}
    row_of = {name: places[text] for name, text in english.items()}
    first_of = {text: name for name, text in reversed(english.items())}
    gold = path.with_suffix(".gold")
    answers: dict[str, set[int]] = {}
    for number, (one, other) in read_fields(gold, [f"id of {code}", "id of en"]):
        for name, known, file in ((one, sentences, path), (other, english, path.stem + ".en")):
            if name not in known:
                raise CorpusError(
                    f"{gold}, line {number}: got the id {name!r}; expected one of {file}"
                )
        answers.setdefault(one, set()).add(row_of[other])
    names = [first_of[text] for text in texts]
    pool = Pool(f"{BUCC}:{code}:{ENGLISH}", texts, [ENGLISH] * len(texts), names)
    return Cell(
        BUCC,
        "to-english",
        lang,
        ENGLISH,
        [sentences[name] for name in answers],
        [f"{BUCC}:{name}" for name in answers],
        pool,
        [np.array(sorted(rows), dtype=np.intp) for rows in answers.values()],
    )


def _by_id(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, (name, text) in read_fields(path, ["id", "sentence"], tabs_in_last=True):
        if name in found or not text:
            raise CorpusError(
                f"{path}, line {number}: got id {name!r} and a text of {len(text)} characters; "
                "expected an id that no line before has, and a text"
            )
        found[name] = text
    return found
