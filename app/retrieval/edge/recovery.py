"""What is done to a shard in a process of its own: recovery, migration, index building."""

import ctypes
import json
import os
import signal
import sys
from array import array
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from app.errors import StoreError
from app.retrieval.edge import layout
from app.retrieval.edge.account import Account, read_accounts
from app.retrieval.edge.format1 import entries_of
from app.retrieval.edge.shard import Row, Shard
from app.retrieval.edge.tally import Tally
from app.retrieval.edge.writer import BATCH, count_documents
from app.retrieval.payload import check_sum, document_number, parts_of, point_ids, to_rows

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def recover(directory: Path, shard_name: str) -> Account:
    """Replay a shard's log, check every document, and compare all of them with the account.

    Points that belong to no document are removed: they are of a write that a crash cut short.

    Raises:
        StoreError: If the engine fails, a document does not fit its check sum, or the documents are
            not those that were acknowledged.
        ValueError: If the account is damaged.
    """
    shard = Shard.load(directory / shard_name)
    account, orphans, words = Account(), list[str](), array("I")
    for number, rows in groupby(shard.scan(), lambda row: document_number(row.point_id)):
        whole, left = _checked(number, list(rows))
        orphans += [row.point_id for row in left]
        account = account.with_written([(len(whole), whole[0].payload["check"])])
        for row in whole:
            words.extend(row.words.indices)
    _require_acknowledged(directory, shard_name, account)
    for start in range(0, len(orphans), BATCH):
        shard.delete(orphans[start : start + BATCH])
    shard.flush()
    shard.close()
    Tally.of(np.frombuffer(words, np.uint32)).save(layout.tally_path(directory, shard_name))
    return account


def migrate(directory: Path, old_name: str, new_name: str, dim: int) -> Account:
    """Write the documents of a shard of format 1 to a new one of today's.

    Raises:
        StoreError: If the engine fails or a document does not fit its check sum.
    """
    old, new = Shard.load(directory / old_name), Shard.create(directory / new_name, dim)
    account, words = Account(), array("I")
    entries_left = entries_of(old.scan(vectors=("",)))
    while entries := list(islice(entries_left, BATCH)):
        rows = [row for entry in entries for row in to_rows(entry)]
        new.upsert(rows)
        account = account.with_written((1, row.payload["check"]) for row in rows)
        for row in rows:
            words.extend(row.words.indices)
    if not old.count() == new.count() == account.documents:
        raise StoreError(f"{new.count()} of {old.count()} documents were written")
    new.flush()
    new.close()
    Tally.of(np.frombuffer(words, np.uint32)).save(layout.tally_path(directory, new_name))
    return account


def optimize(directory: Path, shard_name: str, account: Account) -> Account:
    """Build a shard's index and see that it still holds what it must.

    Raises:
        StoreError: If the engine fails or loses a document.
    """
    shard = Shard.load(directory / shard_name)
    shard.optimize()
    shard.flush()
    found = count_documents(shard)
    shard.close()
    if found != account:
        raise StoreError(f"the index holds {found}, not {account}")
    return found


def _checked(number: int, rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Split a document's points in those that are its passages, checked, and those left over."""
    head = rows[0]
    doc_id, check = head.payload.get("doc_id"), head.payload.get("check")
    try:
        ids = point_ids(doc_id, parts_of(head.payload)) if isinstance(doc_id, str) else []
        whole = [row for row in rows if row.point_id in set(ids)]
        sound = (
            [row.point_id for row in whole] == ids
            and all(row.payload["check"] == check for row in whole)
            and check == check_sum((row.payload, row.vector, row.words) for row in whole)
        )
    except (TypeError, ValueError, KeyError, OverflowError):
        sound, whole = False, []
    if not sound or not whole or document_number(whole[0].point_id) != number:
        raise StoreError(f"the document {doc_id!r:.80} does not fit its check sum")
    return whole, rows[len(whole) :]


def _require_acknowledged(directory: Path, shard_name: str, found: Account) -> None:
    try:
        accounts = read_accounts(layout.account_path(directory, shard_name))
    except FileNotFoundError:
        return  # Someone took it away, to go on with what there is
    if found not in accounts:
        wanted = " or ".join(sorted({str(account.documents) for account in accounts}))
        raise StoreError(
            f"{found.documents} documents are there, but they are not the {wanted} that were "
            f"acknowledged; to go on with them remove {layout.account_path(directory, shard_name)}"
        )


def main(arguments: list[str]) -> int:
    """Run one action on one shard; print what it holds and return 0, or what is wrong and 1."""
    action, directory, shard, *rest = arguments
    if sys.platform == "linux":  # Elsewhere an orphan finishes a build that nobody adopts
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if action == "optimize":  # Nobody waits for it; a recovery holds up the start
        os.nice(10)
    try:
        match action:
            case "recover":
                account = recover(Path(directory), shard)
            case "migrate":
                account = migrate(Path(directory), shard, rest[0], int(rest[1]))
            case _:
                account = optimize(Path(directory), shard, Account(*map(int, rest)))
    except (StoreError, ValueError) as error:
        sys.stdout.write(json.dumps(str(error), ensure_ascii=False))
        return 1
    sys.stdout.write(json.dumps([account.documents, account.passages, account.total]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
