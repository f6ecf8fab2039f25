"""Every error is an RFC 9457 problem with the request's id."""

import re
from typing import Any

import pytest

from app import errors
from app.api.problems import STATUSES

pytestmark = pytest.mark.anyio


def require_problem(response: Any, status: int) -> dict[str, Any]:
    answer = response.json()
    assert response.status_code == answer["status"] == status
    assert response.headers["content-type"] == "application/problem+json"
    assert set(answer) - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert re.fullmatch(r"urn:tyntegra:problem:[a-z-]+", answer["type"])
    assert answer["instance"] == f"urn:tyntegra:request:{response.headers['x-request-id']}"
    return answer


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/canary", None, 404),
        ("GET", "/docs/", None, 404),
        ("GET", "/embed", None, 405),
        ("DELETE", "/search", None, 405),
        ("CANARY", "/search", None, 405),
        ("OPTIONS", "/search", None, 405),
        ("HEAD", "/canary", None, 404),
        ("GET", "/collections/canary", None, 404),
        ("GET", "/collections/Canary", None, 422),
        ("POST", "/embed", {"canary": 1}, 422),
        ("POST", "/embed", {"inputs": "canary" * 2000}, 413),
        ("POST", "/embed", {"inputs": ["canary" * 1000] * 200}, 413),
    ],
)
async def test_error_is_a_problem_without_input(
    start: Any, method: str, path: str, body: Any, status: int
) -> None:
    async with start() as running:
        response = await running.client.request(method, path, json=body)
    if method == "HEAD":
        assert response.status_code == status
        return
    answer = require_problem(response, status)
    if "collections" not in path:
        assert "canary" not in response.text.lower()
    assert answer["detail"]


async def test_method_not_allowed_names_those_that_are(start: Any) -> None:
    async with start() as running:
        response = await running.client.delete("/embed")
    assert response.headers["allow"] == "POST"


async def test_validation_errors_are_cut_to_ten(start: Any) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": [1] * 200})
    answer = require_problem(response, 422)
    assert len(answer["errors"]) == 10
    assert "(199 more)" in answer["detail"]


@pytest.mark.parametrize("sent", ["abc.DEF_1-2", "x" * 64])
async def test_request_id_of_the_client_is_kept(start: Any, sent: str) -> None:
    async with start() as running:
        response = await running.client.get("/nothing", headers={"X-Request-Id": sent})
    assert response.headers["x-request-id"] == sent
    require_problem(response, 404)


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "<script>", "a\tb"])
async def test_request_id_that_is_odd_is_replaced(start: Any, sent: str) -> None:
    async with start() as running:
        response = await running.client.get("/nothing", headers={"X-Request-Id": sent})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


async def test_every_answer_has_the_security_headers(start: Any) -> None:
    async with start() as running:
        for path in ("/health/live", "/docs", "/nothing"):
            headers = (await running.client.get(path)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in headers["content-security-policy"]
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"


def test_every_error_that_a_request_can_meet_has_a_status() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ServiceError)
    ]
    start_up = {errors.ServiceError, errors.ArtifactError, errors.ProviderError}
    assert len(kinds) > 8
    assert {kind.code for kind in kinds if kind not in start_up} <= set(STATUSES)


async def test_store_failure_is_503_with_retry_after(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as running:

        def fail() -> None:
            raise errors.StoreError("The disk failed while listing: No space left on device.")

        monkeypatch.setattr(running.store, "collections", fail)
        response = await running.client.get("/collections")
    require_problem(response, 503)
    assert response.headers["retry-after"]
