"""One Parquet file -> its distinct texts and its pairs as indices; bad rows are counted by reason.

A row that cannot be used is left out and counted, so that a run can say what it did not learn from.
A file that cannot be read at all, or has not one usable row, is an error.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.text.normalize import normalize
from app.text.script import SCRIPTS, parse_lang
from training.registry import Corpus, CorpusError

SIDES = ("lang_a", "lang_b", "text_a", "text_b")
# What is the pivot elsewhere is the document here: texts beside one document say the same.
OWN_SIDES = ("lang_document", "lang_query", "document", "query")
NEGATIVES = "negatives"

Indices = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Part:
    """One file: its distinct texts and languages, and its usable pairs as indices into them.

    Attributes:
        texts: The distinct normalized texts.
        langs: The distinct language codes.
        text_a: Pivot or document of each pair, shape (pairs,).
        text_b: Translation or query of each pair, shape (pairs,).
        lang_a: Language of ``text_a``, shape (pairs,).
        lang_b: Language of ``text_b``, shape (pairs,).
        negatives: Hard negatives, those of a pair after those of the pair before, shape (n,).
        negative_counts: How many of them each pair has, shape (pairs,).
        skipped: Why rows or negatives were left out -> how many.
    """

    texts: pa.LargeStringArray
    langs: pa.LargeStringArray
    text_a: Indices
    text_b: Indices
    lang_a: Indices
    lang_b: Indices
    negatives: Indices
    negative_counts: Indices
    skipped: Mapping[str, int]


def read_part(folder: Path, corpus: Corpus, languages: Sequence[str] = ()) -> Part:
    """Read a corpus.

    Args:
        folder: The data folder, which holds ``bitext/``; own files have paths of their own.
        corpus: What to read.
        languages: Keep only pairs with both languages among these, without counting the others as
            skipped; empty: all.

    Raises:
        CorpusError: If the file is missing or unreadable, lacks a column, has one of another type,
            or no row of it can be used.
    """
    bitext = folder / "bitext" / f"{corpus.name}.parquet"
    path = Path(corpus.path).expanduser() if corpus.own else bitext
    sides, skipped = (OWN_SIDES if corpus.own else SIDES), _Skipped()
    table = _read_table(path, sides, (NEGATIVES,) if corpus.own else ())
    rows = table.num_rows
    table = skipped.filter(
        table, _all(pc.call_function("is_valid", [table[name]]) for name in sides), "null"
    )
    if corpus.own:  # the registry's codes were looked at; some are of two letters, and stay
        good = [code for name in sides[:2] for code in _langs(table[name]) if _is_lang(code)]
        table = skipped.filter(table, _among(table, sides[:2], good), "language code")
    if languages:
        table = table.filter(_among(table, sides[:2], languages))
    part = _to_part(table, sides, skipped)
    if not len(part.text_a) and (not languages or sum(skipped.counts.values()) == rows):
        reasons = ", ".join(f"{count} {reason}" for reason, count in skipped.counts.items())
        raise CorpusError(
            f"none of the {rows} rows of {path} can be used ({reasons or 'it is empty'}): expected "
            f"{', '.join(sides)} to be filled, two different texts, and codes such as 'yor_Latn'"
        )
    return part


def iterate_texts(texts: pa.LargeStringArray, chunk: int = 10_000) -> Iterator[str]:
    """Yield the texts as strings, a few thousand in memory at a time."""
    for start in range(0, len(texts), chunk):
        yield from texts.slice(start, chunk).to_pylist()


def merge(arrays: Sequence[pa.LargeStringArray]) -> tuple[pa.LargeStringArray, list[Indices]]:
    """Return the distinct values of all arrays and each array as indices into them."""
    chunked = pa.chunked_array(arrays, pa.large_string())
    encoded = chunked.combine_chunks().dictionary_encode()
    ends = np.cumsum([len(array) for array in arrays])
    indices = encoded.indices.to_numpy().astype(np.int32, copy=False)
    return encoded.dictionary, np.split(indices, ends[:-1])


@dataclass(slots=True)
class _Skipped:
    counts: dict[str, int] = field(default_factory=dict)

    def note(self, reason: str, count: int) -> None:
        if count:
            self.counts[reason] = self.counts.get(reason, 0) + int(count)

    def filter(self, table: pa.Table, keep: pa.ChunkedArray, reason: str) -> pa.Table:
        kept = pc.call_function("sum", [keep]).as_py() or 0
        self.note(reason, table.num_rows - kept)
        return table if kept == table.num_rows else table.filter(keep)


def _read_table(path: Path, columns: Sequence[str], optional: Sequence[str]) -> pa.Table:
    try:
        schema = pq.read_schema(path)
        if missing := sorted(set(columns) - set(schema.names)):
            raise CorpusError(
                f"{path} lacks {', '.join(missing)}: expected the columns {', '.join(columns)}"
            )
        wanted = [*columns, *(name for name in optional if name in schema.names)]
        for name in wanted:
            _check_type(path, name, schema.field(name).type, lists=name in optional)
        # Read as dictionaries, so that a pivot text beside many translations is held once.
        table = pq.read_table(path, columns=wanted, read_dictionary=list(columns))
        table.validate(full=True)  # texts that are no UTF-8
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read the corpus {path}: {error}") from error
    return table


def _check_type(path: Path, name: str, kind: pa.DataType, *, lists: bool) -> None:
    types = pa.types
    wraps = (types.is_list, types.is_large_list) if lists else (types.is_dictionary,)
    wrapped = any(wrap(kind) for wrap in wraps)
    value = kind.value_type if wrapped else kind
    if (lists and not wrapped) or not (types.is_string(value) or types.is_large_string(value)):
        wanted = "lists of strings" if lists else "strings"
        raise CorpusError(f"{path}: got {kind} in the column {name}: expected {wanted}")


def _to_part(table: pa.Table, sides: Sequence[str], skipped: _Skipped) -> Part:
    """Normalize the texts, leave out pairs without two different ones, and index the rest."""
    lists = _lists(table)
    langs, (lang_a, lang_b) = _index_columns(*[table[name] for name in sides[:2]])
    raw, indices = _index_columns(*[table[name] for name in sides[2:]], lists.values)
    normalized = pa.array(map(normalize, iterate_texts(raw)), pa.large_string())
    texts, (into,) = merge([normalized])  # two texts that became one get one index
    text_a, text_b, negatives = (into[index] for index in indices)

    filled = pc.call_function("utf8_length", [texts]).to_numpy() > 0  # (texts,)
    empty = ~(filled[text_a] & filled[text_b])  # (rows,)
    keep = ~empty & (text_a != text_b)
    skipped.note("empty", empty.sum())
    skipped.note("identical sides", (~empty & ~keep).sum())
    counts = np.diff(lists.offsets.to_numpy())  # (rows,)
    row = np.repeat(np.arange(len(counts)), counts)  # (negatives,)
    useful = filled[negatives] & (negatives != text_a[row]) & (negatives != text_b[row])
    skipped.note("negative empty or of the pair itself", (~useful & keep[row]).sum())
    useful &= keep[row]
    return Part(
        texts=texts,
        langs=langs,
        text_a=text_a[keep],
        text_b=text_b[keep],
        lang_a=lang_a[keep],
        lang_b=lang_b[keep],
        negatives=negatives[useful],
        negative_counts=np.bincount(row[useful], minlength=len(keep))[keep].astype(np.int32),
        skipped=dict(skipped.counts),
    )


def _lists(table: pa.Table) -> pa.LargeListArray:
    """Return the hard negatives of each row; a null list is an empty one, and so is a null text."""
    kind = pa.large_list(pa.large_string())
    if NEGATIVES not in table.column_names:
        return pa.LargeListArray.from_arrays(
            pa.array(np.zeros(table.num_rows + 1, np.int64)), pa.array([], pa.large_string())
        )
    column = table[NEGATIVES].cast(kind).combine_chunks()
    counts = pc.call_function("list_value_length", [column]).fill_null(0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), column.flatten().fill_null(""))


def _index_columns(
    *columns: pa.ChunkedArray | pa.Array,
) -> tuple[pa.LargeStringArray, list[Indices]]:
    """Return the distinct values of some columns and each column as indices into them."""
    values, indices = [], []
    for column in columns:
        encoded = _dictionary(column)
        # A filtered table keeps its whole dictionary: take the values that are still used.
        used, index = np.unique(encoded.indices.to_numpy(), return_inverse=True)
        values.append(encoded.dictionary.cast(pa.large_string()).take(pa.array(used)))
        indices.append(index)
    merged, into = merge(values)
    return merged, [part[index] for part, index in zip(into, indices, strict=True)]


def _dictionary(column: pa.ChunkedArray | pa.Array) -> pa.DictionaryArray:
    if isinstance(column, pa.Array):
        return column.dictionary_encode()
    return column.unify_dictionaries().combine_chunks()


def _langs(column: pa.ChunkedArray) -> list[str]:
    return column.unique().to_pylist()


def _is_lang(code: str) -> bool:
    try:
        return parse_lang(code).scripts <= set(SCRIPTS)
    except InvalidInputError:
        return False


def _among(table: pa.Table, names: Sequence[str], values: Sequence[str]) -> pa.ChunkedArray:
    """Mark the rows whose values in all these columns are among the given ones."""
    options = pc.SetLookupOptions(pa.array(values, pa.string()))
    return _all(pc.call_function("is_in", [table[name]], options) for name in names)


def _all(columns: Iterator[pa.ChunkedArray]) -> pa.ChunkedArray:
    return reduce(lambda left, right: pc.call_function("and", [left, right]), columns)
