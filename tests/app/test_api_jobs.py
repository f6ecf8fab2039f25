"""/probe/jobs: probes that outlive their request."""

import asyncio
import json
import os
import time
from typing import Any

import pytest

import app.api.jobs as jobs_api
import app.api.probe as probe_api
import app.api.running as running_api
import app.api.watching as watching_api

from .fake_jobs import FakeRun, begin, until
from .test_api_probe import fill, post

pytestmark = pytest.mark.anyio


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    monkeypatch.setattr(running_api, "run_job", fake)
    return fake


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
