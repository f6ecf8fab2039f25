"""/collections and the documents in them."""

from typing import Any
from urllib.parse import quote

import pytest

pytestmark = pytest.mark.anyio

DOCUMENTS = [
    {"doc_id": "en", "text": "Boil the water first.", "lang": "eng_Latn"},
    {"doc_id": "sw", "text": "Chemsha maji kwanza.", "lang": "swh_Latn", "metadata": {"n": 1}},
]


async def test_collection_is_created_once_described_listed_and_deleted(start: Any) -> None:
    async with start() as running:
        client = running.client
        created = await client.put("/collections/a")
        again = await client.put("/collections/a", json={})
        described = await client.get("/collections/a")
        listed = await client.get("/collections")
        deleted = await client.delete("/collections/a")
        gone = await client.get("/collections/a")
        gone_again = await client.delete("/collections/a")
    expected = {"name": "a", "dimensions": 32, "model": "fake@000000000000", "documents": 0}
    expected |= {"precision": "full", "fields": {}, "windows": None}
    detail = {"languages": {}, "bytes": 0, "searchable": True, "reindex": None}
    assert created.json() == again.json() == expected
    assert described.json() == expected | detail
    assert listed.json() == {"collections": [expected], "unavailable": {}}
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (gone.status_code, gone_again.status_code) == (404, 404)


@pytest.mark.parametrize("name", ["A", "-a", "a.b", "a" * 65, "a%20b", "%00", "é", "..%2f"])
async def test_collection_name_outside_the_pattern_is_refused(start: Any, name: str) -> None:
    async with start() as running:
        response = await running.client.put(f"/collections/{name}")
    assert response.status_code in (404, 422)
    assert running.store.made == {}


async def test_collection_body_with_fields_is_refused(start: Any) -> None:
    async with start() as running:
        response = await running.client.put("/collections/a", json={"dimensions": 3})
    assert response.status_code == 422
    assert running.store.made == {}


async def test_collections_are_bounded(start: Any) -> None:
    async with start(max_collections=1) as running:
        statuses = [
            (await running.client.put(f"/collections/{name}")).status_code for name in "aab"
        ]
    assert statuses == [200, 200, 409]


async def test_documents_are_added_replaced_read_and_deleted(start: Any) -> None:
    path = "/collections/a/documents"
    async with start() as running:
        client = running.client
        await client.put("/collections/a")
        added = await client.post(path, json={"documents": DOCUMENTS})
        replaced = await client.post(path, json={"documents": [DOCUMENTS[0] | {"text": "x" * 101}]})
        count = (await client.get("/collections/a")).json()["documents"]
        read = await client.get(f"{path}/sw")
        deleted = await client.delete(f"{path}/sw")
        gone = await client.get(f"{path}/sw")
        gone_again = await client.delete(f"{path}/sw")
    assert added.json() == {"upserted": 2, "truncated": []}
    assert replaced.json() == {"upserted": 1, "truncated": ["en"]}
    assert count == 2
    assert read.json() == {"lang": None, "metadata": {}} | DOCUMENTS[1]
    assert deleted.status_code == 204
    assert (gone.status_code, gone_again.status_code) == (404, 404)


async def test_documents_for_a_missing_collection_are_refused_with_the_remedy(start: Any) -> None:
    async with start() as running:
        response = await running.client.post(
            "/collections/a/documents", json={"documents": DOCUMENTS}
        )
    assert response.status_code == 404
    assert "PUT /collections/a" in response.json()["detail"]


async def test_documents_of_another_encoder_are_a_conflict(start: Any) -> None:
    async with start() as running:
        running.store.create("a", 32, "other@111111111111")
        responses = [
            await running.client.post("/collections/a/documents", json={"documents": DOCUMENTS}),
            await running.client.post("/search", json={"collection": "a", "queries": "x"}),
            await running.client.put("/collections/a"),
        ]
    assert [response.status_code for response in responses] == [409, 409, 409]


