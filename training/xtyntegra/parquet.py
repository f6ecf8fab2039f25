"""Parquet files of the data folder, with errors that say what is missing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from training.registry import CorpusError


def read_texts(path: Path, columns: Sequence[str] | None = None) -> dict[str, list[str]]:
    """Read columns of texts.

    Args:
        path: The file.
        columns: Their names; None: all there are.

    Raises:
        CorpusError: If the file cannot be read, lacks a column, or has an empty cell.
    """
    try:
        there = pq.read_schema(path).names
        if missing := [name for name in columns or () if name not in there]:
            raise CorpusError(
                f"{path}: no column {', '.join(missing)}; expected it beside {', '.join(there[:5])}"
            )
        table = pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error
    texts = {name: _list_of(table[name]) for name in table.column_names}
    for name, values in texts.items():
        row = next((i for i, text in enumerate(values) if not text or not text.strip()), None)
        if row is not None:
            raise CorpusError(f"{path}: column {name}, row {row}: got an empty text")
    return texts


def column_names(path: Path) -> list[str]:
    """List the columns of a file.

    Raises:
        CorpusError: If the file cannot be read.
    """
    try:
        return list(pq.read_schema(path).names)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read {path}: {error}") from error


def _list_of(column: pa.ChunkedArray) -> list[str]:
    """Make a list in which equal texts of a dictionary column are one object."""
    if not pa.types.is_dictionary(column.type):
        return column.to_pylist()
    found: list[Any] = []
    for chunk in column.unify_dictionaries().chunks:
        values = chunk.dictionary.to_pylist()
        found += [None if row is None else values[row] for row in chunk.indices.to_pylist()]
    return found
