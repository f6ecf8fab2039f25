"""Sending uploads of NDJSON in process, and reading what they answer."""

import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx

PATH = "/collections/a/documents"

HEADERS = {"content-type": "application/x-ndjson"}


def line(doc_id: str, text: str = "some text", **more: Any) -> bytes:
    return json.dumps({"doc_id": doc_id, "text": text} | more).encode() + b"\n"


async def send(running: Any, body: bytes | Iterable[bytes], **headers: str) -> httpx.Response:
    async def parts() -> AsyncIterator[bytes]:
        for part in [body] if isinstance(body, bytes) else body:
            yield part

    return await running.client.post(PATH, content=parts(), headers=HEADERS | headers)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(each) for each in response.text.splitlines()]


def errors(response: httpx.Response) -> dict[int, dict[str, Any]]:
    return {each["line"]: each for each in events(response) if each["event"] == "error"}
