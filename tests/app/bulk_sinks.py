"""Sinks for the tests of bulk work: documents in memory, with what can go wrong."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from app.bulk.work import Written
from app.errors import StoreError
from app.retrieval.documents import Document
from app.retrieval.store import FieldType


class MemorySink:
    """Keeps documents as a store does: by id, the last one wins.

    Args:
        kept: Where they are kept; outlives the sink.
        fields: Declared fields.
        refuse: Says why a document is refused; empty: it is not.
        fail_after: Fails for good at the call after so many.
        slow_s: Sleeps up to so long in each call, so that calls end in another order.
    """

    def __init__(
        self,
        kept: dict[str, Document] | None = None,
        *,
        fields: Mapping[str, FieldType] | None = None,
        refuse: Callable[[Document], str] = lambda _: "",
        fail_after: int | None = None,
        slow_s: float = 0.0,
    ) -> None:
        self.kept = {} if kept is None else kept
        self.fields = fields or {}
        self.count = len(self.kept)
        self.calls = 0
        self.written: list[str] = []
        self.closed = False
        self._refuse = refuse
        self._fail_after = fail_after
        self._slow_s = slow_s
        self._lock = threading.Lock()
        self._random = random.Random(0)

    def write(self, documents: Sequence[Document]) -> Written:
        with self._lock:
            self.calls += 1
            if self._fail_after is not None and self.calls > self._fail_after:
                raise StoreError("The disk is full; make room.")
            wait = self._random.uniform(0, self._slow_s)
        time.sleep(wait)
        refused = {n: reason for n, d in enumerate(documents) if (reason := self._refuse(d))}
        with self._lock:
            for place, document in enumerate(documents):
                if place not in refused:
                    self.kept[document.doc_id] = document
                    self.written.append(document.doc_id)
        return Written(refused, sum(len(d.text) > 100 for d in documents))

    def close(self) -> None:
        self.closed = True
