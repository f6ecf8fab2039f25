"""Watching a probe job: what changes is told to all who listen, written once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import orjson

from app.api.state import Service
from app.probing.jobs import Job

HEARTBEAT_S = 10.0
"""After so long without news a line of comment says that the connection lives."""
_TICK_S = 1.0
Describe = Callable[[Job], Mapping[str, Any]]


class Changes:
    """Wakes a coroutine when a job changes, from whatever thread that is told."""

    def __init__(self, service: Service, job: Job) -> None:
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        self._end = service.probe_jobs.watch(job, self._wake)

    async def __aenter__(self) -> "Changes":
        """Begin to watch."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Watch no longer."""
        self._end()

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, seconds: float) -> bool:
        """Wait for a change; whether there was one."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        self._changed.clear()
        return True


async def tell(service: Service, job: Job, describe: Describe) -> AsyncIterator[bytes]:
    """Tell how far a job is, as server-sent events, until it or the service ends."""
    loop = asyncio.get_running_loop()
    async with Changes(service, job) as changes:
        while True:
            if service.probe_jobs.find(job.note.job_id) is not job:
                yield _event("gone", {"job_id": job.note.job_id})
                return
            yield _news(job, describe)
            if job.note.is_over:
                return
            told = loop.time()
            while not await changes.wait(_TICK_S):
                if service.stopping.is_set() or service.probe_jobs.stopping:
                    yield _event("interrupted", describe(job))
                    return
                if loop.time() - told >= HEARTBEAT_S:
                    told = loop.time()
                    yield b": still there\n\n"


def _news(job: Job, describe: Describe) -> bytes:
    """Write a job's state once for all who watch it."""
    version = job.version
    if job.news is None or job.news[0] != version:
        kind = "done" if job.note.is_over else "progress"
        job.news = version, _event(kind, describe(job))
    return job.news[1]


def _event(kind: str, content: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps(content))
