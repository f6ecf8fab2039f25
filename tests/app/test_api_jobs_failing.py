"""/probe/jobs that fail, are interrupted, or find their files damaged."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

import app.api.running as running_api
import app.durable

from .fake_jobs import FakeRun, begin, until
from .test_api_probe import BODY, fill, post

pytestmark = pytest.mark.anyio


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> FakeRun:
    fake = FakeRun()
    monkeypatch.setattr(running_api, "run_job", fake)
    return fake


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
