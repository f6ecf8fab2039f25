"""/health, /metrics and /info."""

import asyncio
import threading
from typing import Any

import pytest

from app.api import health, state

pytestmark = pytest.mark.anyio


async def test_ready_tells_model_provider_and_collections(start: Any) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        response = await running.client.get("/health/ready")
    assert response.json() == {
        "status": "ready",
        "model": "fake@000000000000",
        "precision": "fp32",
        "provider": "CPUExecutionProvider",
        "collections": {"a": 0},
        "unavailable": {},
        "storage": "ok",
    }


async def test_ready_follows_the_encoder_and_live_does_not(start: Any) -> None:
    async with start() as running:
        running.encoder.reason = "the last batch failed"
        broken = await running.client.get("/health/ready")
        live = await running.client.get("/health/live")
        running.encoder.reason = None
        mended = await running.client.get("/health/ready")
    assert broken.status_code == 503
    assert "the last batch failed" in broken.json()["detail"]
    assert broken.headers["retry-after"] == "2"
    assert live.json() == {"status": "live"}
    assert mended.status_code == 200


async def test_ready_tries_an_encoder_that_failed_anew(start: Any) -> None:
    async with start() as running:
        running.encoder.reason = "the last batch failed"
        running.encoder.mends = True
        mended = await running.client.get("/health/ready")
        await running.client.get("/health/ready")
    assert mended.status_code == 200
    assert running.encoder.rechecks == 1  # and leaves one that works alone


async def test_ready_encoder_that_hangs_when_tried_is_answered_for(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "RECHECK_S", 0.05)
    end, began = threading.Event(), []

    def hang(timeout_s: float) -> None:
        began.append(timeout_s)
        end.wait(30)

    async with start() as running:
        running.encoder.reason = "the last batch failed"
        monkeypatch.setattr(running.encoder, "recheck", hang)
        answers = await asyncio.gather(
            *(running.client.get("/health/ready") for _ in range(20)),
        )
        end.set()
    assert {answer.status_code for answer in answers} == {503}
    assert len(began) == 1


async def test_ready_store_that_hangs_costs_one_thread_for_all(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "STORE_TIMEOUT_S", 0.05)
    end, began = threading.Event(), []

    def hang() -> list[Any]:
        began.append(threading.get_ident())
        assert end.wait(30)
        return []

    async with start() as running:
        monkeypatch.setattr(running.store, "collections", hang)
        for _ in range(3):
            answers = await asyncio.gather(
                *(running.client.get("/health/ready") for _ in range(20)),
            )
            assert {answer.status_code for answer in answers} == {503}
        assert len(began) == 1
        end.set()
        async with asyncio.timeout(10):
            while (await running.client.get("/health/ready")).status_code != 200:
                await asyncio.sleep(0.01)


async def test_ready_turns_false_on_drain_and_requests_go_on(start: Any) -> None:
    async with start() as running:
        running.service.drain()
        ready = await running.client.get("/health/ready")
        embedded = await running.client.post("/embed", json={"inputs": "a"})
        metrics = (await running.client.get("/metrics")).text
    assert ready.status_code == 503
    assert embedded.status_code == 200
    assert "tyntegra_ready 0.0" in metrics


async def test_metrics_count_requests_by_route_template(start: Any) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        await running.client.get("/collections/a/documents/canary-id")
        await running.client.get("/canary-path")
        await running.client.request("CANARY", "/embed")
        await running.client.post("/embed", json={"inputs": ["ab", "c"]})
        response = await running.client.get("/metrics")
    lines = response.text.splitlines()
    assert response.headers["content-type"].startswith("text/plain")
    route = "/collections/{name}/documents/{doc_id:text}"
    for line in (
        f'tyntegra_http_requests_total{{method="GET",route="{route}",status="404"}} 1.0',
        'tyntegra_http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'tyntegra_http_requests_total{method="PUT",route="/collections/{name}",status="200"} 1.0',
        'tyntegra_http_request_seconds_count{route="/embed"} 2.0',
        'tyntegra_tokens_total{route="/embed"} 3.0',
        'tyntegra_texts_total{route="/embed"} 2.0',
        "tyntegra_queue_texts 0.0",
        "tyntegra_ready 1.0",
        'tyntegra_encoder_info{model="fake@000000000000",precision="fp32",'
        'provider="CPUExecutionProvider"} 1.0',
    ):
        assert line in lines
    assert "canary" not in response.text.lower()


async def test_info_shows_manifest_and_limits(start: Any) -> None:
    async with start(max_texts=7) as running:
        answer = (await running.client.get("/info")).json()
    assert (answer["manifest"]["name"], answer["manifest"]["dim"]) == ("fake", 32)
    assert answer["limits"]["max_texts"] == 7
    assert answer["limits"]["window_tokens"] == 100
    assert answer["provider"] == "CPUExecutionProvider"


async def test_ready_does_not_wait_for_a_busy_store(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    async with start(store_threads=1, store_waiting=0) as running:
        monkeypatch.setattr(running.store, "describe", lambda _: release.wait(10))
        busy = asyncio.create_task(running.client.get("/collections/a"))
        await asyncio.sleep(0.05)
        full = await running.client.get("/collections/a")
        ready = await running.client.get("/health/ready")
        release.set()
        busy.cancel()
    assert (full.status_code, ready.status_code) == (429, 200)


async def test_ready_is_false_when_the_store_hangs(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    monkeypatch.setattr(health, "STORE_TIMEOUT_S", 0.1)
    async with start() as running:
        monkeypatch.setattr(running.store, "collections", lambda: release.wait(10))
        ready = await running.client.get("/health/ready")
        live = await running.client.get("/health/live")
        release.set()
    assert (ready.status_code, live.status_code) == (503, 200)
