"""Probes whose texts another service's encoder holds near their query."""

import time
from typing import Any

import httpx
import numpy as np
import orjson
import pytest

import app.probing.endpoint as endpoint
from app.errors import NotReadyError
from app.probing.endpoint import Endpoint, second_encoder
from app.robustness.request import Constraints, SecondEncoder

from .conftest import fake_encode
from .test_api_probe import BODY, fill, post

pytestmark = pytest.mark.anyio

URL = "http://other.example:9000"
BY = {"endpoint": URL, "model": "m"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A service whose vectors are the fake's; what it was asked."""
    texts: list[str] = []
    made: Any = httpx.Client

    def send(request: httpx.Request) -> httpx.Response:
        body = orjson.loads(request.content)
        texts.extend(body["input"])
        rows = fake_encode(body["input"])
        data = [{"index": n, "embedding": row.tolist()} for n, row in enumerate(rows)]
        return httpx.Response(200, json={"data": data})

    transport = httpx.MockTransport(send)
    monkeypatch.setattr(
        endpoint.httpx, "Client", lambda **given: made(**given | {"transport": transport})
    )
    return texts


async def test_probe_keeps_texts_near_by_another_services_encoder(
    start: Any, asked: list[str]
) -> None:
    limits = {"min_similarity": 0.9, "similarity_by": BY}
    async with start(probe_endpoints=URL) as running:
        await fill(running)
        free = (await post(running)).json()
        response = await post(running, constraints=limits)
    answer = response.json()
    assert response.status_code == 200, answer
    clean = BODY["queries"][0]["text"]
    assert clean in asked
    for result in answer["results"]:
        ours, theirs = fake_encode([clean, result["adversarial_text"]])
        assert float(ours @ theirs) >= 0.9 - 1e-6
        assert result["rejected"] > 0
    near = [fake_encode([clean, r["adversarial_text"]]) for r in free["results"]]
    assert min(float(a @ b) for a, b in near) < 0.9


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        ({"min_similarity": 0.9}, "similarity_by"),
        ({"similarity_by": BY}, "min_similarity"),
        ({"min_similarity": 0.9, "similarity_by": BY | {"endpoint": "http://secret"}}, "endpoint"),
        ({"min_similarity": 0.9, "similarity_by": BY | {"key": "x"}}, "similarity_by"),
        ({"min_similarity": 2, "similarity_by": BY}, "min_similarity"),
        ({"min_language": 0}, "min_language"),
        ({"min_language": 1.01}, "min_language"),
        ({"min_language": "much"}, "min_language"),
    ],
)
async def test_probe_second_encoder_or_floor_that_makes_no_sense_is_refused(
    start: Any, limits: Any, field: str
) -> None:
    async with start(probe_endpoints=URL) as running:
        await fill(running)
        for background in (False, True):
            response = await post(running, constraints=limits, background=background)
            assert response.status_code == 422
            assert field in response.text
            assert "secret" not in response.text


async def test_probe_with_a_floor_for_the_language_says_what_is_below(start: Any) -> None:
    queries = [
        {"query_id": "q1", "text": "boil the river water before you drink", "lang": "eng_Latn"},
        {"query_id": "q2", "text": "boil the river water before you drink", "lang": "lug_Latn"},
    ]
    async with start() as running:
        await fill(running)
        answer = (await post(running, queries=queries, constraints={"min_language": 0.5})).json()
    first, second = (result for result in answer["results"] if result["attack"] == "typo")
    assert first["outcome"] in ("success", "held")
    assert second["outcome"] == "not_applicable"
    assert "lug_Latn" in second["reason"]


def test_second_encoder_is_none_unless_one_is_named() -> None:
    with second_encoder(Constraints(min_language=0.5), 1.0, lambda: False) as none:
        assert none is None


def test_second_encoder_takes_the_address_with_or_without_a_slash(asked: list[str]) -> None:
    limits = Constraints(min_similarity=0.5, similarity_by=SecondEncoder(f"{URL}/", "m"))
    with second_encoder(limits, 5.0, lambda: False) as encode:
        assert encode is not None
        np.testing.assert_allclose(encode(["a"]), fake_encode(["a"]), atol=1e-6)
    assert asked == ["a"]


def test_endpoint_canceled_during_a_call_does_not_wait_for_it() -> None:
    began = time.monotonic()

    def send(request: httpx.Request) -> httpx.Response:
        time.sleep(3.0)
        return httpx.Response(200, json={"data": []})

    transport = httpx.MockTransport(send)

    def stopped() -> bool:
        return time.monotonic() > began + 0.2

    with (
        Endpoint("http://h", "m", transport=transport, cancelled=stopped) as other,
        pytest.raises(NotReadyError),
    ):
        other.encode(["a"])
    assert time.monotonic() < began + 2.0
