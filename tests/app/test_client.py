"""The client: calls, retries, deadline, errors; sync against a real socket, async in process."""

import inspect
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest

from app.client import AsyncClient, Client
from app.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    ServiceError,
)
from app.operations import document_path

Answer = Callable[[httpx.Request], httpx.Response]


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    body = {"type": f"urn:tyntegra:problem:{code}", "status": status, "detail": f"because {code}"}
    return httpx.Response(status, json=body, headers=headers)


def scripted(*answers: httpx.Response) -> tuple[Client, list[httpx.Request]]:
    """A client that is given one answer after another."""
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return answers[len(sent) - 1]

    return Client("http://x", transport=httpx.MockTransport(answer), timeout_s=3), sent


def test_client_retries_429_and_503_after_the_time_asked_for() -> None:
    fine = httpx.Response(200, json={"collections": [{"name": "a"}]})
    client, sent = scripted(
        problem(503, "not-ready", **{"Retry-After": "0"}),
        problem(429, "overloaded", **{"Retry-After": "1"}),
        fine,
    )
    began = time.monotonic()
    with client:
        assert client.collections() == [{"name": "a"}]
    assert len(sent) == 3
    assert 1.0 <= time.monotonic() - began < 3


def test_client_gives_up_before_its_deadline() -> None:
    client, sent = scripted(problem(429, "overloaded", **{"Retry-After": "60"}))
    began = time.monotonic()
    with client, pytest.raises(OverloadedError, match="because overloaded") as refusal:
        client.info()
    assert refusal.value.retry_after_s >= 60
    assert len(sent) == 1
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "not-found", NotFoundError),
        (409, "conflict", ConflictError),
        (422, "invalid-input", InvalidInputError),
        (401, "unauthorized", ServiceError),
    ],
)
def test_client_raises_what_the_problem_names_at_once(
    status: int, code: str, kind: type[ServiceError]
) -> None:
    client, sent = scripted(problem(status, code))
    with client, pytest.raises(kind, match=f"because {code}"):
        client.search("a", ["x"])
    assert len(sent) == 1


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b'{"type": 7}'])
def test_client_survives_an_answer_that_is_no_problem(content: bytes) -> None:
    client, _ = scripted(httpx.Response(502, content=content))
    with client, pytest.raises(ServiceError, match="502"):
        client.info()


def test_client_answer_that_is_no_json_says_where_it_came_from() -> None:
    client, _ = scripted(httpx.Response(200, content=b"<html>"))
    with client, pytest.raises(ServiceError, match="x answered 200 with something else than JSON"):
        client.info()


def test_client_without_a_service_says_how_to_start_one() -> None:
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(NotReadyError, match="tyntegra serve"),
    ):
        client.info()


def test_client_sends_its_key_and_bodies() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"results": [{"hits": []}]})

    with Client("http://x", key="k", transport=httpx.MockTransport(answer)) as client:
        assert client.search("a", ["q"], 3, lang=["eng_Latn"]) == [[]]
        client.search("a", ["q"])
    assert sent[0].headers["authorization"] == "Bearer k"
    assert json.loads(sent[0].content) == {
        "collection": "a",
        "queries": ["q"],
        "top_k": 3,
        "filter": {"lang": ["eng_Latn"]},
    }
    assert "filter" not in json.loads(sent[1].content)


def test_client_sends_search_options_and_reads_on() -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        more = None if "cursor" in sent[-1] else "more"
        return httpx.Response(200, json={"results": [{"hits": []}], "next": more})

    year = {"metadata": {"year": 1999}}
    with Client("http://x", transport=httpx.MockTransport(answer)) as client:
        client.search("a", ["q"], lang=["eng_Latn"], filter=year, mode="lexical", min_score=2)
        page = client.search_page("a", ["q"], 3, balance="calibrated", exact=True)
        last = client.search_page("a", ["q"], 3, cursor=page.next, balance="calibrated", exact=True)
    assert (page.results, page.next, last.next) == ([[]], "more", None)
    assert sent[0]["filter"] == {"lang": ["eng_Latn"], "and": [year]}
    assert (sent[0]["mode"], sent[0]["min_score"]) == ("lexical", 2)
    asked = {"collection": "a", "queries": ["q"], "top_k": 3, "exact": True}
    assert sent[1] == {**asked, "balance": "calibrated"}
    assert sent[2] == {**sent[1], "cursor": "more"}


