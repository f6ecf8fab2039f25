"""A store in memory that does what ``VectorStore`` says, in the plainest way: the judge."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import ConflictError, InvalidInputError, NotFoundError, NotReadyError
from app.retrieval.checks import (
    Entry,
    require_collection,
    require_entries,
    require_limit,
    require_offset,
    require_query,
    require_same,
)
from app.retrieval.documents import Document, Span
from app.retrieval.filters import Filter, matches, require_filter
from app.retrieval.lexical import document_weights, idf, query_weights
from app.retrieval.points import require_doc_id, require_name, require_top_k, unit_rows
from app.retrieval.store import Collection, Hit, Options, Page


@dataclass
class Made:
    dim: int
    model: str
    options: Options
    entries: dict[str, Entry] = field(default_factory=dict)


class ReferenceStore:
    """Methods are those of ``VectorStore``; nothing is durable but snapshots.

    Args:
        made: Collections to go on with, those of another store that was closed.
    """

    def __init__(self, made: dict[str, Made] | None = None) -> None:
        self.made: dict[str, Made] = {} if made is None else made
        self.closed = False

    def _find(self, name: str) -> Made:
        require_name(name)
        self._require_open()
        if name not in self.made:
            raise NotFoundError(f"There is no collection {name}; create it first.")
        return self.made[name]

    def _require_open(self) -> None:
        if self.closed:
            raise NotReadyError("The store is closed; open it again.")

    def create(self, name: str, dim: int, model: str, options: Options | None = None) -> Collection:
        asked = (dim, model, options or Options())
        require_collection(name, *asked)
        self._require_open()
        if name in self.made:
            return require_same(self.describe(name), *asked)
        self.made[name] = Made(*asked)
        return self.describe(name)

    def drop(self, name: str) -> None:
        self._find(name)
        del self.made[name]

    def collections(self) -> list[Collection]:
        self._require_open()
        return [_described(name, made) for name, made in sorted(self.made.items(), key=_first)]

    def describe(self, name: str) -> Collection:
        return _described(name, self._find(name))

    def languages(self, name: str) -> dict[str, int]:
        entries = _satisfying(self._find(name), None)
        return dict(Counter(entry.document.lang or "" for entry in entries).most_common())

    def size_bytes(self, name: str) -> int:
        return sum(entry.vectors.nbytes for entry in _satisfying(self._find(name), None))

    def unavailable(self) -> dict[str, str]:
        return {}

    def replace(self, name: str, by: str) -> Collection:
        self._find(name)
        self.made[name] = self._find(by)
        if by != name:
            del self.made[by]
        return self.describe(name)

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> int:
        entries = self._find(name).entries
        fresh = require_entries(self.describe(name), documents, vectors, spans)
        entries.update({entry.document.doc_id: entry for entry in fresh})
        return len(fresh)

    def delete(self, name: str, doc_ids: Sequence[str]) -> int:
        entries = self._find(name).entries
        for doc_id in doc_ids:
            require_doc_id(doc_id)
        return sum(entries.pop(doc_id, None) is not None for doc_id in doc_ids)

    def delete_where(self, name: str, where: Filter) -> int:
        found = _satisfying(self._find(name), where)
        return self.delete(name, [entry.document.doc_id for entry in found])

    def get(self, name: str, doc_ids: Sequence[str]) -> list[Document]:
        entries = self._find(name).entries
        return [entries[i].document for i in map(require_doc_id, doc_ids) if i in entries]

    def scan(
        self, name: str, after: str | None = None, limit: int = 1000, *, vectors: bool = False
    ) -> Page:
        made = self._find(name)
        require_limit(limit)
        entries = dict(made.entries)
        names = sorted(doc_id for doc_id in entries if after is None or doc_id > after)
        found = [entries[doc_id] for doc_id in names[:limit]]
        rows = [entry.vectors for entry in found] or [np.empty((0, made.dim), np.float32)]
        return Page(
            [entry.document for entry in found],
            [entry.spans for entry in found],
            np.concatenate(rows) if vectors else None,
            names[limit - 1] if len(names) > limit else None,
        )

    def count(self, name: str, where: Filter | None = None) -> int:
        return len(_satisfying(self._find(name), where))

    def search(
        self,
        name: str,
        vectors: NDArray[np.float32],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
        exact: bool = False,
    ) -> list[list[Hit]]:
        made = self._find(name)
        require_top_k(top_k)
        require_offset(offset)
        found = _satisfying(made, where)
        results = []
        for vector in unit_rows(vectors, made.dim):
            scored = []
            for entry in found:
                rows = entry.vectors.astype(np.float64)
                scores = (rows * vector).sum(axis=1)  # Each row alone, so that equal rows tie
                best = int(np.argmax(scores))
                scored.append((float(scores[best]), entry, best))
            results.append(_ranked(scored, top_k, offset))
        return results

    def match(
        self,
        name: str,
        queries: Sequence[str],
        top_k: int,
        where: Filter | None = None,
        *,
        offset: int = 0,
    ) -> list[list[Hit]]:
        made = self._find(name)
        require_top_k(top_k)
        require_offset(offset)
        weights = {
            entry.document.doc_id: [
                dict(zip(sparse.indices, sparse.values, strict=True))
                for sparse in map(document_weights, _passages(entry))
            ]
            for entry in _satisfying(made, None)
        }
        found = [e for e in _satisfying(made, where) if e.document.doc_id in weights]
        passages = [passage for several in weights.values() for passage in several]
        having = Counter(token for passage in passages for token in passage)
        results = []
        for query in queries:
            asked = query_weights(require_query(query))
            scored = []
            for entry in found:
                scores = [
                    math.fsum(
                        times * idf(len(passages), having[token]) * passage.get(token, 0.0)
                        for token, times in zip(asked.indices, asked.values, strict=True)
                    )
                    for passage in weights[entry.document.doc_id]
                ]
                best = int(np.argmax(scores))
                if scores[best] > 0:
                    scored.append((scores[best], entry, best))
            results.append(_ranked(scored, top_k, offset))
        return results

    def flush(self, name: str) -> None:
        self._find(name)

    def snapshot(self, name: str, target: Path) -> Path:
        made, path = self._find(name), target / name
        if path.exists():
            raise ConflictError(f"{path} exists; name another directory.")
        path.mkdir(parents=True)
        entries = [
            [asdict(entry.document), entry.spans, entry.vectors.tolist()]
            for entry in _satisfying(made, None)
        ]
        content = {"dim": made.dim, "model": made.model, "options": asdict(made.options)}
        text = json.dumps(content | {"entries": entries})
        digest = hashlib.sha256(text.encode()).hexdigest()
        (path / "all.json").write_text(digest + text)
        return path

    def restore(self, name: str, source: Path) -> Collection:
        require_name(name)
        self._require_open()
        if name in self.made:
            raise ConflictError(f"{name} exists; drop it first.")
        try:
            text = (source / "all.json").read_text()
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"There is no snapshot at {source}: {error}.") from error
        if hashlib.sha256(text[64:].encode()).hexdigest() != text[:64]:
            raise InvalidInputError(f"The snapshot at {source} was changed.")
        content = json.loads(text[64:])
        made = Made(content["dim"], content["model"], Options(**content["options"]))
        for document, spans, rows in content["entries"]:
            entry = Entry(
                Document(**document), [(a, b) for a, b in spans], np.asarray(rows, np.float32)
            )
            made.entries[entry.document.doc_id] = entry
        self.made[name] = made
        return self.describe(name)

    def close(self) -> None:
        self.closed = True


def _first(named: tuple[str, Made]) -> str:
    return named[0]


def _described(name: str, made: Made) -> Collection:
    return Collection(name, made.dim, made.model, len(made.entries), made.options)


def _satisfying(made: Made, where: Filter | None) -> list[Entry]:
    """A list of its own, since others may write meanwhile."""
    if where is not None:
        require_filter(where)
    entries = list(made.entries.values())
    return [entry for entry in entries if where is None or matches(where, entry.document)]


def _ranked(scored: list[tuple[float, Entry, int]], top_k: int, offset: int) -> list[Hit]:
    scored.sort(key=lambda one: (-one[0], one[1].document.doc_id))
    return [
        Hit(rank, score, entry.document, entry.spans[best] if len(entry.spans) > 1 else None)
        for rank, (score, entry, best) in enumerate(scored, 1)
    ][offset : offset + top_k]


def _passages(entry: Entry) -> list[str]:
    return [entry.document.text[start:end] for start, end in entry.spans]
