"""POST /search."""

import asyncio
import time
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

TEXTS = {"en": "boil the water", "sw": "chemsha maji", "de": "das wasser kochen"}
LANGS = {"en": "eng_Latn", "sw": "swh_Latn", "de": "deu_Latn"}


async def fill(running: Any) -> None:
    await running.client.put("/collections/a")
    documents = [
        {"doc_id": key, "text": text, "lang": LANGS[key], "metadata": {"key": key}}
        for key, text in TEXTS.items()
    ]
    response = await running.client.post("/collections/a/documents", json={"documents": documents})
    assert response.status_code == 200


async def search(running: Any, **fields: Any) -> Any:
    return await running.client.post("/search", json={"collection": "a"} | fields)


async def test_search_text_of_a_document_finds_it_first(start: Any) -> None:
    async with start() as running:
        await fill(running)
        response = await search(running, queries=list(TEXTS.values()))
    answer = response.json()
    assert answer["model"] == "fake@000000000000"
    assert [result["query"] for result in answer["results"]] == list(TEXTS.values())
    firsts = [result["hits"][0] for result in answer["results"]]
    assert [hit["doc_id"] for hit in firsts] == list(TEXTS)
    first = firsts[1]
    assert first == {
        "rank": 1,
        "doc_id": "sw",
        "score": pytest.approx(1.0),
        "lang": "swh_Latn",
        "text": "chemsha maji",
        "metadata": {"key": "sw"},
    }
    assert [hit["rank"] for hit in answer["results"][0]["hits"]] == [1, 2, 3]


async def test_search_top_k_bounds_the_hits(start: Any) -> None:
    async with start() as running:
        await fill(running)
        answer = (await search(running, queries="boil", top_k=2)).json()
    assert len(answer["results"][0]["hits"]) == 2


async def test_search_filter_restricts_languages(start: Any) -> None:
    async with start() as running:
        await fill(running)
        lang = {"lang": ["swh_Latn", "deu_Latn"]}
        some = (await search(running, queries="boil the water", filter=lang)).json()
        any_lang = (await search(running, queries="x", filter={"lang": []})).json()
        null = (await search(running, queries="x", filter=None)).json()
    assert {hit["doc_id"] for hit in some["results"][0]["hits"]} == {"sw", "de"}
    assert len(any_lang["results"][0]["hits"]) == len(null["results"][0]["hits"]) == 3


async def test_search_missing_collection_costs_no_inference(start: Any) -> None:
    async with start() as running:
        response = await search(running, queries="!inference")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"queries": []}, 422),
        ({"queries": ["a"] * 65}, 422),
        ({"queries": "a", "top_k": 0}, 422),
        ({"queries": "a", "top_k": 1001}, 422),
        ({"queries": "a", "top_k": 1000}, 200),
        ({"queries": ["a"] * 5, "top_k": 1000}, 422),
        ({"queries": "a", "top_k": "10"}, 422),
        ({"queries": "a", "filter": {"lang": "eng_Latn"}}, 422),
        ({"queries": "a", "filter": {"lang": ["english"]}}, 422),
        ({"queries": "a", "filter": {"topic": ["x"]}}, 422),
        ({"queries": "a", "collection": "A/../b"}, 422),
        ({"queries": "a" * 8193}, 413),
        ({"queries": " "}, 422),
    ],
)
async def test_search_bounds(start: Any, fields: dict[str, Any], status: int) -> None:
    async with start() as running:
        await fill(running)
        response = await search(running, **fields)
    assert response.status_code == status


async def test_search_is_done_in_parts_and_ends_with_its_time(start: Any) -> None:
    async with start(request_timeout_s=0.3) as running:
        await fill(running)
        search_store, rows = running.store.search, []

        def slow(name: str, vectors: Any, *args: Any, **kwargs: Any) -> Any:
            rows.append(len(vectors))
            time.sleep(0.2 if len(rows) > 3 else 0)
            return search_store(name, vectors, *args, **kwargs)

        running.store.search = slow
        texts = [f"text {number}" for number in range(20)]
        whole = await search(running, queries=texts)
        assert rows == [8, 8, 4]
        late = await search(running, queries=texts * 3)
        asked = len(rows)
        await asyncio.sleep(0.5)
    assert [result["query"] for result in whole.json()["results"]] == texts
    assert late.status_code == 429
    assert len(rows) == asked <= 6
