"""The tasks of XGLUE that pair a query with a document: WPR, QADSM and QAM.

Files lie under ``xglue/`` in the data folder, named and laid out as in its ``Data_Format.txt``:
``WPR/xglue.wpr.de.dev`` with query, title, snippet and label between tabs, ``QADSM/xglue.qadsm.*``
with query, title, description and label, ``QAM/xglue.qam.*`` with question, passage and label.
Published test files come without labels, so ``dev`` is read.

XGLUE scores pairs: nDCG over the pages judged for a query, accuracy of labels. Here it is
retrieval: a query searches all distinct documents of its language's file, and those labeled good
(WPR: good, excellent or perfect) are right. Figures are not comparable with XGLUE's leaderboard.

References:
    Liang et al. 2020, https://arxiv.org/abs/2004.01401; file format:
    https://github.com/microsoft/XGLUE/blob/main/Data_Format.txt.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.registry import CorpusError
from training.xtyntegra.lines import read_fields
from training.xtyntegra.task import Cell, Pool
from training.xtyntegra.xquad import FLORES as XQUAD

log = logging.getLogger(__name__)

FLORES = {code: XQUAD[code] for code in ("de", "en", "es", "zh")} | {
    "fr": "fra_Latn",
    "it": "ita_Latn",
    "pt": "por_Latn",
}
SPLIT = "dev"


@dataclass(frozen=True)
class _Task:
    """Where a task's files are, and what their fields and labels mean.

    Attributes:
        name: As a cell has it.
        folder: Under ``xglue/``.
        columns: Fields of a line; the first is the query, the last the label.
        right: Label in small letters -> whether the document is a right one.
    """

    name: str
    folder: str
    columns: tuple[str, ...]
    right: Mapping[str, bool]


_RATINGS = ("bad", "fair", "good", "excellent", "perfect")
_WPR = {name: rating >= 2 for rating, name in enumerate(_RATINGS)}
_WPR |= {str(rating): rating >= 2 for rating in range(len(_RATINGS))}
WPR = _Task("xglue-wpr", "WPR", ("query", "title", "snippet", "label"), _WPR)
QADSM = _Task(
    "xglue-qadsm",
    "QADSM",
    ("query", "ad title", "ad description", "label"),
    {"good": True, "bad": False},
)
QAM = _Task("xglue-qam", "QAM", ("question", "passage", "label"), {"1": True, "0": False})


def loader(task: _Task) -> Callable[[Path, Collection[str]], list[Cell]]:
    """Make the function that loads a task's cells, one for each language whose file is there."""

    def load(data: Path, languages: Collection[str] = ()) -> list[Cell]:
        folder = data / "xglue" / task.folder
        chosen = {
            lang: folder / f"xglue.{task.folder.lower()}.{code}.{SPLIT}"
            for code, lang in sorted(FLORES.items())
            if not languages or lang in languages
        }
        cells = [_cell(task, lang, path) for lang, path in chosen.items() if path.exists()]
        if not cells and (not languages or not folder.is_dir()):
            example = f"xglue.{task.folder.lower()}.en.{SPLIT}"
            raise CorpusError(f"no files of {task.name}: expected {folder / example} and the like")
        return cells

    return load


def _cell(task: _Task, lang: str, path: Path) -> Cell:
    documents: dict[str, int] = {}
    answers: dict[str, set[int]] = {}
    for number, fields in read_fields(path, task.columns):
        query, *parts, label = fields
        text = " ".join(part for part in parts if part)
        right = task.right.get(label.lower())
        if right is None or not query or not text:
            raise CorpusError(
                f"{path}, line {number}: got a query of {len(query)} characters, a document of "
                f"{len(text)} and the label {label!r}; expected texts and one of "
                f"{', '.join(task.right)}"
            )
        row = documents.setdefault(text, len(documents))
        found = answers.setdefault(query, set())
        if right:
            found.add(row)
    asked = {query: rows for query, rows in answers.items() if rows}
    if not asked:
        raise CorpusError(f"{path}: got no query with a right document; expected at least one")
    if left := len(answers) - len(asked):
        log.warning("%s: %d of %d queries have no right document", path, left, len(answers))
    names = [str(row) for row in range(len(documents))]
    pool = Pool(f"{task.name}:{lang}", list(documents), [lang] * len(documents), names)
    return Cell(
        task.name,
        "mono",
        lang,
        lang,
        list(asked),
        [f"{task.name}:{lang}:{row}" for row in range(len(asked))],
        pool,
        [np.array(sorted(rows), dtype=np.intp) for rows in asked.values()],
    )