@pytest.mark.parametrize("doc_id", ["a/b", ".", "..", "../..", "a b%", "日本?#", "\u0000"])
def test_document_path_survives_the_client_url(doc_id: str) -> None:
    request = httpx.Request("GET", "http://x" + document_path("a", doc_id))
    assert request.url.path == f"/collections/a/documents/{doc_id}"


@pytest.mark.anyio
async def test_async_client_walks_the_api(start: Any) -> None:
    async with start() as running:
        transport = httpx.ASGITransport(running.app)
        async with AsyncClient("http://localhost", transport=transport) as client:
            await client.create_collection("a")
            documents = [{"doc_id": str(n), "text": f"text {n}"} for n in range(3)]
            added = await client.add_documents("a", documents)
            vectors = await client.embed(["one", "two"], dimensions=8)
            hits = await client.search("a", ["text 1"], 2)
            bits = await client.embed(["one", "two"], output_type="ubinary")
            whole = await client.embed(["one", "x" * 250], "document", windows=True)
            assert (await client.document("a", "1"))["text"] == "text 1"
            await client.delete_document("a", "1")
            assert (await client.collections())[0]["documents"] == 2
            with pytest.raises(NotFoundError):
                await client.search("none", ["x"])
    assert added == 3
    assert vectors.shape == (2, 8)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert (bits.shape, bits.dtype, whole.shape) == ((2, 4), np.uint8, (2, 32))
    assert hits[0][0]["doc_id"] == "1"


@pytest.mark.anyio
async def test_async_client_retries(start: Any) -> None:
    answers = [problem(503, "not-ready", **{"Retry-After": "0"}), httpx.Response(200, json={})]
    transport = httpx.MockTransport(lambda _: answers.pop(0))
    async with AsyncClient("http://x", transport=transport) as client:
        assert await client.request("GET", "/info") == {}
    assert answers == []


def test_clients_have_the_same_methods_with_their_documentation() -> None:
    names = [name for name in vars(Client) if not name.startswith("_")]
    assert names == [name for name in vars(AsyncClient) if not name.startswith("_")]
    assert {"embed", "probe", "info"} <= set(names)
    for name in names:
        parameters = [inspect.signature(getattr(c, name)) for c in (Client, AsyncClient)]
        assert list(parameters[0].parameters) == list(parameters[1].parameters)
        assert getattr(AsyncClient, name).__doc__


def test_sync_client_walks_the_api(serving: Any) -> None:
    with serving() as live, Client(live.url) as client:
        client.create_collection("a")
        assert client.add_documents("a", [{"doc_id": "x/y", "text": "maji safi"}]) == 1
        assert client.document("a", "x/y")["text"] == "maji safi"
        assert client.embed(["a"]).shape == (1, 32)
        assert client.search("a", ["maji"])[0][0]["doc_id"] == "x/y"
        request = {"collection": "a", "queries": [{"query_id": "q", "text": "maji safi"}]}
        assert client.probe(request | {"attacks": ["typo"]})["results"][0]["query_id"] == "q"
        assert client.info()["model"] == "fake@000000000000"
        client.delete_document("a", "x/y")
        with pytest.raises(NotFoundError):
            client.document("a", "x/y")
        client.delete_collection("a")
        assert client.collections() == []


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_client_says_what_json_cannot_hold(score: float) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json={}))
    with (
        Client("http://x", transport=transport) as client,
        pytest.raises(InvalidInputError, match="what JSON cannot"),
    ):
        client.search("a", ["q"], min_score=score)
    with (
        Client("http://x", transport=transport) as client,
        pytest.raises(InvalidInputError, match="what JSON cannot"),
    ):
        client.search("a", ["\ud800"])
