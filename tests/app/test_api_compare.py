"""POST /probe/compare, and the services that it asks."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

import app.api.compare as compare_api
import app.probing.endpoint as endpoint
from app.errors import InvalidInputError, NotReadyError
from app.probing.endpoint import Endpoint

from .conftest import fake_encode
from .test_api_probe import TEXTS, fill
from .test_api_replay import report_of

pytestmark = pytest.mark.anyio


class Rotated:
    """A service with /v1/embeddings, whose vectors are those of the fake, in another space."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        turn = np.random.default_rng(0).normal(size=(32, 32))
        self.turn = np.linalg.qr(turn)[0].astype(np.float32)
        self.answer: Callable[[httpx.Request], httpx.Response] | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.answer:
            return self.answer(request)
        body = orjson.loads(request.content)
        self.asked += body["input"]
        rows = 3.0 * fake_encode(body["input"]) @ self.turn
        data = [
            {"index": n, "embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()}
            for n, row in enumerate(rows)
        ]
        return httpx.Response(200, json={"data": data[::-1], "model": body["model"]})


@pytest.fixture
def rotated(monkeypatch: pytest.MonkeyPatch) -> Rotated:
    other = Rotated()
    made: Any = httpx.Client
    transport = httpx.MockTransport(other)
    monkeypatch.setattr(
        endpoint.httpx, "Client", lambda **given: made(**given | {"transport": transport})
    )
    return other


async def compare(running: Any, second: dict[str, Any], **body: Any) -> Any:
    sides = {"first": {"collection": "a"}, "second": second}
    return await running.client.post("/probe/compare", json=sides | body)


async def test_compare_with_an_endpoint_of_the_same_geometry_finds_the_same(
    start: Any, rotated: Rotated
) -> None:
    url = "http://other.example:9000"
    async with start(probe_endpoints=f"{url}/, https://b.example") as running:
        await fill(running)
        report = await report_of(running)
        response = await compare(
            running, {"collection": "a", "endpoint": url, "model": "m"}, report=report
        )
    answer = response.json()
    assert response.status_code == 200, answer
    assert answer["second"]["model"] == "m"
    ranks = [[one["rank"] for one in answer[side]["results"]] for side in ("first", "second")]
    assert ranks[0] == ranks[1]
    assert answer["change"]["queries"] == 3
    assert answer["change"]["p_value"] == 1.0
    assert set(rotated.asked) >= set(TEXTS.values())


async def test_compare_two_collections_is_paired_by_query(start: Any) -> None:
    texts = [{"query": TEXTS[key], "text": f"the {key} of it", "query_id": key} for key in TEXTS]
    async with start() as running:
        await fill(running)
        await running.client.put("/collections/b")
        documents = [{"doc_id": f"{key}2", "text": text} for key, text in TEXTS.items()]
        documents += [{"doc_id": f"rival-{key}", "text": f"the {key} of it"} for key in TEXTS]
        await running.client.post("/collections/b/documents", json={"documents": documents})
        answer = (await compare(running, {"collection": "b"}, texts=texts, top_k=1)).json()
    assert answer["second"]["attack_success_rate"]["value"] == 1.0  # the rivals are the texts
    broken = answer["first"]["attack_success_rate"]["successes"]
    assert answer["change"]["only_now"] == 3 - broken
    assert answer["change"]["only_before"] == 0
    assert answer["change"]["difference"]["value"] == pytest.approx(1 - broken / 3)


@pytest.mark.parametrize(
    "side",
    [
        {"endpoint": "http://169.254.169.254/latest", "model": "m"},
        {"endpoint": "http://other.example:9000@evil.example", "model": "m"},
        {"endpoint": "http://other.example:9000/../x", "model": "m"},
        {"endpoint": "file:///etc/passwd", "model": "m"},
        {"endpoint": "http://other.example:9000"},
        {"model": "m"},
    ],
)
async def test_compare_asks_no_address_that_is_not_allowed(
    start: Any, rotated: Rotated, side: dict[str, Any]
) -> None:
    texts = [{"query": "a", "text": "b"}]
    async with start(probe_endpoints="http://other.example:9000") as running:
        await fill(running)
        response = await compare(running, {"collection": "a"} | side, texts=texts)
    assert response.status_code == 422
    assert "evil" not in response.text
    assert rotated.asked == []


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(500, text="secret"), NotReadyError),
        (httpx.Response(401, text="secret"), InvalidInputError),
        (httpx.Response(302, headers={"location": "http://evil.example"}), InvalidInputError),
        (httpx.Response(200, text="secret"), InvalidInputError),
        (httpx.Response(200, json={"data": []}), InvalidInputError),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": []}]}), InvalidInputError),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": [0]}]}), InvalidInputError),
        (httpx.Response(200, json={"data": [{"index": 0, "embedding": "!"}]}), InvalidInputError),
        (
            httpx.Response(200, json={"data": [{"index": 0, "embedding": [[1.0]]}]}),
            InvalidInputError,
        ),
        (httpx.Response(200, content=b" " * 2000), InvalidInputError),
    ],
)
def test_endpoint_that_answers_oddly_is_refused_without_an_echo(
    answer: httpx.Response, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "MOST_BYTES", 1000)
    asked: list[str] = []

    def send(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return answer

    transport = httpx.MockTransport(send)
    with Endpoint("http://h", "m", transport=transport) as other, pytest.raises(kind) as refusal:
        other.encode(["a"])
    assert "secret" not in str(refusal.value)
    assert asked == ["h"]


def test_endpoint_that_does_not_answer_is_not_ready() -> None:
    def send(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    with (
        Endpoint("http://h", "m", transport=httpx.MockTransport(send)) as other,
        pytest.raises(NotReadyError, match="ConnectError"),
    ):
        other.encode(["a"])
    with (
        Endpoint("http://h", "m", deadline=0.0, transport=httpx.MockTransport(send)) as other,
        pytest.raises(NotReadyError, match="time was over"),
    ):
        other.encode(["a"])


async def test_compare_with_too_large_a_collection_is_refused(
    start: Any, rotated: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compare_api, "MOST_ENCODED", 2)
    side = {"collection": "a", "endpoint": "http://o", "model": "m"}
    async with start(probe_endpoints="http://o") as running:
        await fill(running)
        response = await compare(running, side, texts=[{"query": "a", "text": "b"}])
    assert response.status_code == 422
    assert "3 documents" in response.json()["detail"]
