"""The check of all documents after a crash, some at a time, while the collection serves.

The opening has compared the documents' sums and vectors with the account; here each is read as a
whole and compared with its sums. It takes about 50 us a document, too long to wait for. Until it is
done, and ever after, a document is checked when it is read.
"""

import time
from dataclasses import replace

from app.retrieval.conditions import FURTHER_PASSAGE
from app.retrieval.edge import layout
from app.retrieval.edge.held import Held
from app.retrieval.edge.rows import Row
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.writer import count_words
from app.retrieval.payload import WORDS, check_sum, is_as_written, parts_of, point_ids

_VECTORS = ("", WORDS)
_PAGE = 100
_STEP_S = 0.5
_REST = 4
"""How many times as long as it worked it rests: each read keeps others from Python's lock."""


class Scrub:
    """The checking of an open collection; one thread calls ``step`` again and again."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._start: str | None = None

    def step(self) -> bool:
        """Check for about half a second; at the end of all documents note that it is done.

        Returns:
            Whether more is to be done.

        Raises:
            StoreError: If a document is damaged; the collection is unavailable then.
        """
        held, begun = self._held, time.monotonic()
        if held.books.tally is None:
            with held.writing:
                shard = held.require_open()
                if held.books.tally is None:
                    held.books.tally = count_words(shard)
        while held.meta.unchecked and not held.damage and time.monotonic() - begun < _STEP_S:
            before = time.monotonic()
            self._check_page()
            time.sleep(_REST * (time.monotonic() - before))
        return held.meta.unchecked and not held.damage

    def _check_page(self) -> None:
        held = self._held
        with held.reading() as shard:
            heads, following = shard.page(
                self._start, _PAGE, without=[FURTHER_PASSAGE], vectors=_VECTORS
            )
            odd = [head.point_id for head in heads if not _is_sound(shard, head)]
        for name in odd:
            self._look_again(name)
        self._start = following
        if following is None:
            with held.writing:
                held.require_open()
                meta = replace(held.meta, unchecked=False)
                layout.write_meta(held.directory, meta)
                held.meta = meta

    def _look_again(self, name: str) -> None:
        """A write may have come between two passages; without one it is damage."""
        held = self._held
        with held.writing:
            shard = held.require_open()
            for head in shard.rows([name], vectors=_VECTORS):
                if not _is_sound(shard, head):
                    held.condemn(head.payload.get("doc_id"))


def _is_sound(shard: Shard, head: Row) -> bool:
    try:
        if not is_as_written(head.payload):
            return False
        ids = point_ids(head.payload["doc_id"], parts_of(head.payload))
        rows = [head, *shard.rows(ids[1:], vectors=_VECTORS)] if len(ids) > 1 else [head]
        rows.sort(key=lambda row: row.point_id)
        return (
            [row.point_id for row in rows] == ids
            and all(is_as_written(row.payload) for row in rows)
            and {row.payload["check"] for row in rows}
            == {check_sum((row.payload["sum"], row.vector, row.words) for row in rows)}
        )
    except (KeyError, TypeError, ValueError, OverflowError):
        return False
