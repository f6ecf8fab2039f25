"""/probe/jobs: probes that outlive their request."""

import asyncio
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import app.api.jobs as jobs_api
import app.api.probe as probe_api
import app.api.running as running_api
import app.api.watching as watching_api
import app.durable
from app.probing.isolated import Outcome

from .test_api_probe import BODY, fill, post

pytestmark = pytest.mark.anyio

RATE = {"value": 0.5, "low": 0.1, "high": 0.9, "n": 4, "successes": 2}


class FakeRun:
    """A probe that goes on until it is released or told to stop."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.ran: list[Mapping[str, Any]] = []
        self.error: Exception | None = None

    def __call__(
        self,
        service: Any,
        sent: Mapping[str, Any],
        cancelled: Callable[[], bool],
        progress: Callable[[Mapping[str, Any]], None],
    ) -> Outcome:
        self.ran.append(sent)
        told = {"stage": "search", "elapsed_s": 1.0, "texts": 9, "attacks": 4, "finished": 1}
        progress(told | {"tried": 5, "eligible": 4, "broken": 1})
        while not self.release.is_set() and not cancelled():
            time.sleep(0.005)
        if self.error:
            raise self.error
        status = "partial" if cancelled() else "complete"
        report = {"status": status, "results": [], "seed": sent["seed"]}
        brief = {"status": status, "reason": None, "attack_success_rate": RATE, "queries": 9}
        return Outcome(json.dumps(report).encode(), brief)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    monkeypatch.setattr(running_api, "run_job", fake)
    return fake


async def begin(running: Any, **changes: Any) -> str:
    response = await post(running, background=True, **changes)
    assert response.status_code == 202
    assert response.headers["location"] == f"/probe/jobs/{response.json()['job_id']}"
    return response.headers["location"]


async def until(running: Any, path: str, *states: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            job = (await running.client.get(path)).json()
            if job["state"] in states:
                return job
            await asyncio.sleep(0.01)


async def test_job_in_its_process_reports_what_a_probe_answers(start: Any) -> None:
    async with start() as running:
        await fill(running)
        path = await begin(running)
        job = await until(running, path, "done", "failed")
        report = await running.client.get(f"{path}/report")
        waited = (await post(running)).json()
        metrics = (await running.client.get("/metrics")).text
    assert job["state"] == "done", job["error"]
    found = report.json()
    assert found.keys() == waited.keys()
    assert found["results"] == waited["results"]
    assert found["summary"] == waited["summary"]
    asked = ("collection", "budget", "stats")
    assert [found[name] for name in asked] == [waited[name] for name in asked]
    assert found["collection"] == "a"
    assert job["brief"]["attack_success_rate"] == found["summary"]["attack_success_rate"]
    assert job["queries"] == 1
    assert "tyntegra_probe_jobs 0.0" in metrics


async def test_probe_that_is_long_runs_in_a_process_with_the_same_answer(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as running:
        await fill(running)
        here = (await post(running)).json()
        monkeypatch.setattr(probe_api, "MOST_TEXTS_HERE", 0)
        monkeypatch.delattr(probe_api, "run_probe")
        apart = (await post(running)).json()
    assert apart["results"] == here["results"]
    assert apart["digest"] == here["digest"]


@pytest.mark.parametrize(
    "changes",
    [
        {"budget": {"seconds": 121}},
        {"queries": [{"query_id": f"q{n}", "text": "boil water"} for n in range(65)]},
    ],
)
async def test_probe_too_large_to_wait_for_becomes_a_job(
    start: Any, run: FakeRun, changes: Any
) -> None:
    run.release.set()
    async with start() as running:
        await fill(running)
        response = await post(running, **changes)
        assert response.status_code == 202
        await until(running, response.headers["location"], "done")


async def test_background_wrong_request_is_refused_at_once(start: Any, run: FakeRun) -> None:
    async with start() as running:
        await fill(running)
        query = {"query_id": "q", "text": "a", "relevant": ["canary"]}
        unknown = await post(running, background=True, queries=[query])
        nowhere = await post(running, background=True, collection="none")
        many = [{"query_id": f"q{n}", "text": "a"} for n in range(1001)]
        too_many = await post(running, background=True, queries=many)
        listed = (await running.client.get("/probe/jobs")).json()
    assert (unknown.status_code, nowhere.status_code, too_many.status_code) == (422, 404, 422)
    assert "canary" not in unknown.text
    assert listed == {"jobs": []}
    assert run.ran == []


async def test_jobs_beyond_the_waiting_room_are_429(start: Any, run: FakeRun) -> None:
    async with start(probe_jobs_waiting=1) as running:
        await fill(running)
        first, second = await begin(running), await begin(running)
        refused = await post(running, background=True)
        await until(running, first, "running")
        assert (await running.client.get(second)).json()["state"] == "queued"
        run.release.set()
        await until(running, second, "done")
        listed = (await running.client.get("/probe/jobs")).json()["jobs"]
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) >= 1
    assert {job["state"] for job in listed} == {"done"}
    assert len(listed) == 2


async def test_job_deleted_while_it_runs_keeps_what_it_found(start: Any, run: FakeRun) -> None:
    async with start() as running:
        await fill(running)
        path = await begin(running)
        async with asyncio.timeout(10):
            while not (job := await until(running, path, "running"))["progress"]:
                await asyncio.sleep(0.01)
        early = await running.client.get(f"{path}/report")
        began = time.monotonic()
        deleted = await running.client.delete(path)
        took = time.monotonic() - began
        report = await running.client.get(f"{path}/report")
        again = await running.client.delete(path)
        gone = [await running.client.get(path), await running.client.delete(path)]
        left = os.listdir(running.service.settings.state / "probes")
    assert job["progress"]["success_rate"] == {
        "value": 0.25,
        "low": pytest.approx(0.0063, abs=1e-4),  # Clopper and Pearson for 1 of 4
        "high": pytest.approx(0.8059, abs=1e-4),
        "n": 4,
        "successes": 1,
    }
    assert early.status_code == 409
    assert took < 1
    assert (deleted.status_code, deleted.json()["state"]) == (200, "cancelled")
    assert report.json()["status"] == "partial"
    assert again.status_code == 204
    assert [response.status_code for response in gone] == [404, 404]
    assert left == []


async def test_job_deleted_while_it_waits_never_runs(start: Any, run: FakeRun) -> None:
    async with start() as running:
        await fill(running)
        first, second = await begin(running), await begin(running, seed=7)
        await until(running, first, "running")
        deleted = (await running.client.delete(second)).json()
        report = await running.client.get(f"{second}/report")
        run.release.set()
        await until(running, first, "done")
    assert deleted["state"] == "cancelled"
    assert report.status_code == 409
    assert [sent["seed"] for sent in run.ran] == [3]


async def test_ended_jobs_beyond_those_kept_go_oldest_first(start: Any, run: FakeRun) -> None:
    run.release.set()
    async with start(probe_jobs_kept=2) as running:
        await fill(running)
        paths = []
        for _ in range(3):
            paths.append(await begin(running))
            await until(running, paths[-1], "done")
        async with asyncio.timeout(10):
            while (await running.client.get(paths[0])).status_code != 404:
                await asyncio.sleep(0.01)
        found = [(await running.client.get(path)).status_code for path in paths]
        files = os.listdir(running.service.settings.state / "probes")
    assert found == [404, 200, 200]
    assert len(files) == 4


async def test_events_tell_progress_and_end_with_the_job(start: Any, run: FakeRun) -> None:
    async with start() as running:
        await fill(running)
        path = await begin(running)
        await until(running, path, "running")
        watching = [asyncio.create_task(running.client.get(f"{path}/events")) for _ in range(20)]
        await asyncio.sleep(0.1)
        job = running.service.probe_jobs.get(path.rpartition("/")[2])
        assert len(job.watchers) == 20
        run.release.set()
        told = [(await asyncio.wait_for(task, 10)) for task in watching]
        assert not job.watchers
        late = await running.client.get(f"{path}/events")
    for response in told:
        assert response.headers["content-type"].startswith("text/event-stream")
        events = response.text.strip().split("\n\n")
        assert events[0].startswith("event: progress\ndata: {")
        kind, data = events[-1].split("\n")
        assert kind == "event: done"
        assert json.loads(data.removeprefix("data: "))["brief"]["status"] == "complete"
    assert late.text.startswith("event: done\n")


async def test_events_have_a_heartbeat_and_tell_that_a_job_is_gone(
    start: Any, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching_api, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(watching_api, "_TICK_S", 0.02)
    async with start() as running:
        await fill(running)
        path = await begin(running)
        await until(running, path, "running")
        watching = asyncio.create_task(running.client.get(f"{path}/events"))
        await asyncio.sleep(0.2)
        running.service.probe_jobs.forget(path.rpartition("/")[2])
        told = (await asyncio.wait_for(watching, 10)).text
        run.release.set()
    assert "\n\n: still there\n\n" in told
    assert told.endswith("}\n\n")
    assert "event: gone\n" in told


async def test_watchers_beyond_their_number_are_429(
    start: Any, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs_api, "MOST_WATCHERS", 1)
    async with start() as running:
        await fill(running)
        path = await begin(running)
        watching = asyncio.create_task(running.client.get(f"{path}/events"))
        await asyncio.sleep(0.1)
        assert (await running.client.get(f"{path}/events")).status_code == 429
        run.release.set()
        assert (await asyncio.wait_for(watching, 10)).status_code == 200


async def test_watcher_that_leaves_is_forgotten(start: Any, run: FakeRun) -> None:
    async with start() as running:
        await fill(running)
        path = await begin(running)
        watching = asyncio.create_task(running.client.get(f"{path}/events"))
        await asyncio.sleep(0.1)
        job = running.service.probe_jobs.get(path.rpartition("/")[2])
        assert len(job.watchers) == 1
        watching.cancel()
        await asyncio.sleep(0.1)
        assert not job.watchers
        run.release.set()


async def test_job_that_fails_says_why_and_a_bug_says_nothing_secret(
    start: Any, run: FakeRun
) -> None:
    run.release.set()
    run.error = KeyError("a secret text")
    async with start() as running:
        await fill(running)
        job = await until(running, await begin(running), "failed")
    assert "bug" in job["error"]
    assert "secret" not in job["error"]


async def test_job_interrupted_by_the_end_runs_anew_at_the_next_start(
    start: Any, run: FakeRun, tmp_path: Path
) -> None:
    async with start(state=str(tmp_path)) as running:
        await fill(running)
        path = await begin(running)
        await until(running, path, "running")
    async with start(state=str(tmp_path)) as running:
        job = await until(running, path, "running")
        assert job["starts"] == 1  # to be told to end is no failure
        run.release.set()
        job = await until(running, path, "done")
        report = (await running.client.get(f"{path}/report")).json()
    assert [sent["seed"] for sent in run.ran] == [3, 3]
    assert report["status"] == "complete"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"state": "running", "starts": 2}, "done"),
        ({"state": "running", "starts": 3}, "failed"),
        ({"request": {"canary": 1}}, "failed"),
        ({"state": "asleep"}, "failed"),
        ({"submitted": "yesterday"}, "failed"),
        ({"job_id": "another"}, "failed"),
        ({"unknown": 1}, "failed"),
        (None, "failed"),
    ],
)
async def test_files_left_by_a_crash_or_damaged_never_end_the_service(
    start: Any, tmp_path: Path, changes: Any, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, fake = running_api.run_job, FakeRun()
    fake.release.set()
    sent = {**BODY}
    monkeypatch.setattr(
        running_api, "run_job", lambda *asked: (fake if "queries" in asked[1] else real)(*asked)
    )
    name = "20261125t101500z-0123456789ab"
    note = {"job_id": name, "state": "queued", "request": sent, "submitted": 1764065700.0}
    (tmp_path / "probes").mkdir()
    (tmp_path / "probes" / f"..{name}.json.draft").write_text("{")
    content = b'{"job_id": "' if changes is None else json.dumps(note | changes).encode()
    (tmp_path / "probes" / f"{name}.json").write_bytes(content)
    async with start(state=str(tmp_path)) as running:
        job = await until(running, f"/probe/jobs/{name}", "done", "failed")
        listed = await running.client.get("/probe/jobs")
        removed = await running.client.delete(f"/probe/jobs/{name}")
    assert job["state"] == state
    assert "canary" not in listed.text
    assert removed.status_code == 204
    assert os.listdir(tmp_path / "probes") == []


async def test_report_damaged_on_disk_is_said(start: Any, run: FakeRun) -> None:
    run.release.set()
    async with start() as running:
        await fill(running)
        path = await begin(running)
        await until(running, path, "done")
        (report,) = (running.service.settings.state / "probes").glob("*.report.json")
        content = report.read_bytes()
        report.write_bytes(content[:-3])
        cut = await running.client.get(f"{path}/report")
        report.unlink()
        missing = await running.client.get(f"{path}/report")
        removed = await running.client.delete(path)
    assert (cut.status_code, missing.status_code) == (503, 503)
    assert "damaged" in cut.json()["detail"]
    assert removed.status_code == 204


async def test_full_disk_is_said_when_a_job_is_sent_and_when_it_ends(
    start: Any, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = False

    def sync(descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(app.durable.os, "fsync", sync)
    async with start() as running:
        await fill(running)
        path = await begin(running)
        await until(running, path, "running")
        full = True
        refused = await post(running, background=True)
        run.release.set()
        job = await until(running, path, "failed")
        searched = await running.client.post("/search", json={"collection": "a", "queries": "b"})
        drafts = list((running.service.settings.state / "probes").glob(".*"))
    assert refused.status_code == 503
    assert "No space left" in refused.json()["detail"]
    assert "No space left" in job["error"]
    assert searched.status_code == 200
    assert drafts == []


@pytest.mark.parametrize("name", ["x", "..%2f..%2fetc", "20261125t101500z-0123456789aB"])
async def test_names_that_are_no_jobs_are_refused(start: Any, name: str) -> None:
    async with start() as running:
        for path in (f"/probe/jobs/{name}", f"/probe/jobs/{name}/report"):
            response = await running.client.get(path)
            assert response.status_code in (404, 422)
        unknown = await running.client.get("/probe/jobs/20261125t101500z-0123456789ab")
        form = await running.client.get(
            "/probe/jobs/20261125t101500z-0123456789ab/report?format=exe"
        )
    assert unknown.status_code == 404
    assert form.status_code == 422
