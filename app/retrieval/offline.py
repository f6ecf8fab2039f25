"""Work on a shard that this process must not do itself: recovery and index building.

Recovery may crash the engine (a truncated file behind a memory map kills the process) and index
building holds Python's global lock for minutes. Both run as ``python -m app.retrieval.offline``,
which answers with one JSON line: a crash there costs one collection and not the service.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from app.errors import StoreError
from app.retrieval.edge_shard import Shard
from app.retrieval.points import check_sum, point_id

_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)


def recover(shard: Path) -> None:
    """Replay a shard's log and check every document, in a process of its own.

    Raises:
        StoreError: If the engine fails or crashes, or a document does not fit its check sum.
    """
    _run("recover", shard, lambda: False)


def optimize(shard: Path, cancelled: Callable[[], bool]) -> None:
    """Build a shard's index in a process of its own.

    Args:
        shard: The shard's directory, open nowhere.
        cancelled: Polled; when true the process is killed.

    Raises:
        StoreError: If the engine fails or crashes, or ``cancelled`` came true.
    """
    _run("optimize", shard, cancelled)


def _run(action: str, shard: Path, cancelled: Callable[[], bool]) -> None:
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, os.environ.get("PYTHONPATH", "")]
    child = subprocess.Popen(
        [sys.executable, "-P", "-m", __name__, action, str(shard)],
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
        return
    reason = output.strip() or errors.strip()[-300:] or "no output"
    if child.returncode < 0:
        reason = f"killed by {signal.Signals(-child.returncode).name}"
    raise StoreError(f"{action} of {shard.parent.name}/{shard.name} failed: {reason}")


def _recover(path: Path) -> None:
    shard = Shard.load(path)
    for row in shard.scan():
        check, doc_id = row.payload.get("check"), row.payload.get("doc_id")
        if (
            check != check_sum(row.payload, row.vector)
            or not isinstance(doc_id, str)
            or point_id(doc_id) != row.point_id
        ):
            raise StoreError(f"the document {doc_id!r:.80} does not fit its check sum")
    shard.flush()
    shard.close()


def _optimize(path: Path) -> None:
    shard = Shard.load(path)
    shard.optimize()
    shard.flush()
    shard.close()


def main(arguments: list[str]) -> int:
    """Run one action on one shard; the exit code tells whether it succeeded."""
    action, path = arguments
    if sys.platform == "linux":  # Elsewhere an orphan finishes a build that nobody adopts
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if action == "optimize":  # Nobody waits for it; a recovery holds up the start
        os.nice(10)
    try:
        {"recover": _recover, "optimize": _optimize}[action](Path(path))
    except StoreError as error:
        sys.stdout.write(json.dumps(error.message, ensure_ascii=False))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
