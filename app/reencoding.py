"""Encoding one collection anew, page by page, into a hidden one that then takes its place.

Writes go on meanwhile, to the old collection alone, which is where they are durable. What they
changed is noted and looked at again: first while more is written, then, when little is left, for
the last time while writers wait. A crash forgets the notes, so what goes on after one compares all
documents of both collections.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

from app.binding import BoundEncoder, windows_of
from app.encoder.jobs import BULK
from app.errors import ConflictError, InferenceError, NotFoundError, NotReadyError
from app.guard import REINDEX, Changes, WriteGuard, exists
from app.hidden import hidden_name
from app.retrieval.documents import Document, Span
from app.retrieval.store import Options, VectorStore
from app.windows import TokenStarts, split_documents

PAGE = 256
MOST_PASSAGES = 8192
"""Passages that are encoded at a time: all are in memory at once."""
TRIES, WAIT_S = 6, 1.0
"""How often a page is tried while the encoder is out of order, and the first wait between."""

State = Literal["waiting", "running", "done", "failed", "cancelled", "interrupted"]


class Encodes(BoundEncoder, Protocol):
    """An encoder that fills a collection, blocking."""

    @property
    def token_starts(self) -> TokenStarts:
        """Where the tokens of normalized texts begin."""
        ...

    def encode(
        self, texts: Sequence[str], input_type: Literal["document"], *, priority: int = BULK
    ) -> Any:
        """Texts to vectors."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection is.

    Attributes:
        state: ``interrupted``: the service ends, and goes on with it when it starts again.
        done: Documents encoded.
        total: Documents there are.
        model: The encoder that the collection is to have.
        started: When it was asked for, in seconds since 1970.
        ended: When it ended; None before.
        error: Why it failed.
    """

    state: State
    done: int
    total: int
    model: str
    started: float
    ended: float | None = None
    error: str | None = None


class Reencoding:
    """The work on one collection.

    Args:
        store: Where the collection is.
        encoder: The encoder in service.
        name: The collection.
        options: What it is to have then.
        stopping: Tells that the process ends.

    Attributes:
        progress: How far it is.
        switched: Whether the new collection is in the place of the old one.
    """

    def __init__(
        self,
        store: VectorStore,
        encoder: Encodes,
        name: str,
        options: Options,
        stopping: threading.Event,
    ) -> None:
        self.name, self.options = name, options
        self._store, self._encoder, self._stopping = store, encoder, stopping
        total = store.describe(name).count
        self.progress = Progress("waiting", 0, total, encoder.model_id, time.time())
        self._deciding = threading.Lock()
        self.switched = False

    @property
    def is_open(self) -> bool:
        """Whether it waits or runs."""
        return self.progress.state in ("waiting", "running")

    def cancel(self) -> bool:
        """Let it end without effect; returns whether it was not too late for that."""
        with self._deciding:
            if not self.is_open or self.switched:
                return False
            self.end("cancelled")
            return True

    def end(self, state: State, error: str | None = None) -> None:
        """Note how it ended."""
        self.progress = replace(self.progress, state=state, error=error, ended=time.time())

    def run(self, guard: WriteGuard) -> None:
        """Fill the hidden collection and put it in the place of the old one.

        Args:
            guard: Tells what is written meanwhile, and holds writers up for the last moment.

        Raises:
            ServiceError: If it cannot be done; the collection is as it was.
        """
        if not self.is_open:
            return
        with guard.following(self.name) as changes:
            self._run(guard, changes)

    def _run(self, guard: WriteGuard, changes: Changes) -> None:
        store, encoder, hidden = self._store, self._encoder, hidden_name(REINDEX, self.name)
        self._note(state="running", total=store.describe(self.name).count)
        try:
            store.create(hidden, encoder.dim, encoder.model_id, self.options)
        except ConflictError:  # begun for another encoder
            store.drop(hidden)
            store.create(hidden, encoder.dim, encoder.model_id, self.options)
        try:
            if self._fill(hidden) and self._catch_up(hidden, changes):
                self._store.flush(hidden)  # which may build an index: not while writers wait
                if self._catch_up(hidden, changes):
                    with guard.paused(self.name):
                        self._redo(hidden, *changes.take())
                        self._switch(hidden)
        except NotFoundError:
            # Dropped by who cancelled it, maybe in another process.
            self.cancel()
        if self.progress.state == "cancelled" and exists(store, hidden):
            store.drop(hidden)  # made after who cancelled it looked

    def _fill(self, hidden: str) -> bool:
        """Encode all documents; returns whether none is left."""
        resumed = self._store.count(hidden) > 0
        after, done = None, 0
        while True:
            page = self._store.scan(self.name, after, PAGE)
            if self._stopping.is_set():
                self.end("interrupted")
            if not self.is_open:
                return False
            self._add(hidden, page.documents, skip=resumed)
            done += len(page.documents)
            self._note(done=done, total=max(done, self.progress.total))
            if (after := page.next) is None:
                break
        self._note(total=done)
        if resumed:
            self._sweep(hidden)
        return True

    def _catch_up(self, hidden: str, changes: Changes) -> bool:
        """Look again at what was written meanwhile, until little is left; False: it was ended."""
        while self.is_open:
            if changes.count <= PAGE and not changes.unnamed:
                return True
            doc_ids, unnamed = changes.take()
            # Writers wait if they are faster than this, so there is less to do each time
            changes.most = max(PAGE, len(doc_ids) // 2)
            self._redo(hidden, doc_ids, unnamed)
        return False

    def _redo(self, hidden: str, doc_ids: Sequence[str], unnamed: bool) -> None:
        """Bring documents to what they are now.

        Args:
            hidden: The hidden collection.
            doc_ids: The documents.
            unnamed: Whether others may have been deleted.
        """
        self._note(total=self.progress.total + len(doc_ids))
        for start in range(0, len(doc_ids), PAGE):
            if self._stopping.is_set():
                self.end("interrupted")
            if not self.is_open:
                return
            some = doc_ids[start : start + PAGE]
            documents = self._store.get(self.name, some)
            if gone := set(some) - {document.doc_id for document in documents}:
                self._store.delete(hidden, sorted(gone))
            self._add(hidden, documents, skip=True)
            self._note(done=self.progress.done + len(some))
        if unnamed:
            self._sweep(hidden)

    def _sweep(self, hidden: str) -> None:
        """Delete what is no longer in the old collection."""
        after: str | None = None
        while self.is_open and not self._stopping.is_set():
            page = self._store.scan(hidden, after, PAGE)
            names = [document.doc_id for document in page.documents]
            there = {document.doc_id for document in self._store.get(self.name, names)}
            if gone := set(names) - there:
                self._store.delete(hidden, sorted(gone))
            if (after := page.next) is None:
                return
        if self.is_open:
            self.end("interrupted")

    def _switch(self, hidden: str) -> None:
        with self._deciding:
            if not self.is_open:
                return
            encoded, there = self._store.count(hidden), self._store.count(self.name)
            if encoded != there:
                raise ConflictError(
                    f"{encoded} documents were encoded anew and {there} are there, so another "
                    "process wrote to the collection meanwhile; it is left as it was: try again."
                )
            self._store.replace(self.name, hidden)
            self.switched = True

    def _add(self, hidden: str, documents: Sequence[Document], *, skip: bool) -> None:
        if skip and documents:
            there = self._store.get(hidden, [document.doc_id for document in documents])
            known = {document.doc_id: document for document in there}
            documents = [
                document for document in documents if known.get(document.doc_id) != document
            ]
        if not documents:
            return
        texts = [document.text for document in documents]
        spans: list[list[Span]] = [[(0, len(text))] for text in texts]
        if windows := windows_of(self.options):
            spans = split_documents(texts, windows, self._encoder.token_starts)
        for first, last in _groups([len(some) for some in spans]):
            passages = [
                text[start:end]
                for text, some in zip(texts[first:last], spans[first:last], strict=True)
                for start, end in some
            ]
            vectors = self._encode(passages).vectors  # (passages, dim)
            self._store.upsert(hidden, documents[first:last], vectors, spans[first:last])

    def _encode(self, passages: list[str]) -> Any:
        for attempt in range(TRIES - 1):
            try:
                return self._encoder.encode(passages, "document", priority=BULK)
            except (InferenceError, NotReadyError):
                if self._stopping.wait(WAIT_S * 2**attempt):
                    raise
        return self._encoder.encode(passages, "document", priority=BULK)

    def _note(self, **changes: Any) -> None:
        with self._deciding:
            if self.is_open:
                self.progress = replace(self.progress, **changes)


def _groups(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Cut documents of so many passages into runs of about ``MOST_PASSAGES``."""
    first = size = 0
    for last, more in enumerate(sizes):
        if size and size + more > MOST_PASSAGES:
            yield first, last
            first, size = last, 0
        size += more
    yield first, len(sizes)
