"""What the parts of an open collection share: the shard, its books, and who may pass when.

One thread writes at a time. Readers wait for nobody, except for the instant in which another shard
takes the place of this one.
"""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from app.errors import NotFoundError, NotReadyError, StoreError
from app.retrieval.edge import disk, layout
from app.retrieval.edge.account import Account, AccountFile
from app.retrieval.edge.gate import Gate
from app.retrieval.edge.layout import CollectionMeta
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.tally import Tally


class Books:
    """A shard's account and tally, in memory and on disk."""

    def __init__(self, directory: Path, shard: str, account: Account) -> None:
        self._directory = directory
        self._shard = shard
        self._file = AccountFile(layout.account_path(directory, shard))
        self.account = account
        self.tally: Tally | None = None
        """None: to be counted anew before it is read."""
        self._file.settle(account)
        with contextlib.suppress(OSError, ValueError):
            self.tally = Tally.load(layout.tally_path(directory, shard))

    def announce(self, account: Account) -> None:
        """Tell, durably, what the account will be after the write that follows."""
        self._file.announce(account)

    def settle(self, account: Account) -> None:
        """Make this the account, durably."""
        self._file.settle(account)
        self.account = account

    def copy(self, directory: Path) -> None:
        """Write the books into another directory."""
        other = Books(directory, self._shard, self.account)
        other.tally = self.tally
        other.close()

    def close(self) -> None:
        """Write the tally and let go of the files."""
        path = layout.tally_path(self._directory, self._shard)
        if self.tally is not None:
            self.tally.save(path)
        else:
            path.unlink(missing_ok=True)  # It is of another time
        self._file.settle(self.account)
        self._file.close()


class Held:
    """An open collection's state; see the module."""

    def __init__(
        self, directory: Path, meta: CollectionMeta, shard: Shard, books: Books, reserve_bytes: int
    ) -> None:
        self.directory = directory
        self.meta = meta
        self.shard: Shard | None = shard
        self.books = books
        self.writing = threading.Lock()
        self.gate = Gate()
        self.dropped = False
        self.touched: dict[str, int] | None = None
        """First ids of the documents written since a build began, with their most passages."""
        self.unflushed = 0
        self.superseded = 0
        """Passages replaced or deleted since the graph was built."""
        self.last_write = -float("inf")
        self.damage = ""
        """What is wrong with the files; nothing is read any more then."""
        self._reserve_bytes = reserve_bytes

    @contextlib.contextmanager
    def reading(self) -> Iterator[Shard]:
        """Pass together with other readers."""
        with self.gate.shared():
            yield self.require_open()

    def require_open(self) -> Shard:
        """Return the shard.

        Raises:
            NotFoundError: If the collection was dropped meanwhile.
            NotReadyError: If it was closed, or is damaged.
        """
        if self.damage and self.shard is not None:
            raise NotReadyError(
                f"The collection {self.meta.name} is unavailable: {self.damage}. Restore it from a "
                "snapshot, or drop and index it again."
            )
        if self.shard is None and self.dropped:
            raise NotFoundError(f"The collection {self.meta.name} was dropped meanwhile.")
        if self.shard is None:
            raise NotReadyError(f"The collection {self.meta.name} is closed; open the store again.")
        return self.shard

    def condemn(self, doc_id: object) -> NoReturn:
        """Let nobody read any more, for a document is damaged.

        Raises:
            StoreError: Always.
        """
        self.damage = f"the document {doc_id!r:.80} does not fit its check sum"
        raise StoreError(
            f"The collection {self.meta.name} is damaged: {self.damage}. Restore it from a "
            "snapshot, or drop and index it again."
        )

    def require_space(self, needed: int, *, urgent: bool = False) -> None:
        """Refuse to write on a nearly full disk; what frees space, ``urgent``, may use more of it.

        Raises:
            StoreError: If there is too little.
        """
        reserve = self._reserve_bytes // 4 if urgent else self._reserve_bytes
        disk.require_space(self.directory, needed, reserve)
