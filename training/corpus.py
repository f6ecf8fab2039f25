"""Parquet bitext -> pairs with languages, held as Arrow texts and integer rows.

A text that stands in many pairs (an English verse beside forty translations) is kept once; a pair
is five small integers. Two million pairs take some 300 MB this way, and drawing a batch of them is
array arithmetic. What it trades away: all texts are in memory, so a corpus of gigabytes does not
fit.

The registry says under which licence each file stands and whether weights learned from it may be
shipped. Files under ``eval/`` are not in it, so they cannot be trained on by name.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from app.text.normalize import normalize

DEFAULT_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


class CorpusError(ValueError):
    """The corpora cannot be used; the message says which, why, and what to do, in one line."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """A file of bitext and the terms it stands under.

    Attributes:
        name: Of the file, without its suffix.
        licence: As its source states it.
        shippable: Whether weights learned from it may enter a shipped artifact.
        document_order: Whether neighboring rows of one language are neighboring sentences.
        n_way: Whether texts beside one pivot text translate each other, so that pairs need not
            have the pivot as one side.
    """

    name: str
    licence: str
    shippable: bool
    document_order: bool = False
    n_way: bool = False


CORPORA: Mapping[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus("nllb-seed", "CC BY-SA 4.0", shippable=True, document_order=True, n_way=True),
        Corpus("ntrex128", "CC BY-SA 4.0", shippable=True, document_order=True, n_way=True),
        Corpus("bible-nt", "public domain / CC0", shippable=True, document_order=True, n_way=True),
        Corpus("indian-parallel", "CC BY-SA 3.0", shippable=True),
        Corpus("indian-parallel-dict", "CC BY-SA 3.0", shippable=True),
        Corpus("nusax", "CC BY-SA 4.0", shippable=True, n_way=True),
        Corpus("nusa-writes", "as stated by IndoNLP", shippable=True),
        Corpus("gnome-user-docs", "CC BY-SA 3.0", shippable=True),
        Corpus("python-docs", "PSF / CC0", shippable=True),
        Corpus("scratch-l10n", "BSD 3-clause", shippable=True),
        Corpus("wikipedia-app", "Apache 2.0", shippable=True),
        Corpus("osm-id-schema", "ISC", shippable=True),
        Corpus("lafand-mt", "CC BY-NC 4.0", shippable=False),
        Corpus("menyo20k", "CC BY-NC 4.0", shippable=False),
        Corpus("multi30k", "research use", shippable=False),
        Corpus("americasnlp2021", "as stated by each source", shippable=False),
    )
}


@dataclass(frozen=True, slots=True)
class Bitext:
    """Pairs of texts as integers; all arrays of pairs have shape (pairs,).

    Attributes:
        texts: The distinct normalized texts.
        langs: Language codes that ``lang_a`` and ``lang_b`` point into.
        corpora: What ``corpus`` points into.
        text_a: Index into ``texts`` of the pivot side (mostly English).
        text_b: Index into ``texts`` of its translation.
        lang_a: Index into ``langs``.
        lang_b: Index into ``langs``.
        corpus: Index into ``corpora``. Rows keep the order of their file.
    """

    texts: pa.LargeStringArray
    langs: tuple[str, ...]
    corpora: tuple[Corpus, ...]
    text_a: NDArray[np.int32]
    text_b: NDArray[np.int32]
    lang_a: NDArray[np.int16]
    lang_b: NDArray[np.int16]
    corpus: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.text_a)


def data_folder() -> Path:
    """Return the folder of the corpora, from ``TYNTEGRA_DATA`` or beside the project.

    Raises:
        CorpusError: If there is no such folder.
    """
    folder = Path(os.environ.get("TYNTEGRA_DATA") or DEFAULT_DATA)
    if not (folder / "bitext").is_dir():
        raise CorpusError(
            f"no corpora at {folder} (expected {folder / 'bitext'}): set TYNTEGRA_DATA to their "
            "folder"
        )
    return folder


def select_corpora(names: Sequence[str], *, shippable: bool) -> tuple[Corpus, ...]:
    """Look corpora up in the registry.

    Args:
        names: Of the corpora.
        shippable: Refuse those that may not enter a shipped artifact.

    Raises:
        CorpusError: If one is unknown or, with ``shippable``, not shippable.
    """
    if unknown := sorted(set(names) - set(CORPORA)):
        raise CorpusError(f"unknown corpora {', '.join(unknown)}: expected of {', '.join(CORPORA)}")
    corpora = tuple(CORPORA[name] for name in names)
    if shippable and (refused := [c for c in corpora if not c.shippable]):
        stated = ", ".join(f"{corpus.name} ({corpus.licence})" for corpus in refused)
        raise CorpusError(
            f"got {stated} in a shippable run: expected only corpora whose licence lets the "
            "weights be shipped; drop them or set corpora.shippable = false"
        )
    return corpora


def load_bitext(folder: Path, corpora: Sequence[Corpus], languages: Sequence[str] = ()) -> Bitext:
    """Read corpora into one table of pairs.

    Args:
        folder: The data folder, which holds ``bitext/``.
        corpora: What to read.
        languages: Keep only pairs with both languages among these; empty: all.

    Raises:
        CorpusError: If a file is missing or unreadable, or no pair is left.
    """
    parts = [_read_pairs(folder, corpus, languages) for corpus in corpora]
    if not sum(len(part.text_a) for part in parts):
        raise CorpusError(f"no pairs of the languages {', '.join(languages)} in these corpora")
    texts, into_texts = _index([part.texts for part in parts])
    langs, into_langs = _index([part.langs for part in parts])

    def joined(column: str, into: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        return np.concatenate([m[getattr(p, column)] for m, p in zip(into, parts, strict=True)])

    text_a, text_b = joined("text_a", into_texts), joined("text_b", into_texts)
    filled = pc.call_function("utf8_length", [texts]).to_numpy() > 0  # (texts,)
    keep = (text_a != text_b) & filled[text_a] & filled[text_b]  # (pairs,)
    sizes = [len(part.text_a) for part in parts]
    return Bitext(
        texts=texts,
        langs=tuple(langs.to_pylist()),
        corpora=tuple(corpora),
        text_a=text_a[keep],
        text_b=text_b[keep],
        lang_a=joined("lang_a", into_langs)[keep].astype(np.int16),
        lang_b=joined("lang_b", into_langs)[keep].astype(np.int16),
        corpus=np.repeat(np.arange(len(corpora), dtype=np.int8), sizes)[keep],
    )


def texts_by_language(bitext: Bitext) -> dict[str, NDArray[np.int32]]:
    """Return, for each language, the indices of its distinct texts in order of appearance."""
    texts = np.concatenate([bitext.text_a, bitext.text_b])
    langs = np.concatenate([bitext.lang_a, bitext.lang_b])
    found: dict[str, NDArray[np.int32]] = {}
    for index, lang in enumerate(bitext.langs):
        own = texts[langs == index]
        _, first = np.unique(own, return_index=True)
        found[lang] = own[np.sort(first)]
    return found


def iterate_texts(texts: pa.LargeStringArray, chunk: int = 10_000) -> Iterator[str]:
    """Yield the texts as strings, a few thousand in memory at a time."""
    for start in range(0, len(texts), chunk):
        yield from texts.slice(start, chunk).to_pylist()


@dataclass(frozen=True, slots=True)
class _Part:
    """One file: its distinct texts and languages, and its pairs as indices into them."""

    texts: pa.LargeStringArray
    langs: pa.LargeStringArray
    text_a: NDArray[np.int32]
    text_b: NDArray[np.int32]
    lang_a: NDArray[np.int32]
    lang_b: NDArray[np.int32]


def _read_pairs(folder: Path, corpus: Corpus, languages: Sequence[str]) -> _Part:
    path = folder / "bitext" / f"{corpus.name}.parquet"
    columns = ["lang_a", "lang_b", "text_a", "text_b"]
    try:
        # Read as dictionaries, so that a pivot text beside many translations is held once.
        table = pq.read_table(path, columns=columns, read_dictionary=columns)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"cannot read the corpus {path}: {error}") from error
    if missing := sorted(set(columns) - set(table.column_names)):
        raise CorpusError(f"{path} lacks {', '.join(missing)}: expected the columns {columns}")
    if languages:
        wanted = pa.array(languages, pa.string())
        field = pc.field
        table = table.filter(field("lang_a").isin(wanted) & field("lang_b").isin(wanted))
    langs, (lang_a, lang_b) = _index_columns(table, "lang_a", "lang_b")
    texts, (text_a, text_b) = _index_columns(table, "text_a", "text_b")
    normalized = pa.array(map(normalize, iterate_texts(texts)), pa.large_string())
    merged, (into,) = _index([normalized])  # two texts that became one get one index
    return _Part(merged, langs, into[text_a], into[text_b], lang_a, lang_b)


def _index_columns(
    table: pa.Table, *names: str
) -> tuple[pa.LargeStringArray, list[NDArray[np.int32]]]:
    """Return the distinct values of some columns and each column as indices into them."""
    values, indices = [], []
    for name in names:
        column = table[name].unify_dictionaries().combine_chunks()
        # A filtered table keeps its whole dictionary: take the values that are still used.
        used, index = np.unique(column.indices.to_numpy(), return_inverse=True)
        values.append(column.dictionary.cast(pa.large_string()).take(pa.array(used)))
        indices.append(index)
    merged, into = _index(values)
    return merged, [part[index] for part, index in zip(into, indices, strict=True)]


def _index(
    arrays: Sequence[pa.LargeStringArray],
) -> tuple[pa.LargeStringArray, list[NDArray[np.int32]]]:
    """Return the distinct values of all arrays and each array as indices into them."""
    chunked = pa.chunked_array(arrays, pa.large_string())
    encoded = chunked.combine_chunks().dictionary_encode()
    ends = np.cumsum([len(array) for array in arrays])
    indices = encoded.indices.to_numpy().astype(np.int32, copy=False)
    return encoded.dictionary, np.split(indices, ends[:-1])
