"""Uploads of NDJSON in process: what is stored, what is refused and how, when it stops."""

from typing import Any

import pytest

from app.api import upload

from .uploads import HEADERS, PATH, errors, events, line, send

pytestmark = pytest.mark.anyio


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
