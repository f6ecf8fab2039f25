"""``tyntegra probe``: waiting for jobs, replaying reports, and exit statuses for builds."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cli import main
from app.client import Client
from app.errors import NotFoundError


@pytest.fixture(scope="module")
def url(serving: Any) -> Any:
    with serving(demo=True) as live:
        yield live.url


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


PROBE = ["--attack", "typo", "--queries", "8", "--edits", "1", "boil the water", "maji safi"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    status = main(arguments)
    captured = capsys.readouterr()
    return status, json.loads(captured.out) if captured.out else None, captured.err


def test_probe_fails_over_a_share_and_replays_its_report(
    url: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    top = ["--top-k", "1"]
    status, report, _ = run(capsys, "probe", "--url", url, *top, *PROBE)
    rate = report["summary"]["attack_success_rate"]
    assert status == 0
    assert rate["successes"] > 0
    over = str(rate["value"] - 0.01)
    status, _, error = run(capsys, "probe", "--url", url, *top, "--fail-over", over, *PROBE)
    assert status == 3
    assert "queries are broken" in error
    assert run(capsys, "probe", "--url", url, *top, "--fail-over", "1", *PROBE)[0] == 0

    path = tmp_path / "report.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    replay = ["probe", "replay", str(path), "--url", url]
    status, again, _ = run(capsys, *replay, "--fail-over", over)
    assert status == 3
    assert again["attack_success_rate"] == rate
    assert run(capsys, *replay, "--fail-over", "1")[0] == 0
    status, cut, error = run(capsys, *replay, "--fail-over", "1", "--seconds", "1e-9")
    assert (status, cut["status"]) == (1, "partial")
    assert "vouched" in error


def test_probe_waits_for_a_job_or_leaves_it(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, report, error = run(capsys, "probe", "--url", url, "--wait", *PROBE)
    assert status == 0
    assert len(report["results"]) == 2
    assert "probe job" in error
    status, job, _ = run(capsys, "probe", "--url", url, "--job", *PROBE)
    assert (status, job["state"]) == (0, "queued")
    with Client(url) as client:
        assert job["job_id"] in [one["job_id"] for one in client.probe_jobs()]
        while (deleted := client.delete_probe_job(job["job_id"])) is not None:
            assert deleted["job_id"] == job["job_id"]
        with pytest.raises(NotFoundError):
            client.probe_job(job["job_id"])
        texts = [{"query": "boil the water", "text": "biol the water"}]
        assert client.replay({"collection": "demo", "texts": texts})["status"] == "complete"
        side = {"collection": "demo"}
        both = client.compare({"first": side, "second": side, "texts": texts})
        assert both["change"]["p_value"] == 1.0
    status, _, error = run(capsys, "probe", "--url", url, "--job", "--fail-over", "0", *PROBE)
    assert status == 1
    assert "--wait" in error


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"results": [{}], "top_k": 1}'])
def test_replay_of_something_else_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    status, _, error = run(capsys, "probe", "replay", str(path), "--url", "http://127.0.0.1:9")
    assert status == 1
    assert "no report of a probe" in error


def until(check: Any, seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found := check():
                return found
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise AssertionError("it did not come about in time")


def serve(state: Path, port: int) -> "subprocess.Popen[bytes]":
    environ = {k: v for k, v in os.environ.items() if not k.startswith("TYNTEGRA_")}
    environ |= {"TYNTEGRA_STATE": str(state), "TYNTEGRA_PORT": str(port), "TYNTEGRA_LOG": "error"}
    return subprocess.Popen([sys.executable, "-m", "app", "serve"], env=environ)


ASKED = ("where is", "how old is", "who has seen")


@pytest.mark.slow
def test_job_of_a_service_that_is_killed_is_run_again(tmp_path: Path, free_port: int) -> None:
    url = f"http://127.0.0.1:{free_port}"
    first = serve(tmp_path, free_port)
    try:
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        # Far more than any machine tries before it is killed.
        words = ["water", "maize", "fever", "school", "market", "river", "goat", "rain"]
        queries = [
            {"query_id": f"{w} {p}", "text": f"{p} the {w} far away"} for w in words for p in ASKED
        ]
        body = {"collection": "demo", "queries": queries, "attacks": ["typo", "ocr", "confusable"]}
        body |= {"budget": {"edits": 8, "queries": 4096, "seconds": 100}, "background": True}
        path = httpx.post(f"{url}/probe/adversarial", json=body).headers["location"]
        until(lambda: (httpx.get(url + path).json()["progress"] or {}).get("tried"))
        worker = children(first.pid)
        assert worker
        first.send_signal(signal.SIGKILL)
        first.wait()
        # The probe's process notices that nobody listens any more.
        until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in worker), 20)
    finally:
        first.kill()
        first.wait()
    second = serve(tmp_path, free_port)
    try:
        until(lambda: httpx.get(f"{url}/health/ready").status_code == 200)
        job = until(lambda: (j := httpx.get(url + path).json())["state"] == "running" and j)
        assert job["starts"] == 2
        began = time.monotonic()
        deleted = httpx.delete(url + path).json()
        assert time.monotonic() - began < 1.5
        job = until(lambda: (j := httpx.get(url + path).json())["state"] == "cancelled" and j)
        assert deleted["state"] in ("cancelled", "running")
        if job["brief"]:
            assert httpx.get(f"{url}{path}/report").json()["status"] == "partial"
    finally:
        second.terminate()
        assert second.wait(30) == 0


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def test_probe_with_further_fields_sends_them(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"constraints": {"min_language": 0.3}, "search": {"method": "random"}, "seeds": 2}
    status, report, _ = run(capsys, "probe", "--url", url, "--with", json.dumps(more), *PROBE)
    assert status == 0
    assert {result["seed"] for result in report["results"]} == {0, 1}


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("{", "no JSON object"),
        ("[1]", "no JSON object"),
        ('{"seed": 3, "goal": {}}', "has seed"),
        ('{"budget": {"edits": 9}}', "has budget"),
        ('{"wishes": 1}', "known are"),
    ],
)
def test_probe_with_fields_that_cannot_be_is_refused(
    url: str, capsys: pytest.CaptureFixture[str], more: str, told: str
) -> None:
    status, _, error = run(capsys, "probe", "--url", url, "--with", more, *PROBE)
    assert status == 1
    assert told in error
