"""What a collection declares and is bound to: fields, windows, encoder; and its name."""

from typing import Any

import pytest

from app.hidden import PREFIX
from app.retrieval.store import Options

pytestmark = pytest.mark.anyio

PATH = "/collections/a"
DECLARED = {"fields": {"year": "integer", "tag": "string"}, "windows": {"tokens": 16, "stride": 8}}


async def test_put_is_idempotent_and_a_conflict_otherwise(start: Any) -> None:
    async with start() as running:
        made = await running.client.put(PATH, json=DECLARED)
        again = await running.client.put(PATH, json=DECLARED)
        others = [
            await running.client.put(PATH, json=other)
            for other in (
                None,
                {},
                DECLARED | {"windows": None},
                DECLARED | {"windows": {"tokens": 16, "stride": 16}},
                DECLARED | {"fields": {"year": "number", "tag": "string"}},
            )
        ]
    assert made.status_code == again.status_code == 200
    assert made.json() == again.json()
    assert (made.json()["fields"], made.json()["windows"], made.json()["precision"]) == (
        DECLARED["fields"],
        DECLARED["windows"],
        "full",
    )
    assert [other.status_code for other in others] == [409] * 5
    assert (
        "tag (string), year (integer) and windows of 16 tokens every 8"
        in others[0].json()["detail"]
    )


@pytest.mark.parametrize(
    "body",
    [
        {"fields": {"": "string"}},
        {"fields": {"a.b": "string"}},
        {"fields": {"9a": "string"}},
        {"fields": {"canary\n": "string"}},
        {"fields": {"x" * 65: "string"}},
        {"fields": {"a": "date"}},
        {"fields": {"a": 1}},
        {"fields": []},
        {"fields": {f"f{n}": "string" for n in range(33)}},
        {"windows": {"tokens": 16}},
        {"windows": {"tokens": 7, "stride": 7}},
        {"windows": {"tokens": 101, "stride": 101}},
        {"windows": {"tokens": 16, "stride": 17}},
        {"windows": {"tokens": 80, "stride": 9}},
        {"windows": {"tokens": 16, "stride": 0}},
        {"windows": {"tokens": True, "stride": True}},
        {"windows": {"tokens": 16.0, "stride": 8}},
        {"windows": [16, 8]},
        {"dimensions": 3},
    ],
)
async def test_declaration_that_does_not_fit_is_refused(start: Any, body: dict[str, Any]) -> None:
    async with start() as running:
        response = await running.client.put(PATH, json=body)
    assert response.status_code == 422
    assert "canary" not in response.text
    assert running.store.made == {}


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [
        ("year", "1990", "string"),
        ("year", 1990.0, "number"),
        ("year", True, "boolean"),
        ("tag", 1, "number"),
    ],
)
async def test_value_of_another_type_is_named_with_document_and_field(
    start: Any, field: str, value: Any, kind: str
) -> None:
    documents = [
        {"doc_id": "a", "text": "t"},
        {"doc_id": "b", "text": "t", "metadata": {field: value}},
    ]
    async with start() as running:
        await running.client.put(PATH, json=DECLARED)
        response = await running.client.post(f"{PATH}/documents", json={"documents": documents})
        count = running.store.count("a")
    assert (response.status_code, count) == (422, 0)
    assert f"documents[1].metadata.{field} is a {kind}" in response.json()["detail"]
    assert DECLARED["fields"][field] in response.json()["detail"]


async def test_long_documents_are_split_and_may_be_longer(start: Any) -> None:
    text = " ".join(f"w{n}" for n in range(40))
    documents = {"documents": [{"doc_id": "a", "text": text}, {"doc_id": "b", "text": " x "}]}
    async with start(max_text_chars=100, max_document_chars=200) as running:
        await running.client.put(PATH, json=DECLARED)
        await running.client.put("/collections/whole")
        split = await running.client.post(f"{PATH}/documents", json=documents)
        whole = await running.client.post("/collections/whole/documents", json=documents)
        entries = running.store.made["a"].entries
        long = {"documents": [{"doc_id": "c", "text": "x " * 101 + "yz"}]}
        longer = await running.client.post(f"{PATH}/documents", json=long)
        hits = await running.client.post("/search", json={"collection": "a", "queries": "w20 w21"})
    assert split.json() == {"upserted": 2, "truncated": []}
    assert [whole.status_code, longer.status_code] == [413, 413]
    assert [text[a:b].split()[0] for a, b in entries["a"].spans] == ["w0", "w8", "w16", "w24"]
    assert entries["b"].spans == [(0, 3)]
    assert hits.json()["results"][0]["hits"][0]["doc_id"] == "a"


