"""Files -> labelled sentence pairs: PAWS-X and XNLI as their authors publish them, and XTREME's.

What makes a row unusable is counted by reason, with line numbers, and never dropped in silence.
Languages go by FLORES codes everywhere but in the files' own names and columns.
"""

import csv
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.text.normalize import normalize
from training.classification.tasks import Format, Split, Task

LINES_SHOWN = 5  # of each reason, in the log
log = logging.getLogger(__name__)


class PairsError(ValueError):
    """The pairs cannot be read or used; the message says which file and why, in one line."""


@dataclass(frozen=True, slots=True)
class PairSet:
    """Labelled pairs of one language.

    Attributes:
        lang: FLORES code.
        ids: What tells that pairs of two languages translate each other, unique.
        first: First sentences (premises), normalized.
        second: Second sentences (hypotheses), normalized.
        labels: Index into the task's labels, shape (pairs,).
        rows: Rows of the language in the file, unusable ones included.
        numbered: Whether ids are row numbers for want of better ones.
        skipped: Reason -> lines of the file.
    """

    lang: str
    ids: tuple[str, ...]
    first: tuple[str, ...]
    second: tuple[str, ...]
    labels: NDArray[np.int64]
    rows: int
    numbered: bool
    skipped: Mapping[str, tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True)
class _Growing:
    """A set of pairs while its file is read."""

    rows: int = 0
    pairs: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    skipped: dict[str, list[int]] = field(default_factory=dict)


def read_pairs(
    task: Task, folder: Path, split: Split, languages: Sequence[str]
) -> dict[str, PairSet]:
    """Read one split in some languages.

    Args:
        task: Which task.
        folder: With the files as published: PAWS-X's ``x-final``, or XNLI's two folders.
        split: Which split.
        languages: FLORES codes.

    Returns:
        Language -> its pairs, in the order asked for.

    Raises:
        PairsError: If a language is not of the task, a file is missing or malformed, or a
            language is left without a pair.
    """
    if unknown := sorted(set(languages) - set(task.languages)):
        raise PairsError(
            f"{task.name} has no {', '.join(unknown)}: expected some of {', '.join(task.languages)}"
        )
    read: dict[Path, dict[str, _Growing]] = {}
    found: dict[str, PairSet] = {}
    for lang in languages:
        path, layout = _locate(task, folder, split, lang)
        if path not in read:
            read[path] = _read_file(path, task, layout, lang)
        found[lang] = _finish(lang, path, layout, read[path].get(lang, _Growing()))
    return found


def _locate(task: Task, folder: Path, split: Split, lang: str) -> tuple[Path, Format]:
    code = task.languages[lang]
    choices = [
        (folder / layout.path.format(split=split, lang=code), layout)
        for layout in task.formats[split]
    ]
    for path, layout in choices:
        if path.is_file():
            return path, layout
    names = ", ".join(str(path.relative_to(folder)) for path, _ in choices)
    raise PairsError(f"{folder} has no {split} set of {task.name} in {lang}: expected {names}")


def _finish(lang: str, path: Path, layout: Format, growing: _Growing) -> PairSet:
    _report(f"{path}, {lang}", growing)
    if not growing.pairs:
        reasons = ", ".join(f"{len(lines)} {why}" for why, lines in growing.skipped.items())
        raise PairsError(
            f"{path} has no usable pair in {lang}, of {growing.rows} rows"
            + (f" ({reasons})" if reasons else "")
        )
    first, second, labels = zip(*growing.pairs.values(), strict=True)
    return PairSet(
        lang=lang,
        ids=tuple(growing.pairs),
        first=first,
        second=second,
        labels=np.array(labels, np.int64),
        rows=growing.rows,
        numbered=not layout.pair_id,
        skipped={reason: tuple(lines) for reason, lines in growing.skipped.items()},
    )


def _report(name: str, growing: _Growing) -> None:
    for reason, lines in growing.skipped.items():
        more = ", ..." if len(lines) > LINES_SHOWN else ""
        shown = ", ".join(map(str, lines[:LINES_SHOWN])) + more
        log.warning("%s: %d rows skipped, %s: lines %s", name, len(lines), reason, shown)


def _read_file(path: Path, task: Task, layout: Format, lang: str) -> dict[str, _Growing]:
    sets: dict[str, _Growing] = {}
    names = {code: name for name, code in task.languages.items()}
    columns = (*layout.columns, *filter(None, (layout.pair_id, layout.language)))
    rows = _rows(path, layout)
    header = next(rows, (1, []))[1] if layout.header else list(columns)
    if missing := [name for name in columns if name not in header]:
        raise PairsError(
            f"{path} has no column {', '.join(missing)}: got {', '.join(header) or 'nothing'}, "
            f"expected a first line with {', '.join(columns)}"
        )
    for line, values in rows:
        row = dict(zip(header, values, strict=False))
        code = row.get(layout.language, "") if layout.language else task.languages[lang]
        growing = sets.setdefault(names.get(code, ""), _Growing())
        growing.rows += 1
        if len(values) != len(header):
            reason = f"{len(values)} columns in place of {len(header)}"
        elif code not in names:
            reason = f"language {code!r} not of {task.name}"
        else:
            reason = _add(growing, task, layout, row)
        if reason:
            growing.skipped.setdefault(reason, []).append(line)
    _report(str(path), sets.pop("", _Growing()))  # rows of no language that is known
    return sets


def _add(growing: _Growing, task: Task, layout: Format, row: Mapping[str, str]) -> str:
    """Add a row to a set, or return why it cannot be used."""
    first, second = (normalize(row[name]) for name in layout.columns[:2])
    label = row[layout.columns[2]].strip()
    label = task.synonyms.get(label, label)
    pair_id = row[layout.pair_id].strip() if layout.pair_id else str(growing.rows)
    if not first or not second:
        return "a sentence is empty"
    if task.placeholder in (first, second):
        return f"a sentence is the placeholder {task.placeholder}"
    if label not in task.labels:
        return f"label {label!r} not of {', '.join(task.labels)}"
    if not pair_id or pair_id in growing.pairs:
        return "no id" if not pair_id else "an id that was there before"
    growing.pairs[pair_id] = (first, second, task.labels.index(label))
    return ""


def _rows(path: Path, layout: Format) -> Iterator[tuple[int, list[str]]]:
    """Yield each line's number, from 1, and its fields; blank lines are left out."""
    quoting = csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE
    try:
        # A lone carriage return ends no row; utf-8-sig drops a byte order mark.
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            reader = csv.reader(_lines(file), delimiter="\t", quoting=quoting)
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PairsError(f"cannot read {path}: {error}") from error


def _lines(file: Iterator[str]) -> Iterator[str]:
    for line in file:
        yield line.rstrip("\r\n").replace("\r", " ") + "\n"
