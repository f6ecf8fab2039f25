"""Large answers leave in parts, so that others are served in between."""

import asyncio
import json

import numpy as np
import pytest

from app.api.wire import JSON


def sent_by(response: JSON) -> tuple[list[dict], list[str]]:
    """What a response sends, and what else ran between its parts."""
    messages: list[dict] = []
    order: list[str] = []

    async def send(message):
        messages.append(dict(message))
        order.append("part")

    async def receive():
        raise AssertionError("an answer asks for nothing")

    async def other():
        while True:
            order.append("other")
            await asyncio.sleep(0)

    async def run():
        beside = asyncio.create_task(other())
        await response({"type": "http"}, receive, send)
        beside.cancel()

    asyncio.run(run())
    return messages, order


@pytest.mark.parametrize("rows", [1, 100, 3000])
def test_json_of_any_size_arrives_whole_with_its_length(rows: int) -> None:
    content = {"embeddings": np.arange(rows * 64, dtype=np.float32).reshape(rows, 64)}

    messages, _ = sent_by(JSON(content, headers={"x-of": "ours"}))

    start, *parts = messages
    body = b"".join(part["body"] for part in parts)
    assert json.loads(body) == {"embeddings": content["embeddings"].tolist()}
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(body)).encode()
    assert headers[b"content-type"] == b"application/json"
    assert headers[b"x-of"] == b"ours"
    assert [part.get("more_body", False) for part in parts] == [True] * (len(parts) - 1) + [False]
    assert all(len(part["body"]) <= 1 << 18 for part in parts)


def test_json_that_is_large_lets_others_run_between_its_parts() -> None:
    _, order = sent_by(JSON({"embeddings": np.zeros((3000, 64), dtype=np.float64) + 0.123456789}))

    between = "".join("p" if one == "part" else "o" for one in order)
    assert between.count("p") > 5
    assert "ppp" not in between  # the head and the first part may go together
