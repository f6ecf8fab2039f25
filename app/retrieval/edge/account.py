"""The account of a collection: how many documents it must hold, and a sum over all of them.

It is written before each write of the engine, as it will be after it, beside the one before. So
whatever moment a crash comes at, the documents found must fit one of the two, all of them: damage
cannot lose, alter or bring back a document unseen. Cost: one more sync a write.
"""

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SLOT = struct.Struct("<QQQQ")
_SLOT_BYTES = 512
_SUM = 1 << 64


@dataclass(frozen=True, slots=True)
class Account:
    """What a collection holds.

    Attributes:
        documents: Their number.
        passages: Theirs.
        total: Sum of the documents' check sums, modulo 2**64.
    """

    documents: int = 0
    passages: int = 0
    total: int = 0

    def with_written(self, documents: Iterable[tuple[int, int]]) -> "Account":
        """Account for documents more, each by its number of passages and its check sum."""
        return self._changed(documents, 1)

    def with_removed(self, documents: Iterable[tuple[int, int]]) -> "Account":
        """Account for documents less, each by its number of passages and its check sum."""
        return self._changed(documents, -1)

    def _changed(self, documents: Iterable[tuple[int, int]], sign: int) -> "Account":
        count, passages, total = self.documents, self.passages, self.total
        for parts, check in documents:
            count, passages, total = count + sign, passages + sign * parts, total + sign * check
        return Account(count, passages, total % _SUM)


class AccountFile:
    """Two slots of a file, written in turn."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._number = 0
        self._descriptor = -1

    def settle(self, account: Account) -> None:
        """Make this the only account.

        Raises:
            OSError: If the disk fails.
        """
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        self.announce(account)
        self.announce(account)

    def announce(self, account: Account) -> None:
        """Tell what the account will be after the write that follows.

        Raises:
            OSError: If the disk fails.
        """
        number = self._number + 1
        data = _SLOT.pack(number, account.documents, account.passages, account.total)
        data += zlib.crc32(data).to_bytes(4, "little")
        os.pwrite(self._descriptor, data, number % 2 * _SLOT_BYTES)
        os.fdatasync(self._descriptor)
        self._number = number  # A slot that failed is the next to be written again

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_accounts(path: Path) -> list[Account]:
    """Read what may be the account after a crash: two, or one if a slot is damaged.

    Raises:
        ValueError: If no slot is sound.
        OSError: If there is no such file.
    """
    data = path.read_bytes()
    accounts: list[Account] = []
    for start in (0, _SLOT_BYTES):
        slot = data[start : start + _SLOT.size]
        check = data[start + _SLOT.size : start + _SLOT.size + 4]
        if len(check) == 4 and zlib.crc32(slot).to_bytes(4, "little") == check:
            accounts.append(Account(*_SLOT.unpack(slot)[1:]))
    if not accounts:
        raise ValueError(f"{path.name} is damaged")
    return accounts