async def test_documents_of_too_many_passages_together_are_refused(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.adding.MOST_PASSAGES", 5)
    documents = [{"doc_id": str(n), "text": "w " * 40} for n in range(2)]
    async with start() as running:
        await running.client.put(PATH, json=DECLARED)
        response = await running.client.post(f"{PATH}/documents", json={"documents": documents})
    assert (response.status_code, running.store.made["a"].entries) == (413, {})
    assert "documents have 8 passages together" in response.json()["detail"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"precision": "int8"}, "precision full and int8"),
        ({"dim": 16}, "32 and 16 dimensions"),
        ({"model_id": "other@111111111111"}, "other@111111111111: another model"),
    ],
)
async def test_search_with_another_encoder_is_refused_and_says_what_differs(
    start: Any, change: dict[str, Any], said: str
) -> None:
    async with start() as running:
        await running.client.put(PATH)
        for name, value in change.items():
            setattr(running.encoder, name, value)
        searched = await running.client.post("/search", json={"collection": "a", "queries": "x"})
        put = await running.client.put(PATH)
        shown = await running.client.get(PATH)
    assert (searched.status_code, put.status_code) == (409, 409)
    assert said in searched.json()["detail"]
    assert "fake@000000000000" in searched.json()["detail"]
    assert "POST /collections/a/reindex" in searched.json()["detail"]
    assert shown.json()["searchable"] is False


async def test_search_with_another_prompt_is_refused(start: Any) -> None:
    async with start() as running:
        await running.client.put(PATH)
        running.encoder.manifest.prompts.document = "passage: "
        response = await running.client.post("/search", json={"collection": "a", "queries": "x"})
    assert response.status_code == 409
    assert "prompt" in response.json()["detail"]


async def test_collection_whose_binding_is_not_known_fits(start: Any) -> None:
    async with start() as running:
        running.store.create("a", 32, "fake@000000000000", Options())
        put = await running.client.put(PATH)
        searched = await running.client.post("/search", json={"collection": "a", "queries": "x"})
    assert (put.status_code, put.json()["precision"], searched.status_code) == (200, None, 200)


async def test_fp16_may_search_what_fp32_filled(start: Any) -> None:
    async with start() as running:
        await running.client.put(PATH)
        running.encoder.precision = "fp16"
        response = await running.client.post("/search", json={"collection": "a", "queries": "x"})
    assert response.status_code == 200


async def test_hidden_collections_are_nobodys(start: Any) -> None:
    name = f"{PREFIX}reindex-0"
    async with start(max_collections=1) as running:
        client = running.client
        running.store.create(name, 32, "fake@000000000000")
        answers = [
            await client.put(f"/collections/{name}"),
            await client.get(f"/collections/{name}"),
            await client.delete(f"/collections/{name}"),
            await client.get(f"/collections/{name}/documents"),
            await client.post("/search", json={"collection": name, "queries": "x"}),
        ]
        listed = (await client.get("/collections")).json()["collections"]
        ready = (await client.get("/health/ready")).json()["collections"]
        created = await client.put(PATH)
    assert [answer.status_code for answer in answers] == [422] * 5
    assert (listed, ready, created.status_code) == ([], {}, 200)


async def test_ready_says_why_the_disk_takes_nothing(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.health.LEAST_FREE_BYTES", 1 << 62)
    async with start() as running:
        response = await running.client.get("/health/ready")
    assert response.status_code == 200
    assert "free some space" in response.json()["storage"]
