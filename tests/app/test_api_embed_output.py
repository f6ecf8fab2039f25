"""POST /embed: output types, windows, timing headers; and HEAD, which answers as GET would."""

import asyncio
import base64
import time
from typing import Any

import numpy as np
import orjson
import pytest

from app.api.wire import in_pieces
from app.encoder.output import DTYPES, OutputType, convert

pytestmark = pytest.mark.anyio

TEXTS = ["Habari ya asubuhi", "Good morning"]


@pytest.mark.parametrize("output_type", DTYPES)
async def test_embed_output_type_comes_as_numbers_and_as_their_bytes(
    start: Any, output_type: OutputType
) -> None:
    body = {"inputs": TEXTS, "output_type": output_type}
    async with start() as running:
        numbers = (await running.client.post("/embed", json=body)).json()
        packed = await running.client.post("/embed", json=body | {"encoding_format": "base64"})
        expected = convert(running.encoder.encode(TEXTS, "query").vectors, output_type)
    assert numbers["dimensions"] == packed.json()["dimensions"] == 32
    assert np.array_equal(np.array(numbers["embeddings"], expected.dtype), expected)
    rows = [
        np.frombuffer(base64.b64decode(row), DTYPES[output_type])
        for row in packed.json()["embeddings"]
    ]
    assert np.array_equal(rows, expected)


@pytest.mark.parametrize("output_type", ["float", "int8"])
async def test_embed_large_answer_in_pieces_is_the_same(
    start: Any, output_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {number}" for number in range(50)]
    async with start() as running:
        sent = {"inputs": texts, "output_type": output_type}
        asked = {"model": "fake", "input": texts}
        whole = [
            (await running.client.post(path, json=body)).json()
            for path, body in (("/embed", sent), ("/v1/embeddings", asked))
        ]
        monkeypatch.setattr("app.api.wire._PIECE", 7 * 32)
        pieces = [
            (await running.client.post(path, json=body)).json()
            for path, body in (("/embed", sent), ("/v1/embeddings", asked))
        ]
    assert len(whole[0]["embeddings"]) == len(whole[1]["data"]) == 50
    assert pieces == whole


async def test_in_pieces_lets_others_go_on_in_between() -> None:
    rows, turns = np.zeros((4000, 64), np.float32), 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(count())
    written = await in_pieces(rows, 64)
    task.cancel()
    assert turns >= 7
    assert orjson.loads(orjson.dumps(written)) == rows.tolist()
    assert (await in_pieces(rows[:3], 64)).shape == (3, 64)


async def test_embed_bits_of_fewer_dimensions_are_cut_before_they_are_packed(start: Any) -> None:
    body = {"inputs": "a", "output_type": "ubinary", "dimensions": 12}
    async with start() as running:
        answer = (await running.client.post("/embed", json=body)).json()
    assert (answer["dimensions"], len(answer["embeddings"][0])) == (12, 2)
    assert answer["embeddings"][0][1] & 0b1111 == 0


async def test_embed_unknown_output_type_is_refused(start: Any) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": "a", "output_type": "int4"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["pointer"] == "#/output_type"


async def test_embed_windows_are_told_only_if_asked_for(start: Any) -> None:
    body = {"inputs": ["a", "b" * 250]}
    async with start() as running:
        without = (await running.client.post("/embed", json=body)).json()
        split = (await running.client.post("/embed", json=body | {"windows": True})).json()
    assert (without["truncated"], "windows" in without) == ([False, True], False)
    assert (split["truncated"], split["windows"]) == ([False, False], [1, 3])


@pytest.mark.parametrize(
    ("path", "body", "tokens"),
    [
        ("/embed", {"inputs": TEXTS}, "29"),
        ("/v1/embeddings", {"input": TEXTS, "model": "fake"}, "29"),
        ("/search", {"collection": "a", "queries": TEXTS}, "29"),
    ],
)
async def test_encoding_routes_say_where_the_time_went(
    start: Any, path: str, body: Any, tokens: str
) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        began = time.perf_counter()
        headers = (await running.client.post(path, json=body)).headers
        took_ms = 1000 * (time.perf_counter() - began)
    assert headers["x-tyntegra-tokens"] == tokens
    # What the fake encoder says of itself.
    parts = {"tokenize": "1.000", "queue": "2.000", "inference": "3.000"}
    for name, value in parts.items():
        assert headers[f"x-tyntegra-{name}-ms"] == value
    total = headers["x-tyntegra-total-ms"]
    assert 0 < float(total) < took_ms
    parts["total"] = total
    assert headers["server-timing"] == ", ".join(f"{n};dur={v}" for n, v in parts.items())


async def test_embed_refusals_have_no_timing_headers(start: Any) -> None:
    async with start() as running:
        response = await running.client.post("/embed", json={"inputs": "!overloaded"})
    assert "server-timing" not in response.headers


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/v1/models", "/docs", "/info"])
async def test_head_answers_as_get_without_its_body(start: Any, path: str) -> None:
    async with start() as running:
        got = await running.client.get(path)
        head = await running.client.head(path)
        metrics = (await running.client.get("/metrics")).text
    assert head.status_code == got.status_code == 200
    assert head.content == b""
    ignored = {"x-request-id"}
    assert {k: v for k, v in head.headers.items() if k not in ignored} == {
        k: v for k, v in got.headers.items() if k not in ignored
    }
    assert f'method="HEAD",route="{path}",status="200"' in metrics


async def test_head_where_nothing_is_to_get_is_405(start: Any) -> None:
    async with start() as running:
        head = await running.client.head("/embed")
        put = await running.client.put("/docs")
    assert (head.status_code, head.content, head.headers["allow"]) == (405, b"", "POST")
    assert put.headers["allow"] == "GET, HEAD"


def test_head_over_a_socket_leaves_the_connection_usable(serving: Any) -> None:
    with serving() as live, live.connect() as connection:
        ask = b"%s /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"
        connection.sendall(ask % b"HEAD" + ask % b"GET")
        received = b""
        while received.count(b"HTTP/1.1 200") < 2 or not received.endswith(b"}"):
            received += connection.recv(65_536)
    assert received.count(b'{"status":"live"}') == 1
