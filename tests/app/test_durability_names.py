"""Collections made and dropped are whole after SIGKILL, or gone."""

import random
import subprocess
import sys
import time
from pathlib import Path

from app.retrieval.edge import EdgeStore

ROOT = Path(__file__).resolve().parents[2]


def test_sigkill_while_creating_and_dropping_leaves_whole_collections(tmp_path):
    script = """
import sys
from pathlib import Path
from app.retrieval.edge import EdgeStore
store = EdgeStore.open(Path(sys.argv[1]), reserve_bytes=0)
print("ready", flush=True)
while True:
    for name in "abc":
        store.create(name, 4, "m")
    for name in "abc":
        store.drop(name)
"""
    moments = random.Random(3)
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(moments.uniform(0.0, 1.0))
            writer.kill()
        store = EdgeStore.open(tmp_path, reserve_bytes=0)
        assert store.unavailable() == {}
        for collection in store.collections():
            assert collection.count == 0
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"store.lock"} | {c.name for c in store.collections()}
        store.close()
