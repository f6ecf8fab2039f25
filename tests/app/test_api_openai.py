"""POST /v1/embeddings and GET /v1/models: OpenAI's wire, answers and errors."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

pytestmark = pytest.mark.anyio

MODEL = "fake@000000000000"


async def ask(running: Any, **body: Any) -> httpx.Response:
    return await running.client.post("/v1/embeddings", json={"model": MODEL} | body)


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The error, which must be whole."""
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert list(answer) == ["error"]
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    return answer["error"]


async def test_embeddings_answer_is_what_openai_answers(start: Any) -> None:
    async with start() as running:
        response = await ask(running, input=["Habari", "Good morning"])
        own = await running.client.post(
            "/embed", json={"inputs": ["Habari", "Good morning"], "input_type": "document"}
        )
    answer = response.json()
    assert response.status_code == 200
    assert (answer["object"], answer["model"]) == ("list", MODEL)
    assert [(one["object"], one["index"]) for one in answer["data"]] == [
        ("embedding", 0),
        ("embedding", 1),
    ]
    assert [one["embedding"] for one in answer["data"]] == own.json()["embeddings"]
    assert answer["usage"] == {"prompt_tokens": 18, "total_tokens": 18}


async def test_embeddings_base64_holds_the_same_vectors(start: Any) -> None:
    async with start() as running:
        floats = (await ask(running, input="Habari", encoding_format="float")).json()
        packed = (await ask(running, input="Habari", encoding_format="base64", user="u")).json()
    row = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    assert np.array_equal(row, np.array(floats["data"][0]["embedding"], "f4"))


@pytest.mark.parametrize(
    ("given", "texts"),
    [([5, 7], ["5 7"]), ([[5, 7], [9]], ["5 7", "9"]), ("a", ["a"]), (["a", "b"], ["a", "b"])],
)
async def test_embeddings_input_may_be_written_in_four_ways(
    start: Any, given: Any, texts: list[str]
) -> None:
    # The fake encoder takes token ids as the text of their digits.
    async with start() as running:
        answer = (await ask(running, input=given)).json()
        expected = running.encoder.encode(texts, "document").vectors
    vectors = [one["embedding"] for one in answer["data"]]
    assert np.array_equal(np.array(vectors, "f4"), expected)


async def test_embeddings_texts_are_documents_unless_said_otherwise(start: Any) -> None:
    async with start() as running:
        seen: list[tuple[str, bool]] = []
        encode = running.encoder.encode_async

        async def spy(texts: Any, input_type: str, **options: Any) -> Any:
            seen.append((input_type, options["windows"]))
            return await encode(texts, input_type, **options)

        running.encoder.encode_async = spy
        await ask(running, input="a")
        await ask(running, input="a", input_type="query")
    assert seen == [("document", True), ("query", True)]


async def test_embeddings_dimensions_are_those_asked_for(start: Any) -> None:
    async with start() as running:
        cut = await ask(running, input="a", dimensions=8)
        over = await ask(running, input="a", dimensions=33)
    assert len(cut.json()["data"][0]["embedding"]) == 8
    assert over.status_code == 400
    assert problem_of(over)["param"] == "dimensions"


async def test_embeddings_model_may_be_named_with_or_without_its_hash(start: Any) -> None:
    async with start() as running:
        named = await running.client.post("/v1/embeddings", json={"model": "fake", "input": "a"})
        other = await ask(running, input="a", model="text-embedding-3-small")
    assert named.json()["model"] == MODEL
    assert other.status_code == 404
    error = problem_of(other)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert MODEL in error["message"]
    assert "text-embedding" not in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 7]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [7.5]}, "input"),
        ({"input": {"a": 1}}, "input"),
        ({"input": ["a"] * 4}, "input"),
        ({"input": [[1]] * 4}, "input"),
        ({"input": "a", "model": None}, "model"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "input_type": "passage"}, "input_type"),
        ({"input": "a", "canary-unknown": 1}, None),
    ],
)
async def test_embeddings_wrong_field_is_a_400_that_names_it(
    start: Any, body: Any, param: str | None
) -> None:
    async with start(max_texts=3) as running:
        response = await ask(running, **body)
    error = problem_of(response)
    assert response.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert "canary" not in response.text


