"""Uploads over real sockets: large, slow, silent, cut off, and answered while they are sent."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.client import Client

HEAD = (
    b"POST /collections/a/documents HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-ndjson\r\n"
)
BODY_S = 0.6


@pytest.fixture
def live(serving: Any) -> Iterator[Any]:
    with serving(max_body_bytes=65536, max_documents=64) as found:
        httpx.put(f"{found.url}/collections/a")
        yield found


@pytest.fixture
def impatient(serving: Any) -> Iterator[Any]:
    with serving(body_timeout_s=BODY_S) as found:
        httpx.put(f"{found.url}/collections/a")
        yield found


def line(doc_id: str, text: str = "some text") -> bytes:
    return json.dumps({"doc_id": doc_id, "text": text}).encode() + b"\n"


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


def count(live: Any) -> int:
    return httpx.get(f"{live.url}/collections/a").json()["documents"]


def read_events(client: socket.socket) -> Iterator[dict[str, Any]]:
    """The events of a chunked answer, as they come, until the end or the connection's."""
    stream = client.makefile("rb")
    while stream.readline() not in (b"\r\n", b""):
        pass
    while (size := int(stream.readline() or b"0", 16)) > 0:
        for each in stream.read(size).splitlines():
            yield json.loads(each)
        stream.readline()


def until_free(live: Any) -> None:
    deadline = time.monotonic() + 5
    while live.service.streams and time.monotonic() < deadline:
        time.sleep(0.01)
    assert live.service.streams == 0


def test_upload_of_20_mb_passes_a_bound_of_64_kb(live: Any) -> None:
    documents = (
        {"doc_id": str(n), "text": "t", "metadata": {"pad": "x" * 2000}} for n in range(10_000)
    )
    with Client(live.url) as client:
        report = client.upload_documents("a", documents)
    assert (report["event"], report["stored"], report["lines"]) == ("done", 10_000, 10_000)
    assert count(live) == 10_000


def test_upload_is_answered_while_it_goes_on(live: Any) -> None:
    with live.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(line("a") + b"x\n"))
        answer = read_events(client)
        assert next(answer)["event"] == "error"
        first = next(answer)
        assert (first["event"], first["line"], first["stored"]) == ("progress", 2, 1)
        assert count(live) == 1  # it is there before the upload ends
        client.sendall(chunk(line("b")) + b"0\r\n\r\n")
        assert list(answer)[-1]["event"] == "done"
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")  # kept alive
        assert b"200 OK" in client.recv(65536)


def test_upload_with_expect_is_told_to_continue(live: Any) -> None:
    body = line("a")
    with live.connect() as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert list(read_events(client))[-1]["stored"] == 1


@pytest.mark.parametrize("chunked", [True, False])
def test_upload_cut_off_keeps_what_was_acknowledged(live: Any, chunked: bool) -> None:
    how = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 100000"
    body = line("a") + line("b")
    client = live.connect()
    client.sendall(HEAD + how + b"\r\n\r\n" + (chunk(body) if chunked else body))
    assert next(read_events(client))["stored"] == 2
    client.sendall(b"3\r\n{" if chunked else b"{")
    client.close()
    until_free(live)
    assert count(live) == 2


def test_upload_dripped_is_stopped_and_its_place_given_to_others(impatient: Any) -> None:
    began = time.monotonic()
    with impatient.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(line("a")))
        dripping = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not dripping.wait(BODY_S / 5):
                    client.sendall(chunk(b" "))

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            last = list(read_events(client))[-1]
        finally:
            dripping.set()
            thread.join()
    assert (last["event"], last["status"], last["stored"]) == ("stopped", 408, 1)
    assert time.monotonic() - began < 20 * BODY_S
    until_free(impatient)


def test_upload_slow_but_steady_goes_on(impatient: Any) -> None:
    with impatient.connect() as client:
        client.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for n in range(6):
            client.sendall(chunk(line(str(n), "x" * 1100)))
            time.sleep(BODY_S / 2)  # three times the time for a body, in all
        client.sendall(b"0\r\n\r\n")
        assert list(read_events(client))[-1]["stored"] == 6


def test_upload_silent_from_the_start_is_stopped(impatient: Any) -> None:
    with impatient.connect() as client:
        client.sendall(HEAD + b"Content-Length: 10\r\n\r\n")
        assert [each["event"] for each in read_events(client)] == ["stopped"]
    until_free(impatient)


def test_upload_refused_before_it_is_read_ends_the_connection(impatient: Any) -> None:
    head = HEAD.replace(b"/a/", b"/none/")
    began = time.monotonic()
    with impatient.connect() as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(line("a")))
        assert b" 404 " in client.recv(65536)
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 10:
                client.sendall(chunk(b" " * 1000))
                time.sleep(0.05)
    assert BODY_S / 2 < time.monotonic() - began < 5


def test_uploads_are_bounded_in_number(serving: Any) -> None:
    with serving(max_streams=1) as live, contextlib.ExitStack() as stack:
        httpx.put(f"{live.url}/collections/a")
        first, second = (stack.enter_context(live.connect()) for _ in range(2))
        first.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk(line("a")))
        deadline = time.monotonic() + 5
        while not live.service.streams and time.monotonic() < deadline:
            time.sleep(0.01)
        second.sendall(HEAD + b"Content-Length: 0\r\n\r\n")
        assert b" 429 " in second.recv(65536)


def test_upload_does_not_hold_up_searches(live: Any) -> None:
    stop = threading.Event()

    def documents() -> Iterator[dict[str, str]]:
        n = 0
        while not stop.is_set():
            n += 1
            yield {"doc_id": str(n), "text": "t"}

    reports: list[Any] = []

    def run() -> None:
        with Client(live.url) as client:
            reports.append(client.upload_documents("a", documents()))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        body = {"inputs": "maji"}
        for _ in range(3):
            assert httpx.post(f"{live.url}/embed", json=body, timeout=5).status_code == 200
    finally:
        stop.set()
        thread.join()
    assert reports[0]["event"] == "done"
    assert count(live) == reports[0]["stored"]