@pytest.mark.parametrize(
    "doc_id",
    [
        *("a/b", "/", "//x", "..", ".", "a b", "%", "%2F", "?q=1#f", "\u0000", "\u202e", "日本"),
        *("a\nb", "\n", "a\n", "\r\nX: y", "\u2028a\x85", "a+b;c", "😀" * 128, "x" * 512),
    ],
)
async def test_document_name_may_hold_any_characters(start: Any, doc_id: str) -> None:
    path = f"/collections/a/documents/{quote(doc_id, safe='').replace('.', '%2E')}"
    async with start() as running:
        await running.client.put("/collections/a")
        body = {"documents": [{"doc_id": doc_id, "text": "text"}]}
        added = await running.client.post("/collections/a/documents", json=body)
        read = await running.client.get(path)
        deleted = await running.client.delete(path)
    assert added.status_code == 200
    assert read.json()["doc_id"] == doc_id
    assert deleted.status_code == 204


@pytest.mark.parametrize("encoded", ["%FF", "a%C3", "%ED%A0%80", "", "x" * 513])
async def test_document_name_that_is_no_utf8_or_has_no_fit_is_refused(
    start: Any, encoded: str
) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        body = {"documents": [{"doc_id": "\ufffd", "text": "text"}]}
        await running.client.post("/collections/a/documents", json=body)
        response = await running.client.delete(f"/collections/a/documents/{encoded}")
        left = await running.client.get("/collections/a")
    assert response.status_code == 422
    assert left.json()["documents"] == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"doc_id": ""}, "#/documents/0/doc_id"),
        ({"doc_id": 1}, "#/documents/0/doc_id"),
        ({"lang": "sw"}, "#/documents/0/lang"),
        ({"lang": "swh_Latn\n"}, "#/documents/0/lang"),
        ({"metadata": []}, "#/documents/0/metadata"),
        ({"metadata": {"canary-key": None}}, "#/documents/0/metadata"),
        ({"metadata": {"canary-key": {"a": 1}}}, "#/documents/0/metadata"),
        ({"metadata": {"": 1}}, "#/documents/0/metadata"),
        ({"metadata": {"a": 2**63}}, "#/documents/0/metadata"),
        ({"metadata": {str(n): n for n in range(65)}}, "#/documents/0/metadata"),
        ({"metadata": {"a": "x" * 4097}}, "#/documents/0/metadata"),
        ({"canary-field": 1}, "#/documents/0"),
    ],
)
async def test_document_field_that_does_not_fit_is_pointed_at(
    start: Any, change: dict[str, Any], pointer: str
) -> None:
    body = {"documents": [{"doc_id": "a", "text": "text"} | change]}
    async with start() as running:
        await running.client.put("/collections/a")
        response = await running.client.post("/collections/a/documents", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == pointer
    assert "canary" not in response.text


async def test_metadata_keeps_its_types(start: Any) -> None:
    metadata = {"a": "x", "b": 1, "c": 1.5, "d": True, "e": -(2**63), "f": 0.0}
    body = {"documents": [{"doc_id": "a", "text": "text", "metadata": metadata}]}
    async with start() as running:
        await running.client.put("/collections/a")
        await running.client.post("/collections/a/documents", json=body)
        read = (await running.client.get("/collections/a/documents/a")).json()["metadata"]
    assert read == metadata
    assert [type(value) for value in read.values()] == [str, int, float, bool, int, float]


async def test_documents_are_bounded_in_number_and_length(start: Any) -> None:
    async with start(max_documents=2, max_text_chars=16) as running:
        await running.client.put("/collections/a")
        statuses = [
            (
                await running.client.post(
                    "/collections/a/documents",
                    json={"documents": [{"doc_id": str(n), "text": text} for n in range(number)]},
                )
            ).status_code
            for number, text in ((0, "a"), (2, "a"), (3, "a"), (1, "a" * 17), (1, " "))
        ]
    assert statuses == [422, 200, 422, 413, 422]


@pytest.mark.parametrize(("chars", "status"), [(4094, 200), (4095, 422)])
async def test_metadata_is_bounded_as_a_whole(start: Any, chars: int, status: int) -> None:
    metadata = {"a": "é" * 4095, "b": "é" * chars, "c": 1}  # 3 keys: 8,193 is one too many
    body = {"documents": [{"doc_id": "a", "text": "text", "metadata": metadata}]}
    async with start() as running:
        await running.client.put("/collections/a")
        response = await running.client.post("/collections/a/documents", json=body)
    assert response.status_code == status
