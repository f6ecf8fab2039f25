"""What is done to a shard in a process of its own: recovery, migration, index building."""

import ctypes
import json
import math
import os
import signal
import sys
from array import array
from itertools import groupby, islice
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np

from app.errors import StoreError
from app.retrieval.edge import layout
from app.retrieval.edge.account import Account, read_accounts
from app.retrieval.edge.format1 import entries_of
from app.retrieval.edge.shard import Shard
from app.retrieval.edge.tally import Tally
from app.retrieval.edge.writer import BATCH, count_documents
from app.retrieval.payload import is_probe, parts_of, probe_signs, rows_of
from app.retrieval.store import MAX_SPANS

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def recover(directory: Path, shard_name: str) -> Account:
    """Replay a shard's log, and compare all its documents with the account.

    Of each document the vectors and the sum that stands in it are looked at; what the sum is of is
    compared with it when the document is read (reader.py), and for all of them afterwards
    (scrub.py). Points that belong to no document are removed: they are of a write that a crash cut
    short.

    Raises:
        StoreError: If the engine fails, a vector was changed, or the documents are not those that
            were acknowledged.
        ValueError: If the account is damaged.
    """
    dim = layout.read_meta(directory).dim
    shard = Shard.load(directory / shard_name)
    products = shard.products(probe_signs(dim))
    account, orphans = Account(), list[int]()
    points = shard.numbered(("check", "parts", "part", "probe"))
    for _, some in groupby(points, lambda point: point[0] // MAX_SPANS):
        point = list(some)
        parts = _sound_parts(point)
        if not all(
            is_probe(products.get(number, math.nan), payload["probe"], dim)
            for number, payload in point[:parts]
        ):
            raise StoreError("a vector is not as it was written")
        orphans += [number for number, _ in point[parts:]]
        account = account.with_written([(parts, point[0][1]["check"])])
    _require_acknowledged(directory, shard_name, account)
    ids = [str(UUID(int=number)) for number in orphans]
    for start in range(0, len(ids), BATCH):
        shard.delete(ids[start : start + BATCH])
    shard.flush()
    shard.close()
    layout.tally_path(directory, shard_name).unlink(missing_ok=True)  # It is of another time
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
        rows = [row for one in rows_of(entries) for row in one]
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


def _sound_parts(points: list[tuple[int, dict[str, Any]]]) -> int:
    """Count those of a document's points that are its passages; the others follow them."""
    first, head = points[0]
    parts, check = parts_of(head), head.get("check")
    own = points[:parts]
    sound = isinstance(check, int) and first % MAX_SPANS == 0 and len(own) == parts
    for place, (number, payload) in enumerate(own):
        sound = sound and number == first + place and payload.get("check") == check
        sound = sound and isinstance(payload.get("probe"), int)
        sound = sound and payload.get("part", 0) == place
    if not sound:
        raise StoreError("a document lacks passages, or has some of another time")
    return parts


def _require_acknowledged(directory: Path, shard_name: str, found: Account) -> None:
    try:
        accounts = read_accounts(layout.account_path(directory, shard_name))
    except FileNotFoundError:
        return  # Someone took it away, to go on with what there is
    if found not in accounts:
        wanted = " or ".join(sorted({str(account.documents) for account in accounts}))
        raise StoreError(
            f"{found.documents} documents are there, but they are not those that were acknowledged "
            f"({wanted}); to go on with them remove {layout.account_path(directory, shard_name)}"
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