async def test_embeddings_text_over_its_length_is_413(start: Any) -> None:
    async with start(max_text_chars=16) as running:
        response = await ask(running, input="a" * 17)
    assert response.status_code == 413
    assert problem_of(response)["code"] == "too_large"


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'{"input": NaN}', "application/json", 400),
        (b"{}", "text/plain", 415),
        (b"x" * 2000, "application/json", 413),
    ],
)
async def test_embeddings_strange_body_is_an_error_of_openai(
    start: Any, content: bytes, kind: str, status: int
) -> None:
    async with start(max_body_bytes=1024) as running:
        response = await running.client.post(
            "/v1/embeddings", content=content, headers={"content-type": kind}
        )
    assert response.status_code == status
    assert problem_of(response)["type"] == "invalid_request_error"


async def test_embeddings_overload_failure_and_bug_are_errors_of_openai(start: Any) -> None:
    async with start(request_timeout_s=0.1) as running:
        full = await ask(running, input="!overloaded")
        late = await ask(running, input="!slow")
        failed = await ask(running, input="!inference")
        bug = await ask(running, input="!bug")
    assert [full.status_code, late.status_code] == [429, 429]
    assert (full.headers["retry-after"], late.headers["retry-after"]) == ("3", "1")
    assert problem_of(full)["type"] == "rate_limit_error"
    assert problem_of(late)["code"] == "rate_limit_exceeded"
    for response in (failed, bug):
        assert response.status_code == 500
        assert problem_of(response)["type"] == "server_error"
        assert "secret" not in response.text
        assert "node 7" not in response.text


async def test_openai_routes_refuse_strangers_hosts_paths_and_methods_in_its_shape(
    start: Any, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    keys.write_text(hashlib.sha256(b"k").hexdigest())
    key = {"authorization": "Bearer k"}
    async with start(keys=keys) as running:
        client = running.client
        stranger = await client.post("/v1/embeddings", json={})
        host = await client.get("/v1/models", headers={"host": "evil.example"})
        path = await client.post("/v1/chat/completions", headers=key, json={})
        method = await client.get("/v1/embeddings", headers=key)
        elsewhere = await client.post("/embed", json={})
    assert [r.status_code for r in (stranger, host, path, method)] == [401, 400, 404, 405]
    codes = [problem_of(r)["code"] for r in (stranger, host, path, method)]
    assert codes == ["invalid_api_key", "malformed_request", "unknown_url", "method_not_allowed"]
    assert stranger.headers["www-authenticate"].startswith("Bearer")
    assert method.headers["allow"] == "POST"
    assert elsewhere.headers["content-type"] == "application/problem+json"


async def test_openai_routes_before_ready_are_503_in_its_shape(start: Any) -> None:
    async with start() as running:
        running.service.phase = "starting"
        response = await ask(running, input="a")
        running.service.phase = "ready"
    assert response.status_code == 503
    assert response.headers["retry-after"] == "2"
    assert problem_of(response)["type"] == "server_error"


async def test_models_lists_the_model_in_service_and_describes_it(start: Any) -> None:
    async with start() as running:
        listed = (await running.client.get("/v1/models")).json()
        one = (await running.client.get(f"/v1/models/{MODEL}")).json()
        other = await running.client.get("/v1/models/other")
    assert listed == {"object": "list", "data": [one]}
    assert (one["id"], one["object"], one["owned_by"]) == (MODEL, "model", "tyntegra")
    assert isinstance(one["created"], int)
    assert other.status_code == 404
    assert problem_of(other)["code"] == "model_not_found"
