"""The engine of a cluster: a real one of two nodes on this machine, with a worker killed."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.bulk.job import Job
from app.bulk.parts import Layout
from app.bulk.running import run_job
from app.bulk.target import Target
from app.cli import main
from app.errors import InvalidInputError, NotReadyError

pytest.importorskip("ray.data", reason="ray (the extra bulk) is not installed")
pytestmark = [
    pytest.mark.slow,
    # Ray leaves sockets and processes to the garbage collector.
    pytest.mark.filterwarnings("ignore"),
]

from app.bulk.cluster import RayEngine, Share  # noqa: E402  # skipped without ray


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    nodes = Cluster()
    for _ in range(2):
        nodes.add_node(num_cpus=1, object_store_memory=80 << 20, include_dashboard=False)
    yield nodes
    nodes.shutdown()


def job_of(live: Any, folder: Path, name: str) -> Job:
    return Job(
        files=[str(folder)],
        target=Target(name, url=live.url),
        layout=Layout(part_rows=20),
        ledger=folder.parent / f"{name}.ledger",
        max_errors=-1,
    )


def kept(live: Any, name: str) -> dict[str, Any]:
    made = live.service.store.made.get(name)
    return {doc_id: one.document for doc_id, one in made.entries.items()} if made else {}


def slow(live: Any, seconds: float) -> None:
    upsert = live.service.store.upsert

    def slowed(*args: Any, **kwargs: Any) -> int:
        time.sleep(seconds)
        return upsert(*args, **kwargs)

    live.service.store.upsert = slowed


def fill(folder: Path) -> None:
    """Four files with rows that cannot be used, and ids that come again in another file."""
    folder.mkdir()
    for file in range(4):
        lines = [
            json.dumps({"id": f"d{number}", "text": f"file {file} row {number}"})
            for number in range(100 * file, 100 * file + 120)
        ]
        lines[7], lines[50] = "{no json", '{"text": ""}'
        (folder / f"{file}.jsonl").write_text("\n".join(lines))


def kill_a_worker(live: Any, name: str, killed: list[int]) -> None:
    """Wait until documents come in, then kill one of the processes that send them."""
    deadline = time.monotonic() + 60
    while len(kept(live, name)) < 60 and time.monotonic() < deadline:
        time.sleep(0.02)
    for process in psutil.process_iter(["name", "cmdline"]):
        if "MapWorker" in " ".join(process.info["cmdline"] or [process.info["name"] or ""]):
            process.send_signal(signal.SIGKILL)
            killed.append(process.pid)
            return


def test_job_on_two_nodes_with_a_worker_killed_gives_what_the_local_one_does(
    cluster: Any, serving: Any, tmp_path: Path
) -> None:
    from app.bulk.local import LocalEngine

    fill(tmp_path / "in")
    killed: list[int] = []
    with serving(log="error") as live:
        slow(live, 0.2)
        killer = threading.Thread(target=kill_a_worker, args=(live, "far", killed))
        killer.start()

        def on_cluster(job: Job, stop: threading.Event) -> RayEngine:
            return RayEngine(
                job.target,
                job.columns,
                job.layout,
                share=Share(1.0),
                address=cluster.address,
                stop=stop,
            )

        def here(job: Job, stop: threading.Event) -> LocalEngine:
            return LocalEngine(job.target, job.columns, job.layout, job.writers, stop)

        stop = threading.Event()
        far = run_job(job_of(live, tmp_path / "in", "far"), on_cluster, stop, show=False)
        killer.join()
        near = run_job(job_of(live, tmp_path / "in", "near"), here, stop, show=False)
        assert len(killed) == 1
        assert not psutil.pid_exists(killed[0])
        assert kept(live, "far") == kept(live, "near")
        assert far.documents == near.documents == len(kept(live, "far"))
        assert (far.refused, far.replaced) == (near.refused, near.replaced) == (8, 57)
        assert far.report is not None
        assert near.report is not None
        assert Path(far.report).read_text() == Path(near.report).read_text()


def test_cluster_without_room_or_for_the_embedded_store_is_refused(
    cluster: Any, serving: Any, tmp_path: Path
) -> None:
    def engine(target: Target, cpus: float) -> RayEngine:
        job = Job(files=[], target=target)
        return RayEngine(
            target,
            job.columns,
            job.layout,
            share=Share(cpus),
            address=cluster.address,
            stop=threading.Event(),
        )

    with pytest.raises(InvalidInputError, match="serve it and give --url"):
        engine(Target("a", settings={"state": str(tmp_path)}), 1)
    with serving() as live, pytest.raises(NotReadyError, match="A worker takes 9 cores"):
        engine(Target("a", url=live.url), 9)


def test_index_with_an_address_where_no_cluster_is_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    where = ["--engine", "ray", "--ray-address", "127.0.0.1:9", "--url", "http://127.0.0.1:9"]
    files = ["index", str(tmp_path / "a.jsonl"), "--collection", "notes"]
    assert main([*files, "--ledger", str(tmp_path / "ledger"), *where]) == 1
    assert "There is no cluster at 127.0.0.1:9" in capsys.readouterr().err
