"""POST /embed."""

import asyncio
import base64
import time
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.anyio


async def test_embed_one_text_gives_one_unit_vector(start: Any) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": "Habari"})
    answer = response.json()
    assert response.status_code == 200
    assert answer["model"] == "fake@000000000000"
    assert answer["dimensions"] == 32
    assert np.linalg.norm(answer["embeddings"], axis=1) == pytest.approx([1.0])
    assert answer["truncated"] == [False]
    assert answer["usage"] == {"tokens": 6}


async def test_embed_list_keeps_order_and_says_what_was_cut(start: Any) -> None:
    texts = ["one", "two " * 50, "three"]
    async with start() as running:
        together = (await running.client.post("/embed", json={"inputs": texts})).json()
        alone = (await running.client.post("/embed", json={"inputs": "three"})).json()
    assert together["truncated"] == [False, True, False]
    assert together["embeddings"][2] == alone["embeddings"][0]


async def test_embed_base64_holds_the_same_vectors(start: Any) -> None:
    body = {"inputs": ["one", "two"], "input_type": "document"}
    async with start() as running:
        floats = (await running.client.post("/embed", json=body)).json()
        packed = (
            await running.client.post("/embed", json=body | {"encoding_format": "base64"})
        ).json()
    rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in packed["embeddings"]]
    assert np.allclose(rows, floats["embeddings"], atol=1e-7)


async def test_embed_dimensions_are_cut_and_bounded(start: Any) -> None:
    async with start() as running:
        cut = await running.client.post("/embed", json={"inputs": "text", "dimensions": 8})
        over = await running.client.post("/embed", json={"inputs": "text", "dimensions": 33})
    assert (cut.json()["dimensions"], len(cut.json()["embeddings"][0])) == (8, 8)
    assert over.status_code == 422
    assert "1 to 32" in over.json()["detail"]


async def test_embed_controls_and_white_space_do_not_count(start: Any) -> None:
    async with start() as running:
        plain = await running.client.post("/embed", json={"inputs": "a b"})
        padded = await running.client.post("/embed", json={"inputs": "  a \u0000\t b\n"})
    assert padded.json()["embeddings"] == plain.json()["embeddings"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "#/inputs"),
        ({"inputs": []}, "#/inputs"),
        ({"inputs": 7}, "#/inputs"),
        ({"inputs": [True]}, "#/inputs/0"),
        ({"inputs": ["a", None]}, "#/inputs/1"),
        ({"inputs": "a", "input_type": "passage"}, "#/input_type"),
        ({"inputs": "a", "truncate": 1}, "#/truncate"),
        ({"inputs": "a", "truncate": "true"}, "#/truncate"),
        ({"inputs": "a", "dimensions": True}, "#/dimensions"),
        ({"inputs": "a", "dimensions": 8.0}, "#/dimensions"),
        ({"inputs": "a", "dimensions": 0}, "#/dimensions"),
        ({"inputs": "a", "canary-unknown": 1}, "#"),
    ],
)
async def test_embed_wrong_field_is_pointed_at(start: Any, body: Any, pointer: str) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json=body)
    answer = response.json()
    assert response.status_code == 422
    assert answer["errors"][0]["pointer"] == pointer
    assert "canary" not in response.text


@pytest.mark.parametrize("text", ["", "   ", "\u0000\u0007", "\n\t"])
async def test_embed_empty_text_is_refused_by_its_place(start: Any, text: str) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": ["a", text]})
    assert response.status_code == 422
    assert "inputs[1]" in response.json()["detail"]


async def test_embed_bounds_of_number_and_length(start: Any) -> None:
    async with start(max_texts=3, max_text_chars=16) as running:
        statuses = [
            (await running.client.post("/embed", json={"inputs": inputs})).status_code
            for inputs in (["a"] * 3, ["a"] * 4, "a" * 16, "a" * 17, "\ufb2c" * 16, "a" * 1000)
        ]
    # U+FB2C composes to three characters.
    assert statuses == [200, 422, 200, 413, 413, 413]


async def test_embed_queue_full_is_429_with_retry_after(start: Any) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": "!overloaded"})
        metrics = (await running.client.get("/metrics")).text
    assert response.status_code == 429
    assert response.headers["retry-after"] == "3"
    assert 'tyntegra_shed_total{reason="encoder"} 1.0' in metrics


async def test_embed_over_its_time_is_429_and_cancelled(start: Any) -> None:
    async with start(request_timeout_s=0.1) as running:
        response = await running.client.post("/embed", json={"inputs": "!slow"})
        metrics = (await running.client.get("/metrics")).text
        await asyncio.sleep(0)
    assert response.status_code == 429
    assert "retry-after" in response.headers
    assert running.encoder.cancelled == 1
    assert 'tyntegra_shed_total{reason="timeout"} 1.0' in metrics


async def test_embed_inference_failure_is_opaque(start: Any) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": "!inference"})
    assert response.status_code == 500
    assert "node 7" not in response.text
    assert response.headers["x-request-id"] in response.json()["instance"]


async def test_embed_bug_is_an_opaque_500_and_logged_without_its_message(
    start: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": "!bug"})
    logged = capfd.readouterr().err
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text + logged
    assert "KeyError" in logged
    assert response.headers["x-request-id"] in logged


async def test_embed_marks_on_one_letter_are_bounded_and_so_is_their_cost(start: Any) -> None:
    # Marks of changing classes: sorting them is what takes the square of their number.
    marks = "\u0315\u0300"
    async with start() as running:
        some = await running.client.post("/embed", json={"inputs": "a" + marks * 128})
        began = time.process_time()
        many = await running.client.post("/embed", json={"inputs": ["a" + marks * 8000] * 15})
        cost_s = time.process_time() - began
    assert some.status_code == 200
    assert many.status_code == 422
    assert "inputs[0] has more than 256 marks" in many.json()["detail"]
    assert cost_s < 1
