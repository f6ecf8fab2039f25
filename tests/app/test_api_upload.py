"""Uploads of NDJSON in process: what is stored, what is refused and how, when it stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest

from app.api import receiving, stream, upload
from app.errors import InferenceError, OverloadedError, StoreError

pytestmark = pytest.mark.anyio

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


async def test_upload_stores_lines_far_beyond_the_bound_of_a_body(start: Any) -> None:
    count = 500
    async with start(max_body_bytes=1024, max_documents=16) as running:
        await running.client.put("/collections/a")
        lines = (line(f"d{n}", f"text number {n} {'x' * 200}") for n in range(count))
        response = await send(running, lines)
        last = events(response)[-1]
        assert running.store.count("a") == count
    counts = {"line": count, "stored": count, "refused": 0, "truncated": count, "lines": count}
    assert last == {"event": "done"} | counts


async def test_upload_refuses_lines_as_single_documents_and_stores_the_rest(start: Any) -> None:
    fields = {"year": "integer"}
    wrong = {
        2: b'{"doc_id": "x"}\n',
        3: b"not json\n",
        4: b"\xff\xfe\x00\n",
        5: b'{"doc_id": "x", "text": "\\ud800"}\n',
        6: b'{"doc_id": "x", "text": "' + b"y" * 3000 + b'"}\n',
        7: line("x", "\u200b"),
        8: line("x", lang="swahili"),
        9: line("x", metadata={"year": "old"}),
        10: line("x", "z" * 200),
        11: b"[]\n",
        12: b'{"doc_id": "x", "doc_id": "y", "text": "t"}\n',
        13: line("é" * 300),
        14: b'{"doc_id": "x", "text": "a\x00b"}\n',
        15: b"NaN\n",
        16: b'{"doc_id": "\\udc00", "text": "t"}\n',
        17: b'{"doc_id": "x", "text": "t", "metadata": {"\\udc00": 1}}\n',
    }
    async with start(max_body_bytes=2048, max_text_chars=100) as running:
        await running.client.put("/collections/a", json={"fields": fields})
        good = line("first", metadata={"year": 1}), line("last")
        response = await send(running, b"".join([good[0], *wrong.values(), b" \n\n", good[1]]))
        found = errors(response)
        assert sorted(running.store.made["a"].entries) == ["first", "last"]
        # What the same document alone is told, but for the body being called a line.
        for number in (2, 5, 7, 8, 9, 10):
            body = b'{"documents": [' + wrong[number].strip() + b"]}"
            alone = await running.client.post(
                PATH, content=body, headers={"content-type": "application/json"}
            )
            assert (alone.status_code, alone.json()["type"]) == (
                found[number]["status"],
                found[number]["type"],
            )
    assert sorted(found) == sorted(wrong)
    statuses = [found[n]["status"] for n in sorted(found)]
    assert statuses == [422] * 4 + [413] + [422] * 3 + [413] + [422] * 7
    assert found[2]["errors"] == [{"pointer": "#/text", "detail": "Field required"}]
    assert "year" in found[9]["detail"]
    assert "declares it as integer" in found[9]["detail"]
    assert events(response)[-1] == {
        "event": "done", "line": 20, "stored": 2, "refused": 16, "truncated": 0, "lines": 20,
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 7, 64])
async def test_upload_does_not_care_where_parts_end(start: Any, size: int) -> None:
    body = (
        line("é", "ħabari") + b"\r\n" + line("日本", "水\u2028") + b'{"doc_id": "c", "text": "t"}'
    )
    async with start() as running:
        await running.client.put("/collections/a")
        response = await send(running, [body[n : n + size] for n in range(0, len(body), size)])
        assert sorted(running.store.made["a"].entries) == ["c", "é", "日本"]
    assert events(response)[-1]["lines"] == 4


async def test_upload_of_one_name_twice_keeps_the_last(start: Any) -> None:
    async with start(max_documents=2) as running:
        await running.client.put("/collections/a")
        response = await send(running, [line("a", f"text {n}") for n in range(9)])
        assert running.store.get("a", ["a"])[0].text == "text 8"
    assert events(response)[-1]["stored"] == 9


async def test_upload_of_nothing_is_done(start: Any) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        assert events(await send(running, b""))[-1]["event"] == "done"
        assert events(await send(running, b"\n \n"))[-1]["lines"] == 2


async def test_upload_that_cannot_begin_is_a_plain_problem(start: Any) -> None:
    async with start(max_streams=1) as running:
        missing = await send(running, line("a"))
        hidden = await running.client.post(
            "/collections/tyntegra--x/documents", content=line("a"), headers=HEADERS
        )
        running.store.create("a", 32, "other@000000000000")
        other = await send(running, line("a"))
        await running.client.delete("/collections/a")
        await running.client.put("/collections/a")
        packed = await send(running, line("a"), **{"content-encoding": "gzip"})
        charset = await send(
            running, line("a"), **{"content-type": "application/x-ndjson; charset=utf-16"}
        )
        running.service.streams = 1
        busy = await send(running, line("a"))
        running.service.streams = 0
    statuses = [r.status_code for r in (missing, hidden, other, packed, charset, busy)]
    assert statuses == [404, 422, 409, 415, 415, 429]
    assert "PUT /collections/a" in missing.json()["detail"]
    assert "reindex" in other.json()["detail"]
    assert busy.headers["retry-after"] == "5"


async def test_upload_below_another_path_is_bound_like_any_body(start: Any) -> None:
    async with start(max_body_bytes=1024) as running:
        response = await running.client.post("/embed", content=b"x" * 2000, headers=HEADERS)
    assert response.status_code == 413


async def test_upload_of_garbage_stops_and_says_where(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MOST_REFUSED", 20)
    async with start(max_documents=4) as running:
        await running.client.put("/collections/a")
        response = await send(running, [line("good"), *[b"\x80garbage\n"] * 1000])
        assert running.service.streams == 0
    last = events(response)[-1]
    assert (last["event"], last["status"], last["stored"]) == ("stopped", 422, 1)
    assert 20 <= last["refused"] < 60
    assert last["line"] == last["refused"] + 1


async def test_upload_waits_for_room_instead_of_refusing(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        full = [OverloadedError("full", 0.01)] * 3
        encode = running.encoder.encode_async

        async def sometimes(*args: Any, **kwargs: Any) -> Any:
            if full:
                raise full.pop()
            return await encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode_async", sometimes)
        response = await send(running, line("a"))
    assert events(response)[-1]["stored"] == 1


@pytest.mark.parametrize(
    ("failure", "status", "said"),
    [
        (StoreError("The disk is full."), 503, "The disk is full."),
        (InferenceError("node 7 saw a secret"), 500, "The details are in the service's log"),
    ],
)
async def test_upload_stopped_by_a_failure_keeps_what_it_told(
    start: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: int, said: str
) -> None:
    async with start(max_documents=2) as running:
        await running.client.put("/collections/a")
        upsert, calls = running.store.upsert, []

        def fails(*args: Any) -> int:
            calls.append(args)
            if len(calls) == 2:
                raise failure
            return upsert(*args)

        monkeypatch.setattr(running.store, "upsert", fails)
        response = await send(running, [line(str(n)) for n in range(20)])
        assert running.store.count("a") == 2
    last = events(response)[-1]
    assert (last["event"], last["status"], last["line"], last["stored"]) == (
        "stopped",
        status,
        2,
        2,
    )
    assert last["detail"].startswith(said)


async def test_upload_that_fails_at_once_is_a_plain_problem(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> int:
        raise StoreError("The disk is full.")

    async with start() as running:
        await running.client.put("/collections/a")
        monkeypatch.setattr(running.store, "upsert", full)
        response = await send(running, line("a"))
    assert (response.status_code, response.json()["detail"]) == (503, "The disk is full.")


async def test_upload_finds_the_document_that_the_store_refuses(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.errors import InvalidInputError

    async with start() as running:
        await running.client.put("/collections/a")
        upsert = running.store.upsert

        def picky(name: str, documents: Any, vectors: Any, spans: Any) -> int:
            if any(document.doc_id == "bad" for document in documents):
                raise InvalidInputError("not this one")
            return upsert(name, documents, vectors, spans)

        monkeypatch.setattr(running.store, "upsert", picky)
        response = await send(running, [line("a"), line("bad"), line("b")])
        assert sorted(running.store.made["a"].entries) == ["a", "b"]
    assert {n: each["detail"] for n, each in errors(response).items()} == {2: "not this one"}
    assert events(response)[-1]["stored"] == 2


async def test_upload_splits_long_documents_in_windows(start: Any) -> None:
    text = " ".join(f"w{n}" for n in range(40))
    async with start(max_text_chars=100, max_document_chars=200) as running:
        await running.client.put("/collections/a", json={"windows": {"tokens": 16, "stride": 8}})
        response = await send(running, [line("a", text), line("b", "x " * 101 + "yz")])
        spans = running.store.made["a"].entries["a"].spans
    assert [text[start:end].split()[0] for start, end in spans] == ["w0", "w8", "w16", "w24"]
    assert errors(response)[2]["status"] == 413


async def test_upload_of_many_passages_is_encoded_in_parts(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "MOST_PASSAGES", 6)
    text = " ".join(f"w{n}" for n in range(40))  # 5 passages
    async with start() as running:
        await running.client.put("/collections/a", json={"windows": {"tokens": 8, "stride": 8}})
        sizes: list[int] = []
        upsert = running.store.upsert

        def noted(name: str, documents: Any, vectors: Any, spans: Any) -> int:
            sizes.append(len(vectors))
            return upsert(name, documents, vectors, spans)

        monkeypatch.setattr(running.store, "upsert", noted)
        response = await send(running, [line("a", text), line("b"), line("c", text), line("d")])
        names = list(running.store.made["a"].entries)
    assert (names, sizes) == (["a", "b", "c", "d"], [6, 6])
    assert events(response)[-1]["stored"] == 4


async def test_upload_reports_documents_found_by_their_beginning_only(start: Any) -> None:
    async with start() as running:
        await running.client.put("/collections/a")
        response = await send(running, [line("a"), line("b", "x" * 101)])
    found = [each for each in events(response) if each["event"] == "truncated"]
    assert found == [{"event": "truncated", "lines": [2]}]
    assert events(response)[-1]["truncated"] == 1


async def test_upload_reads_no_faster_than_it_encodes(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0

    def lines() -> Iterable[bytes]:
        nonlocal taken
        for n in range(400):
            taken += 1
            yield line(str(n))

    async with start(max_documents=4) as running:
        await running.client.put("/collections/a")
        encode = running.encoder.encode_async

        async def slowly(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0.01)
            return await encode(*args, **kwargs)

        monkeypatch.setattr(running.encoder, "encode_async", slowly)
        sending = asyncio.create_task(send(running, lines()))
        async with asyncio.timeout(5):
            while running.store.count("a") < 8:
                await asyncio.sleep(0.005)
        ahead = taken - running.store.count("a")
        response = await sending
    assert ahead <= 4 * (stream.AHEAD + 3)
    assert events(response)[-1]["stored"] == 400


async def test_upload_of_a_client_that_pauses_is_stored_meanwhile(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "IDLE_S", 0.02)
    go_on = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield line("a") + b'{"doc_id": "b"'
        await go_on.wait()
        yield b', "text": "t"}'

    async with start() as running:
        await running.client.put("/collections/a")
        sending = asyncio.create_task(running.client.post(PATH, content=parts(), headers=HEADERS))
        async with asyncio.timeout(5):
            while running.store.count("a") < 1:
                await asyncio.sleep(0.005)
        go_on.set()
        response = await sending
    assert events(response)[-1]["stored"] == 2


async def test_upload_ends_when_the_service_does(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "IDLE_S", 0.02)
    monkeypatch.setattr(stream, "LINGER_S", 0.05)

    async def parts() -> AsyncIterator[bytes]:
        yield line("a")
        await asyncio.sleep(0.3)
        yield line("b")

    async with start() as running:
        await running.client.put("/collections/a")
        running.service.stopping.set()
        response = await running.client.post(PATH, content=parts(), headers=HEADERS)
    last = events(response)[-1]
    assert (last["event"], last["status"], last["stored"]) == ("stopped", 503, 1)


def test_patience_is_longer_than_a_queue_takes() -> None:
    assert upload.PATIENCE_S > 30
