"""What the retrieval benchmark does to a whole process: open it, kill it, weigh it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from retrieval_corpus import NAME, vectors_of
from retrieval_load import timed

from app.retrieval.edge import EdgeStore


def in_child(action: str, root: Path) -> dict[str, Any]:
    """Do something with a store in a fresh process, which prints JSON unless it is killed."""
    child = subprocess.run(
        [sys.executable, __file__, action, str(root)], capture_output=True, check=False
    )
    return json.loads(child.stdout) if child.stdout else {}


def child(action: str, root: Path) -> None:
    """What ``in_child`` starts: be killed while the store is open, or tell the memory it takes."""
    store = EdgeStore.open(root)
    if action == "die":
        os.kill(os.getpid(), 9)
    opened = memory_mib()
    for query in vectors_of(300, 3):
        store.search(NAME, query[None], 10)
        store.match(NAME, ["w1 w200"], 10)
    figures = {"opened_mib": opened, "searched_mib": memory_mib()}
    store.close()
    sys.stdout.write(json.dumps({"memory": figures}))


def memory_mib() -> dict[str, int]:
    """Tell this process's memory: its own, and the files' pages that it has mapped."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    sizes = dict(line.split(":") for line in lines)
    return {
        name: int(sizes[key].split()[0]) >> 10
        for name, key in (("own", "RssAnon"), ("files", "RssFile"))
    }


def reopening(root: Path) -> dict[str, Any]:
    """Time opening after a clean close and after a kill."""
    stores: list[EdgeStore] = []
    clean = timed(lambda: stores.append(EdgeStore.open(root)))
    stores.pop().close()
    in_child("die", root)
    killed = timed(lambda: stores.append(EdgeStore.open(root)))
    store = stores.pop()
    checked = timed(lambda: _wait_for_check(store))
    store.close()
    return {
        "reopen_s": round(clean, 2),
        "reopen_after_kill_s": round(killed, 2),
        "all_texts_checked_after_s": round(checked, 1),
    }


def _wait_for_check(store: EdgeStore) -> None:
    while store._table.find(NAME).meta.unchecked:
        time.sleep(0.1)


if __name__ == "__main__":
    child(sys.argv[1], Path(sys.argv[2]))
