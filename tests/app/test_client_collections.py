"""What clients do with collections: both forms, uploads that are cut off, exports, odd names."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from app import collection_operations
from app.client import AsyncClient, Client
from app.errors import ConflictError, NotFoundError, NotReadyError, OverloadedError
from app.lines import Decoder, Lines

DOCUMENTS = [
    {"doc_id": "a", "text": "maji \u2028 safi", "metadata": {"year": 1990}},
    {"doc_id": "b", "text": "water", "lang": "eng_Latn"},
]
NDJSON = {"content-type": "application/x-ndjson"}


def test_sync_client_keeps_collections(serving: Any) -> None:
    with serving() as live, Client(live.url) as client:
        declared = client.create_collection("a", fields={"year": "integer"}, windows=(16, 8))
        assert (declared["fields"], declared["windows"]["stride"]) == ({"year": "integer"}, 8)
        with pytest.raises(ConflictError, match="year"):
            client.create_collection("a")
        report = client.upload_documents("a", [*DOCUMENTS, {"doc_id": ""}])
        assert (report["event"], report["stored"], report["refused"]) == ("done", 2, 1)
        assert [error["line"] for error in report["errors"]] == [3]
        assert [one["doc_id"] for one in client.get_documents("a", ["b", "x", "a"])] == ["b", "a"]
        assert [one["text"] for one in client.export_documents("a")] == [
            "maji \u2028 safi",
            "water",
        ]
        assert client.reindex("a", fields={}, windows=None)["total"] == 2
        deadline = time.monotonic() + 10
        while client.reindex_progress("a")["state"] != "done" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (client.collection("a")["fields"], client.collection("a")["windows"]) == ({}, None)
        with pytest.raises(NotFoundError):
            client.cancel_reindex("a")
        copy = client.create_snapshot("a")
        assert client.snapshots("a") == [copy]
        assert client.delete_documents("a", filter={"metadata": {"year": 1990}}) == 1
        assert client.delete_documents("a", ["a", "b"]) == 1
        assert client.restore_snapshot("a", copy["name"], replace=True)["documents"] == 2
        assert client.restore_snapshot("a", copy["name"], collection="b")["name"] == "b"
        client.delete_snapshot("a", copy["name"])
        assert client.snapshots("a") == []
        with pytest.raises(NotFoundError):
            list(client.export_documents("none"))


@pytest.mark.anyio
async def test_async_client_uploads_and_exports(start: Any) -> None:
    async def made() -> AsyncIterator[dict[str, Any]]:
        for document in DOCUMENTS:
            yield document

    async with start() as running:
        transport = httpx.ASGITransport(running.app)
        async with AsyncClient("http://localhost", transport=transport) as client:
            await client.create_collection("a")
            assert (await client.upload_documents("a", made()))["stored"] == 2
            assert (await client.upload_documents("a", iter(DOCUMENTS)))["stored"] == 2
            assert [one["doc_id"] async for one in client.export_documents("a")] == ["a", "b"]


@pytest.mark.parametrize("name", [".", "..", "../b", "a/../..", "?x", "a#b", ""])
def test_odd_names_stay_within_their_segment(name: str) -> None:
    for made in (
        collection_operations.delete_snapshot("a", name),
        collection_operations.collection(name),
        collection_operations.cancel_reindex(name),
    ):
        request = httpx.Request(made.method, "http://x" + made.path)
        assert request.url.raw_path.decode() == made.path
        assert request.url.raw_path.count(b"/") == made.path.count("/")
    assert collection_operations.delete_snapshot("a", "..").path.endswith("/%2E%2E")


class Broken(httpx.SyncByteStream):
    """An answer that is cut off."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"event": "progress", "line": 7, "stored": 7}\n{"event": "pro'
        raise httpx.ReadError("connection reset")


def test_upload_cut_off_says_what_is_stored() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=NDJSON, stream=Broken()))
    with (
        Client("http://x", transport=transport) as client,
        pytest.raises(NotReadyError, match="up to line 7 is stored"),
    ):
        client.upload_documents("a", DOCUMENTS)


def test_upload_is_sent_again_only_if_it_can_be() -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.read())
        if len(sent) % 2:
            body = {"type": "urn:tyntegra:problem:overloaded", "status": 429, "detail": "full"}
            return httpx.Response(429, json=body, headers={"retry-after": "0"})
        return httpx.Response(200, content=b'{"event": "done", "line": 2}\n', headers=NDJSON)

    with Client("http://x", transport=httpx.MockTransport(answer)) as client:
        assert client.upload_documents("a", DOCUMENTS)["line"] == 2
        assert sent[0] == sent[1]
        assert [json.loads(line) for line in sent[0].splitlines()] == DOCUMENTS
        with pytest.raises(OverloadedError, match="full"):
            client.upload_documents("a", iter(DOCUMENTS))


def test_lines_are_sent_soon_or_when_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    many = list(Lines([{"doc_id": "x" * 1000}] * 200).parts())
    assert 3 <= len([part for part in many if part]) <= 5
    monkeypatch.setattr("app.lines.PART_S", 0.0)
    assert len([part for part in Lines(DOCUMENTS).parts() if part]) == 2
    assert b"".join(Lines([b'{"a": 1}\n', b'{"b"', b": 2}\n"]).parts()) == b'{"a": 1}\n{"b": 2}\n'


def test_decoder_does_not_care_where_parts_end() -> None:
    content = json.dumps({"a": "\u2028é"}, ensure_ascii=False).encode() + b"\n\n[1]\n"
    decoder = Decoder()
    found = [value for n in range(len(content)) for value in decoder.feed(content[n : n + 1])]
    assert found == [{"a": "\u2028é"}, [1]]
