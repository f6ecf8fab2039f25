"""Uploads of NDJSON in process: what holds them up, and what stops them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest

from app.api import receiving, stream, upload
from app.errors import InferenceError, OverloadedError, StoreError

from .uploads import HEADERS, PATH, events, line, send

pytestmark = pytest.mark.anyio


async def test_upload_of_garbage_stops_and_says_where(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_REFUSED", 20)
    async with start(max_documents=4) as running:
        await running.client.put("/collections/a")
        response = await send(running, [line("good"), *[b"\x80garbage\n"] * 1000])
        assert running.service.streams == 0
    last = events(response)[-1]
    assert (last["event"], last["status"], last["stored"]) == ("stopped", 422, 1)
    assert 20 <= last["refused"] < 60
    assert last["line"] == last["refused"] + 1


async def test_upload_waits_for_room_instead_of_refusing(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        full = [OverloadedError("full", 0.01)] * 3
        encode = running.encoder.encode_async

        async def sometimes(*args: Any, **kwargs: Any) -> Any:
            if full:
                raise full.pop()
            return await encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode_async", sometimes)
        response = await send(running, line("a"))
    assert events(response)[-1]["stored"] == 1


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (StoreError("The disk is full."), 503, "The disk is full."),
        (InferenceError("node 7 saw a secret"), 500, "The details are in the service's log"),
    ],
)
async def test_upload_stopped_by_a_failure_keeps_what_it_told(
    start: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int, said: str
) -> None:
    async with start(max_documents=2) as running:
        await running.client.put("/collections/a")
        upsert, calls = running.store.upsert, []

        def fails(*args: Any) -> int:
            calls.append(args)
            if len(calls) == 2:
                raise failure
            return upsert(*args)

        monkeypatch.setattr(running.store, "upsert", fails)
        response = await send(running, [line(str(n)) for n in range(20)])
        assert running.store.count("a") == 2
    last = events(response)[-1]
    assert (last["event"], last["status"], last["line"], last["stored"]) == (
        "stopped",
        status,
        2,
        2,
    )
    assert last["detail"].startswith(said)


async def test_upload_that_fails_at_once_is_a_plain_problem(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise StoreError("The disk is full.")

    async with start() as running:
        await running.client.put("/collections/a")
        monkeypatch.setattr(running.store, "upsert", full)
        response = await send(running, line("a"))
    assert (response.status_code, response.json()["detail"]) == (503, "The disk is full.")


async def test_upload_reads_no_faster_than_it_encodes(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def lines() -> Iterable[bytes]:
        nonlocal taken
        for n in range(400):
            taken += 1
            yield line(str(n))

    async with start(max_documents=4) as running:
        await running.client.put("/collections/a")
        encode = running.encoder.encode_async

        async def slowly(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0.01)
            return await encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode_async", slowly)
        sending = asyncio.create_task(send(running, lines()))
        async with asyncio.timeout(5):
            while running.store.count("a") < 8:
                await asyncio.sleep(0.005)
        ahead = taken - running.store.count("a")
        response = await sending
    assert ahead <= 4 * (stream.AHEAD + 3)
    assert events(response)[-1]["stored"] == 400


async def test_upload_of_a_client_that_pauses_is_stored_meanwhile(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "IDLE_S", 0.02)
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield line("a") + b'{"doc_id": "b"'
        await go_on.wait()
        yield b', "text": "t"}'

    async with start() as running:
        await running.client.put("/collections/a")
        sending = asyncio.create_task(running.client.post(PATH, content=parts(), headers=HEADERS))
        async with asyncio.timeout(5):
            while running.store.count("a") < 1:
                await asyncio.sleep(0.005)
        go_on.set()
        response = await sending
    assert events(response)[-1]["stored"] == 2


async def test_upload_ends_when_the_service_does(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "IDLE_S", 0.02)
    monkeypatch.setattr(stream, "LINGER_S", 0.05)

    async def parts() -> AsyncIterator[bytes]:
        yield line("a")
        await asyncio.sleep(0.3)
        yield line("b")

    async with start() as running:
        await running.client.put("/collections/a")
        running.service.stopping.set()
        response = await running.client.post(PATH, content=parts(), headers=HEADERS)
    last = events(response)[-1]
    assert (last["event"], last["status"], last["stored"]) == ("stopped", 503, 1)


def test_patience_is_longer_than_a_queue_takes() -> None:
    assert upload.PATIENCE_S > 30
