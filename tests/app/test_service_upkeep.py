"""Reindex, snapshots and uploads with the embedded engine itself, restarts included."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.state import Openers
from app.hidden import PREFIX
from app.main import create_app, open_store
from app.settings import Settings

pytestmark = pytest.mark.anyio

LONG = " ".join(f"word{n}" for n in range(40))
DOCUMENTS = [
    {"doc_id": "long", "text": LONG, "lang": "eng_Latn", "metadata": {"year": 2001}},
    {
        "doc_id": "sw",
        "text": "Chemsha maji kwanza.",
        "lang": "swh_Latn",
        "metadata": {"year": 1990},
    },
    *({"doc_id": f"d{n}", "text": f"text number {n}"} for n in range(600)),
]
NDJSON = {"content-type": "application/x-ndjson"}


@asynccontextmanager
async def serving(state: Path, encoder: Any) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate({"state": state, "demo": False, "log": "error"})
    app = create_app(settings, openers=Openers(lambda _: encoder, open_store))
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with asyncio.timeout(30):
                while app.state.service.phase == "starting":
                    await asyncio.sleep(0.01)
            yield client


async def fill(client: httpx.AsyncClient, **declared: Any) -> None:
    assert (await client.put("/collections/a", json=declared)).status_code == 200
    body = "\n".join(map(json.dumps, DOCUMENTS)).encode()
    uploaded = await client.post("/collections/a/documents", content=body, headers=NDJSON)
    assert json.loads(uploaded.text.splitlines()[-1])["stored"] == len(DOCUMENTS)


async def search(client: httpx.AsyncClient, query: str) -> httpx.Response:
    return await client.post("/search", json={"collection": "a", "queries": query, "top_k": 3})


async def ended(client: httpx.AsyncClient) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            progress = (await client.get("/collections/a/reindex")).json()
            if progress["state"] not in ("waiting", "running"):
                return progress
            await asyncio.sleep(0.02)


async def test_other_encoder_is_refused_until_the_collection_is_reindexed(
    tmp_path: Path, fakes_module: Any
) -> None:
    encoder, _ = fakes_module()
    async with serving(tmp_path, encoder) as client:
        await fill(client, fields={"year": "integer"}, windows={"tokens": 16, "stride": 8})
    encoder.model_id = "newer@111111111111"
    async with serving(tmp_path, encoder) as client:
        refused = await search(client, "maji")
        shown = (await client.get("/collections/a")).json()
        begun = await client.post("/collections/a/reindex")
        progress = await ended(client)
        found = await search(client, "Chemsha maji kwanza.")
        after = (await client.get("/collections/a")).json()
        ready = (await client.get("/health/ready")).json()
    assert refused.status_code == 409
    for said in ("fake@000000000000", "newer@111111111111", "/collections/a/reindex"):
        assert said in refused.json()["detail"]
    assert (shown["searchable"], shown["languages"]) == (
        False,
        {"": 600, "eng_Latn": 1, "swh_Latn": 1},
    )
    assert begun.status_code == 202
    assert (progress["state"], progress["done"]) == ("done", len(DOCUMENTS))
    assert found.json()["results"][0]["hits"][0]["doc_id"] == "sw"
    assert (after["model"], after["searchable"]) == ("newer@111111111111", True)
    assert (after["fields"], after["windows"]) == (
        {"year": "integer"},
        {"tokens": 16, "stride": 8},
    )
    assert ready["collections"] == {"a": len(DOCUMENTS)}


async def test_reindex_goes_on_after_the_service_ended(tmp_path: Path, fakes_module: Any) -> None:
    encoder, _ = fakes_module()
    encode = encoder.encode

    def slowly(texts: Sequence[str], *args: Any, **kwargs: Any) -> Any:
        time.sleep(0.3)
        return encode(texts, *args, **kwargs)

    async with serving(tmp_path, encoder) as client:
        await fill(client)
        encoder.encode = slowly
        await client.post("/collections/a/reindex", json={"windows": {"tokens": 16, "stride": 16}})
        written = await client.delete("/collections/a/documents/sw")
        listed = (await client.get("/collections")).json()["collections"]
    assert written.status_code == 204
    assert [each["name"] for each in listed] == ["a"]
    assert [path.name for path in (tmp_path / ".reindex").iterdir()] == ["a.json"]
    encoder.encode = encode
    async with serving(tmp_path, encoder) as client:
        assert (await ended(client))["state"] == "done"
        assert (await client.get("/collections/a")).json()["windows"]["tokens"] == 16
        assert (await client.get("/collections/a/documents/sw")).status_code == 404
        assert (await client.delete("/collections/a/documents/d7")).status_code == 204
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(PREFIX)]


async def test_snapshot_is_put_in_the_place_of_its_collection(
    tmp_path: Path, fakes_module: Any
) -> None:
    encoder, _ = fakes_module()
    async with serving(tmp_path, encoder) as client:
        await fill(client)
        made = (await client.post("/collections/a/snapshots")).json()
        where = {"filter": {"not": {"lang": ["swh_Latn"]}}}
        deleted = await client.post("/collections/a/documents/delete", json=where)
        path = f"/collections/a/snapshots/{made['name']}/restore"
        kept = await client.post(path)
        replaced = await client.post(path, json={"replace": True})
        found = await search(client, "text number 7")
    assert deleted.json() == {"deleted": len(DOCUMENTS) - 1}
    assert (kept.status_code, replaced.status_code) == (409, 200)
    assert replaced.json()["documents"] == len(DOCUMENTS)
    assert found.json()["results"][0]["hits"][0]["doc_id"] == "d7"
    async with serving(tmp_path, encoder) as client:
        assert (await client.get("/collections/a")).json()["documents"] == len(DOCUMENTS)
        assert (await client.get("/collections/a/snapshots")).json()["snapshots"] == [made]


async def test_damage_is_reported_by_readiness_and_the_rest_is_served(
    tmp_path: Path, fakes_module: Any
) -> None:
    encoder, _ = fakes_module()
    async with serving(tmp_path, encoder) as client:
        await fill(client)
        await client.put("/collections/b")
    (tmp_path / "b" / "collection.json").write_text("{")
    async with serving(tmp_path, encoder) as client:
        ready = await client.get("/health/ready")
        listed = (await client.get("/collections")).json()
        searched = await client.post("/search", json={"collection": "b", "queries": "x"})
        found = await search(client, "text number 7")
        gone = await client.delete("/collections/b")
        after = (await client.get("/health/ready")).json()
    assert ready.status_code == 200
    assert list(ready.json()["unavailable"]) == list(listed["unavailable"]) == ["b"]
    assert "collection.json" in ready.json()["unavailable"]["b"]
    assert searched.status_code == 503
    assert found.status_code == 200
    assert (gone.status_code, after["unavailable"]) == (204, {})
