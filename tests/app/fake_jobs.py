"""Probe jobs that go on until they are told, and how tests send and follow them."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.probing.isolated import Outcome

from .test_api_probe import post

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
