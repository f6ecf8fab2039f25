"""Reindex and snapshots over HTTP: statuses, what writes are told, names that lead nowhere."""

import asyncio
import errno
import json
import threading
from pathlib import Path
from typing import Any

import pytest

from app.errors import StoreError

pytestmark = pytest.mark.anyio

PATH = "/collections/a"
DOCUMENTS = [{"doc_id": f"d{n}", "text": f"text number {n}"} for n in range(20)]
CHANGED = {"doc_id": "d3", "text": "changed meanwhile"}
NAME = "20261125t101500z-0123ab"


async def filled(running: Any) -> Any:
    await running.client.put(PATH)
    await running.client.post(f"{PATH}/documents", json={"documents": DOCUMENTS})
    return running.client


async def ended(client: Any) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            progress = (await client.get(f"{PATH}/reindex")).json()
            if progress["state"] not in ("waiting", "running"):
                return progress
            await asyncio.sleep(0.005)


async def test_reindex_is_shown_and_writes_go_on(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    async with start() as running:
        client = await filled(running)
        encode = running.encoder.encode

        def slowly(*args: Any, **kwargs: Any) -> Any:
            if threading.current_thread().name.startswith("reindex"):
                go_on.wait(10)
            return encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode", slowly)
        never = await client.get(f"{PATH}/reindex")
        begun = await client.post(f"{PATH}/reindex")
        again = await client.post(f"{PATH}/reindex", json={"windows": None})
        shown = (await client.get(PATH)).json()["reindex"]
        metrics = (await client.get("/metrics")).text
        ndjson = {"content-type": "application/x-ndjson"}
        line = b'{"doc_id": "new", "text": "by a line"}'
        written = [
            await client.post(f"{PATH}/documents", json={"documents": [CHANGED]}),
            await client.post(f"{PATH}/documents", content=line, headers=ndjson),
            await client.delete(f"{PATH}/documents/d1"),
            await client.post(f"{PATH}/documents/delete", json={"doc_ids": ["d2"]}),
            await client.post(f"{PATH}/documents/delete", json={"filter": {"lang": ["eng_Latn"]}}),
        ]
        searched = await client.post("/search", json={"collection": "a", "queries": "text"})
        go_on.set()
        last = await ended(client)
        listed = (await client.get(f"{PATH}/documents")).text.splitlines()
    assert never.status_code == 404
    assert (begun.status_code, again.status_code) == (202, 202)
    assert begun.json()["started"] == again.json()["started"]
    assert "tyntegra_reindex_documents_left 20.0" in metrics
    assert (shown["total"], shown["state"] in ("waiting", "running")) == (20, True)
    assert [response.status_code for response in written] == [200, 200, 204, 200, 200]
    assert searched.status_code == 200
    assert (last["state"], last["done"], last["error"]) == ("done", last["total"], None)
    found = {each["doc_id"]: each["text"] for each in map(json.loads, listed)}
    expected = {each["doc_id"]: each["text"] for each in [*DOCUMENTS, CHANGED]}
    del expected["d1"], expected["d2"]
    assert found == expected | {"new": "by a line"}
    assert last["ended"].endswith("+00:00")


async def test_reindex_changes_what_is_declared(start: Any) -> None:
    async with start() as running:
        client = await filled(running)
        declared = {"fields": {"year": "integer"}, "windows": {"tokens": 16, "stride": 16}}
        await client.post(f"{PATH}/reindex", json=declared)
        await ended(client)
        changed = (await client.get(PATH)).json()
        await client.post(f"{PATH}/reindex", json={"windows": None})
        await ended(client)
        back = (await client.get(PATH)).json()
    assert (changed["fields"], changed["windows"]) == tuple(declared.values())
    assert (back["fields"], back["windows"]) == (declared["fields"], None)


@pytest.mark.parametrize("media_type", ["application/json", "application/x-ndjson"])
async def test_documents_on_their_way_when_it_ends_fit_what_is_there_then(
    start: Any, monkeypatch: pytest.MonkeyPatch, media_type: str
) -> None:
    long = {"doc_id": "long", "text": " ".join(f"w{n}" for n in range(60))}
    async with start() as running:
        client = await filled(running)
        encode = running.encoder.encode_async
        prepared, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(*args: Any, **kwargs: Any) -> Any:
            prepared.set()
            await go_on.wait()
            return await encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode_async", slowly)
        body = {"documents": [long]} if media_type == "application/json" else long
        sent = asyncio.create_task(
            client.post(
                f"{PATH}/documents",
                content=json.dumps(body).encode(),
                headers={"content-type": media_type},
            )
        )
        await prepared.wait()
        await client.post(f"{PATH}/reindex", json={"windows": {"tokens": 16, "stride": 16}})
        last = await ended(client)
        go_on.set()
        answer = await sent
        page = running.store.scan("a", None, 100)
    assert (last["state"], answer.status_code) == ("done", 200)
    spans = dict(zip([one.doc_id for one in page.documents], page.spans, strict=True))
    assert len(spans["long"]) > 1  # split as the new options say
    assert len(spans) == 21


async def test_reindex_whose_fields_do_not_fit_fails_and_says_where(start: Any) -> None:
    async with start() as running:
        client = await filled(running)
        odd = {"doc_id": "odd", "text": "t", "metadata": {"year": "old"}}
        await client.post(f"{PATH}/documents", json={"documents": [odd]})
        await client.post(f"{PATH}/reindex", json={"fields": {"year": "integer"}})
        last = await ended(client)
        kept = (await client.get(PATH)).json()
    assert last["state"] == "failed"
    assert "'odd'" in last["error"]
    assert "integer" in last["error"]
    assert (kept["fields"], kept["documents"]) == ({}, 21)


async def test_reindex_cancelled_can_be_written_to_at_once(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as running:
        client = await filled(running)
        encode = running.encoder.encode
        slow = threading.Event()

        def slowly(*args: Any, **kwargs: Any) -> Any:
            slow.wait(0.2)
            return encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode", slowly)
        await client.post(f"{PATH}/reindex", json={"windows": {"tokens": 16, "stride": 8}})
        cancelled = await client.delete(f"{PATH}/reindex")
        written = await client.delete(f"{PATH}/documents/d1")
        twice = await client.delete(f"{PATH}/reindex")
        state = (await client.get(f"{PATH}/reindex")).json()["state"]
        windows = (await client.get(PATH)).json()["windows"]
    assert (cancelled.status_code, written.status_code, twice.status_code) == (204, 204, 404)
    assert (state, windows) == ("cancelled", None)


@pytest.mark.parametrize(
    "body",
    [
        {"windows": {"tokens": 1000, "stride": 1000}},
        {"windows": {"tokens": 16, "stride": 1}},
        {"fields": {"a.b": "string"}},
        {"model": "x"},
    ],
)
async def test_reindex_that_cannot_be_is_refused(start: Any, body: dict[str, Any]) -> None:
    async with start() as running:
        client = await filled(running)
        response = await client.post(f"{PATH}/reindex", json=body)
        missing = await client.post("/collections/b/reindex")
    assert (response.status_code, missing.status_code) == (422, 404)


async def test_collection_deleted_while_encoded_anew_is_gone(start: Any) -> None:
    async with start() as running:
        client = await filled(running)
        await client.post(f"{PATH}/reindex")
        deleted = await client.delete(PATH)
        running.service.guard.settle("a", 5)
        names = list(running.store.made)
    assert (deleted.status_code, names) == (204, [])


async def test_snapshots_are_made_listed_restored_and_deleted(start: Any) -> None:
    async with start() as running:
        client = await filled(running)
        made = await client.post(f"{PATH}/snapshots")
        name = made.json()["name"]
        await client.delete(PATH)
        listed = (await client.get(f"{PATH}/snapshots")).json()["snapshots"]
        restored = await client.post(f"{PATH}/snapshots/{name}/restore")
        beside = await client.post(f"{PATH}/snapshots/{name}/restore", json={"collection": "b"})
        deleted = await client.delete(f"{PATH}/snapshots/{name}")
        gone = await client.delete(f"{PATH}/snapshots/{name}")
    assert (made.status_code, made.json()["documents"]) == (201, 20)
    assert listed == [made.json()]
    assert (restored.json()["documents"], beside.json()["name"]) == (20, "b")
    assert (deleted.status_code, gone.status_code) == (204, 404)


@pytest.mark.parametrize(
    "name", ["%2e%2e", "..%2f..", "x", NAME + "x", NAME[:-1], "%00", NAME.upper()]
)
async def test_snapshot_of_a_strange_name_leads_nowhere(start: Any, name: str) -> None:
    async with start() as running:
        client = await filled(running)
        answers = [
            await client.post(f"{PATH}/snapshots/{name}/restore"),
            await client.delete(f"{PATH}/snapshots/{name}"),
        ]
    assert all(answer.status_code in (404, 405, 422) for answer in answers)


async def test_restore_is_refused_where_it_would_do_harm(start: Any) -> None:
    async with start(max_collections=1) as running:
        client = await filled(running)
        name = (await client.post(f"{PATH}/snapshots")).json()["name"]
        path = f"{PATH}/snapshots/{name}/restore"
        answers = [
            await client.post(path),
            await client.post(path, json={"collection": "b"}),
            await client.post(path, json={"collection": "tyntegra--x"}),
            await client.post(path, json={"replace": 1}),
            await client.post(f"{PATH}/snapshots/{NAME}/restore"),
            await client.post(path, json={"replace": True}),
        ]
    assert [answer.status_code for answer in answers] == [409, 409, 422, 422, 404, 200]


async def test_snapshot_on_a_full_disk_is_a_503_with_the_reason(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    def failed(name: str, target: Path) -> Path:
        raise StoreError("2 MiB are free.")

    async with start() as running:
        client = await filled(running)
        monkeypatch.setattr(running.store, "snapshot", full)
        first = await client.post(f"{PATH}/snapshots")
        monkeypatch.setattr(running.store, "snapshot", failed)
        second = await client.post(f"{PATH}/snapshots")
        listed = (await client.get(f"{PATH}/snapshots")).json()
    assert (first.status_code, second.status_code) == (503, 503)
    assert "No space left" in first.json()["detail"]
    assert listed == {"snapshots": []}


async def test_snapshots_wait_for_each_other_within_bounds(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    async with start() as running:
        client = await filled(running)
        snapshot = running.store.snapshot

        def slowly(name: str, target: Path) -> Path:
            go_on.wait(10)
            return snapshot(name, target)

        monkeypatch.setattr(running.store, "snapshot", slowly)
        asked = [asyncio.create_task(client.post(f"{PATH}/snapshots")) for _ in range(7)]
        async with asyncio.timeout(10):
            while sum(each.done() for each in asked) < 2:
                await asyncio.sleep(0.005)
        searched = await client.post("/search", json={"collection": "a", "queries": "text"})
        go_on.set()
        statuses = sorted([(await each).status_code for each in asked])
    assert searched.status_code == 200
    assert statuses == [201] * 5 + [429] * 2
