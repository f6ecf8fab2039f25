"""Documents by the many: read, delete by name and by filter, export."""

import json
from typing import Any

import pytest

from app.api import many
from app.errors import StoreError

pytestmark = pytest.mark.anyio

PATH = "/collections/a/documents"
DOCUMENTS = [
    {"doc_id": "a/b", "text": "maji \u2028 safi", "lang": "swh_Latn", "metadata": {"year": 1990}},
    {"doc_id": "é", "text": "water", "lang": "eng_Latn", "metadata": {"year": 2000, "new": True}},
    {"doc_id": "z", "text": "eau", "lang": None, "metadata": {}},
]


async def filled(running: Any) -> Any:
    await running.client.put("/collections/a")
    await running.client.post(PATH, json={"documents": DOCUMENTS})
    return running.client


async def test_several_are_read_in_the_order_asked_for(start: Any) -> None:
    async with start() as running:
        client = await filled(running)
        body = {"doc_ids": ["z", "none", "a/b", "z"]}
        response = await client.post(f"{PATH}/get", json=body)
    found = [DOCUMENTS[2], DOCUMENTS[0], DOCUMENTS[2]]
    assert response.json() == {"documents": found, "missing": ["none"]}


async def test_several_are_deleted_by_name(start: Any) -> None:
    async with start() as running:
        client = await filled(running)
        body = {"doc_ids": ["z", "none", "a/b", "z"]}
        first = await client.post(f"{PATH}/delete", json=body)
        second = await client.post(f"{PATH}/delete", json=body)
    assert (first.json(), second.json()) == ({"deleted": 2}, {"deleted": 0})
    assert list(running.store.made["a"].entries) == ["é"]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({"lang": ["swh_Latn", "eng_Latn"]}, ["z"]),
        ({"metadata": {"year": {"gte": 1995}}}, ["a/b", "z"]),
        ({"metadata": {"new": True}, "lang": ["swh_Latn"]}, ["a/b", "z", "é"]),
        ({"not": {"doc_id": ["z"]}}, ["z"]),
    ],
)
async def test_those_that_satisfy_a_filter_are_deleted(
    start: Any, where: dict[str, Any], left: list[str]
) -> None:
    async with start() as running:
        client = await filled(running)
        response = await client.post(f"{PATH}/delete", json={"filter": where})
    assert response.json() == {"deleted": 3 - len(left)}
    assert sorted(running.store.made["a"].entries) == sorted(left)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filter": {}},
        {"filter": {"lang": []}},
        {"filter": None},
        {"doc_ids": [], "filter": {"lang": ["eng_Latn"]}},
        {"doc_ids": ["a"], "filter": {"lang": ["eng_Latn"]}},
        {"doc_ids": []},
        {"doc_ids": "z"},
        {"doc_ids": ["é" * 300]},
        {"filter": {"not": {}}},
        {"all": True},
    ],
)
async def test_deletion_that_might_mean_everything_is_refused(
    start: Any, body: dict[str, Any]
) -> None:
    async with start() as running:
        client = await filled(running)
        response = await client.post(f"{PATH}/delete", json=body)
        count = running.store.count("a")
    assert (response.status_code, count) == (422, 3)


async def test_several_are_bounded_in_number(start: Any) -> None:
    async with start(max_documents=2) as running:
        await running.client.put("/collections/a")
        response = await running.client.post(f"{PATH}/get", json={"doc_ids": ["a", "b", "c"]})
    assert response.status_code == 422


async def test_a_missing_collection_is_not_found(start: Any) -> None:
    async with start() as running:
        client = running.client
        answers = [
            await client.post(f"{PATH}/get", json={"doc_ids": ["a"]}),
            await client.post(f"{PATH}/delete", json={"doc_ids": ["a"]}),
            await client.get(PATH),
        ]
    assert [answer.status_code for answer in answers] == [404, 404, 404]


async def test_export_can_be_added_again(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "PAGE", 2)
    async with start() as running:
        client = await filled(running)
        exported = await client.get(PATH)
        await client.put("/collections/b")
        headers = {"content-type": exported.headers["content-type"]}
        added = await client.post(
            "/collections/b/documents", content=exported.content, headers=headers
        )
        again = await client.get("/collections/b/documents")
    lines = [json.loads(line) for line in exported.content.split(b"\n") if line]
    assert {line["doc_id"]: line for line in lines} == {one["doc_id"]: one for one in DOCUMENTS}
    assert json.loads(added.text.splitlines()[-1])["stored"] == 3
    assert again.content == exported.content


async def test_export_of_nothing_is_empty(start: Any) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        response = await running.client.get(PATH)
    assert (response.status_code, response.content) == (200, b"")


async def test_export_that_fails_breaks_off(start: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "PAGE", 2)
    async with start() as running:
        client = await filled(running)
        scan = running.store.scan

        def fails(name: str, after: str | None, limit: int) -> Any:
            if after is not None:
                raise StoreError("gone")
            return scan(name, after, limit)

        monkeypatch.setattr(running.store, "scan", fails)
        response = await client.get(PATH)
    lines = response.content.split(b"\n")
    assert len([line for line in lines if line]) == 2
