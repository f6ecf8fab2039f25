"""The tasks by name, as lists of cells."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from training.registry import CorpusError
from training.xtyntegra import flores, ntrex, own, tatoeba, xglue, xquad, xtreme
from training.xtyntegra.task import Cell

Load = Callable[[Path, Collection[str]], list[Cell]]

_LOADERS: dict[str, Load] = {
    flores.NAME: flores.load,
    ntrex.NAME: ntrex.load,
    tatoeba.NAME: tatoeba.load,
    xquad.NAME: xquad.load,
    xtreme.TATOEBA: xtreme.load_tatoeba,
    xtreme.BUCC: xtreme.load_bucc,
    xtreme.LAREQA: xtreme.load_lareqa,
    **{task.name: xglue.loader(task) for task in (xglue.WPR, xglue.QADSM, xglue.QAM)},
}
REFUSED = {
    "xtreme-mlqa-r": "its questions differ between languages, and its files were not at hand",
    "xtreme-mewslix": "its files were not at hand, so a reader could not be checked",
}
"""Retrieval tasks of LAReQA and XTREME-R that are not read -> why."""
CORE = (flores.NAME, ntrex.NAME, tatoeba.NAME, xquad.NAME)
"""Tasks that the data folder has; a run without a choice of its own measures these."""
TASKS = (*_LOADERS, own.NAME)
"""All tasks that can be named."""


def load_tasks(
    names: Sequence[str],
    data: Path,
    *,
    languages: Sequence[str] = (),
    own_folder: Path | None = None,
) -> list[Cell]:
    """Load tasks as cells, in the order named; no text is encoded.

    Args:
        names: Tasks, such as ``flores200``, or one setting of them, ``flores200/to-english``.
        data: The data folder.
        languages: Keep cells whose languages besides English and ``*`` are all among these;
            English alone counts only if named. Pools stay whole. Empty: all.
        own_folder: Of the task ``own``; see ``own``.

    Raises:
        CorpusError: If a name or a language is unknown, a file is missing or not as expected.
    """
    cells: dict[str, Cell] = {}
    for name in names:
        task, _, setting = name.partition("/")
        if task in REFUSED:
            raise CorpusError(f"{task} cannot be read: {REFUSED[task]}")
        if task not in TASKS:
            raise CorpusError(f"unknown task {task!r}; expected one of {', '.join(TASKS)}")
        chosen = {*languages, flores.ENGLISH} if languages else ()
        found = _own(own_folder, chosen) if task == own.NAME else _LOADERS[task](data, chosen)
        settings = sorted({cell.setting for cell in found})
        found = [cell for cell in found if _wanted(cell, setting, languages)]
        if setting and not found and setting not in settings:
            raise CorpusError(f"{task} has no setting {setting!r}; it has {', '.join(settings)}")
        cells |= {cell.key: cell for cell in found}
    missing = set(languages) - {
        lang for cell in cells.values() for lang in (cell.query_lang, cell.document_lang)
    }
    if missing:
        raise CorpusError(
            f"no cell of {', '.join(names)} has the languages {', '.join(sorted(missing))}; "
            "expected FLORES codes such as swh_Latn"
        )
    return list(cells.values())


def _own(folder: Path | None, languages: Collection[str]) -> list[Cell]:
    if folder is None:
        raise CorpusError(f"the task {own.NAME} has no files yet: name their folder with --own")
    return own.load(folder, languages)


def _wanted(cell: Cell, setting: str, languages: Sequence[str]) -> bool:
    if setting and cell.setting != setting:
        return False
    sides = {cell.query_lang, cell.document_lang} - {"*"}
    others = sides - {flores.ENGLISH} or sides
    return not languages or others <= set(languages)
