"""Bounds of work: bodies, gates, clients that leave."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.api.limits import Gate
from app.errors import OverloadedError

pytestmark = pytest.mark.anyio


async def chunks(size: int, number: int) -> AsyncIterator[bytes]:
    for _ in range(number):
        yield b" " * size


@pytest.mark.parametrize("path", ["/embed", "/search", "/nothing"])
async def test_body_over_the_limit_by_content_length_is_413(start: Any, path: str) -> None:
    async with start(max_body_bytes=1024) as running:
        headers = {"Content-Type": "application/json"}
        over = await running.client.post(path, content=b" " * 1025, headers=headers)
    assert over.status_code == 413
    assert over.headers["content-type"] == "application/problem+json"


async def test_body_over_the_limit_in_chunks_is_413(start: Any) -> None:
    headers = {"Content-Type": "application/json"}
    async with start(max_body_bytes=1024) as running:
        under = await running.client.post("/embed", content=chunks(512, 2), headers=headers)
        over = await running.client.post("/embed", content=chunks(512, 3), headers=headers)
    assert under.status_code == 422
    assert over.status_code == 413
    assert over.headers["content-type"] == "application/problem+json"


async def test_gate_admits_what_runs_and_waits_and_no_more() -> None:
    gate, release = Gate("test", running=1, waiting=2), threading.Event()
    calls = [asyncio.create_task(gate.run(lambda: release.wait(10))) for _ in range(5)]
    await asyncio.sleep(0.05)
    assert gate.busy == 3
    refused = [call for call in calls if call.done()]
    assert len(refused) == 2
    assert all(isinstance(call.exception(), OverloadedError) for call in refused)
    release.set()
    assert [await call for call in calls if call not in refused] == [True] * 3
    gate.close()
    assert gate.busy == 0


async def test_gate_cancelled_while_waiting_gives_its_place_back() -> None:
    gate, release = Gate("test", running=1, waiting=1), threading.Event()
    ran = []
    first = asyncio.create_task(gate.run(lambda: release.wait(10)))
    second = asyncio.create_task(gate.run(lambda: ran.append(1)))
    await asyncio.sleep(0.02)
    second.cancel()
    await asyncio.sleep(0.02)
    assert gate.busy == 1
    release.set()
    assert await first
    gate.close()
    assert ran == []


async def test_store_calls_do_not_hold_up_the_event_loop(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    async with start(store_threads=1, store_waiting=1) as running:
        monkeypatch.setattr(running.store, "collections", lambda: release.wait(10) and [])
        slow = [asyncio.create_task(running.client.get("/collections")) for _ in range(3)]
        await asyncio.sleep(0.1)
        live = await asyncio.wait_for(running.client.get("/health/live"), 1)
        release.set()
        statuses = sorted([(await response).status_code for response in slow])
        metrics = (await running.client.get("/metrics")).text
    assert live.status_code == 200
    assert statuses == [200, 200, 429]
    assert 'tyntegra_shed_total{reason="store"} 1.0' in metrics


async def test_client_that_leaves_cancels_its_inference(start: Any) -> None:
    body = b'{"inputs": "!slow"}'
    leave = asyncio.Event()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await leave.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    sent: list[dict[str, Any]] = []
    headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/embed", "headers": headers}
    scope |= {"raw_path": b"/embed", "query_string": b"", "http_version": "1.1", "scheme": "http"}
    async with start() as running:
        request = asyncio.create_task(running.app(scope, receive, send))
        await asyncio.sleep(0.05)
        assert running.encoder.cancelled == 0
        leave.set()
        await asyncio.wait_for(request, 2)
        await asyncio.sleep(0)
        metrics = (await running.client.get("/metrics")).text
    assert running.encoder.cancelled == 1
    assert 'route="/embed",status="499"} 1.0' in metrics


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/embed", {"inputs": ["a", "\u200b"]}, "inputs[1]"),
        ("/search", {"collection": "a", "queries": ["\u00ad \ufeff"]}, "queries[0]"),
        (
            "/collections/a/documents",
            {"documents": [{"doc_id": "d", "text": "\u2060\u202e"}]},
            "documents[0]",
        ),
    ],
)
async def test_invisible_text_is_refused_under_the_name_it_was_sent_by(
    start: Any, path: str, body: dict[str, Any], where: str
) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        response = await running.client.post(path, json=body)
    assert response.status_code == 422
    assert response.json()["detail"].startswith(f"{where} has nothing but invisible characters")
