"""Work on a shard that this process must not do itself: recovery and index building.

Recovery may crash the engine (a truncated file behind a memory map kills the process) and index
building holds Python's global lock for minutes. Both run as ``python -m
app.retrieval.edge.recovery``, which answers with one JSON line: a crash there costs one collection
and not the service.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from app.errors import StoreError
from app.retrieval.edge.account import Account

_CHILD = "app.retrieval.edge.recovery"


def recover(directory: Path, shard: str) -> Account:
    """Replay a shard's log and check every document, in a process of its own.

    Returns:
        What it holds.

    Raises:
        StoreError: If the engine fails or crashes, or the documents are not those written.
    """
    return _run(["recover", str(directory), shard], lambda: False)


def migrate(directory: Path, old: str, new: str, dim: int) -> Account:
    """Write a shard of format 1 anew, in a process of its own.

    Raises:
        StoreError: If the engine fails or crashes, or a document does not fit its check sum.
    """
    return _run(["migrate", str(directory), old, new, str(dim)], lambda: False)


def optimize(shard: Path, account: Account, cancelled: Callable[[], bool]) -> None:
    """Build a shard's index in a process of its own.

    Args:
        shard: The shard's directory, open nowhere.
        account: What it must hold.
        cancelled: Polled; when true the process is killed.

    Raises:
        StoreError: If the engine fails, crashes or loses something, or ``cancelled`` came true.
    """
    numbers = (account.documents, account.passages, account.total)
    _run(["optimize", str(shard.parent), shard.name, *map(str, numbers)], cancelled)


def _run(command: list[str], cancelled: Callable[[], bool]) -> Account:
    root = str(Path(__file__).resolve().parents[3])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", _CHILD, *command],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    with child:
        while True:
            try:
                output, errors = child.communicate(timeout=0.2)
                break
            except subprocess.TimeoutExpired:
                if cancelled():
                    child.kill()
    if child.returncode == 0:
        return Account(*json.loads(output))
    reason = json.loads(output) if output else errors.strip()[-300:] or "no output"
    if child.returncode < 0:
        reason = f"killed by {signal.Signals(-child.returncode).name}"
    action, directory, shard = command[:3]
    raise StoreError(f"{action} of {Path(directory).name}/{shard} failed: {reason}")
