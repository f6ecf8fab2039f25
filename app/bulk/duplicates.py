"""Rows of one id: the last one is kept, in order of files and rows, however the job went.

Parts are written side by side, and after an interruption in another order, so that of two rows with
one id either may have been written last. When all parts are done, the ledger knows all ids by their
hashes; where two are the same, the later row is written once more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from app.bulk.ledger import Ledger
from app.bulk.parts import Part, Source
from app.bulk.work import Outcome, Task
from app.errors import ServiceError

Place = tuple[int, int]
"""A row: its file's number, and its own."""


def settle(
    ledger: Ledger,
    files: Mapping[int, Source],
    run: Callable[[Iterable[Task]], Iterator[Outcome]],
) -> None:
    """Write the later of two rows with one id again, and note the earlier as replaced.

    Args:
        ledger: Of a job whose parts are all done.
        files: The files of this run; others are left as they are.
        run: Does tasks.

    Raises:
        ServiceError: If they cannot be done.
    """
    settled = ledger.settled()
    replaced = {
        loser: winner
        for loser, winner in _replaced(ledger)
        if settled.get(loser) != winner and winner[0] in files
    }
    if not replaced:
        return
    doc_ids: dict[Place, str] = {}
    for outcome in run(_tasks(ledger, files, set(replaced.values()))):
        if outcome.refused:
            raise ServiceError(
                f"Row {outcome.refused[0].row} of {outcome.task.source.path} was written, and is "
                f"refused now: {outcome.refused[0].reason}."
            )
        first = outcome.task.part.first_row
        for row, doc_id in zip(outcome.rows.tolist(), outcome.doc_ids, strict=True):
            doc_ids[outcome.task.file, first + row] = doc_id
    ledger.settle(
        [
            (*loser, doc_ids[winner], *winner)
            for loser, winner in replaced.items()
            if winner in doc_ids
        ]
    )


def _replaced(ledger: Ledger) -> Iterator[tuple[Place, Place]]:
    """Yield each row that a later one replaces, with that one."""
    hashes, files, rows = ledger.written()
    # Stable, so that the rows of one id stay in their order.
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    same = ordered[:-1] == ordered[1:]
    if not same.any():
        return
    # The end of each run of equal hashes, found from behind.
    ends = np.flatnonzero(~np.append(same, False))
    for index in np.flatnonzero(same):
        loser, winner = order[index], order[ends[np.searchsorted(ends, index)]]
        yield (int(files[loser]), int(rows[loser])), (int(files[winner]), int(rows[winner]))


def _tasks(ledger: Ledger, files: Mapping[int, Source], winners: set[Place]) -> list[Task]:
    by_part: dict[tuple[int, Part], set[int]] = {}
    for number, row in sorted(winners):
        by_part.setdefault((number, ledger.part_of(number, row)), set()).add(row)
    return [
        Task(number, files[number], part, frozenset(rows))
        for (number, part), rows in by_part.items()
    ]
