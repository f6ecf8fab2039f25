"""The bounded protocol over real sockets: slow, silent, large and malformed clients."""

import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from app.protocol import BoundedProtocol, Bounds, bounded_protocol
from tests.app.raw_http import (
    BODY_S,
    BOUNDS,
    GET,
    HEADER_S,
    SLACK_S,
    read_all,
    require_problem,
    status_of,
)


@pytest.fixture(scope="module")
def live(serving: Any) -> Iterator[Any]:
    with serving(**BOUNDS) as found:
        yield found


def test_request_is_answered_and_the_connection_kept(live: Any) -> None:
    with live.connect() as client:
        for _ in range(3):
            client.sendall(GET)
            assert b'{"status":"live"}' in client.recv(65536)


def test_silent_connection_is_closed_without_an_answer(live: Any) -> None:
    began = time.monotonic()
    with live.connect() as client:
        assert read_all(client) == b""
    assert HEADER_S * 0.8 <= time.monotonic() - began < HEADER_S + 1.5


def test_dripped_headers_are_408_and_closed(live: Any) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(10)]
        for byte in (b"G", b"E", b"T", b" /"):
            for client in clients:
                client.sendall(byte)
            time.sleep(HEADER_S / 5)
        for client in clients:
            require_problem(read_all(client), 408)
    assert time.monotonic() - began < HEADER_S + SLACK_S


def test_dripped_empty_lines_are_closed(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET)
        assert b"200 OK" in client.recv(65536)
        began = time.monotonic()
        while time.monotonic() - began < HEADER_S + SLACK_S:
            try:
                client.sendall(b"\r\n")
                client.settimeout(0.05)
                if not client.recv(65536):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail("still open")


def test_dripped_body_is_408_and_closed(live: Any) -> None:
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with live.connect() as client:
        client.sendall(head + b"Content-Length: 100\r\n\r\n")
        for _ in range(4):
            client.sendall(b"{")
            time.sleep(BODY_S / 6)
        require_problem(read_all(client), 408)


def test_dripped_chunked_body_is_408_and_closed(live: Any) -> None:
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with live.connect() as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
        require_problem(read_all(client), 408)


def test_body_dripped_after_the_answer_is_closed(live: Any) -> None:
    with live.connect() as client:
        client.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx")
        assert status_of(read_all(client, BODY_S + SLACK_S)) == 404


def test_idle_connection_is_closed_after_its_time(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET)
        assert status_of(read_all(client)) == 200


def test_body_in_chunks_of_one_byte_is_read_quickly(live: Any) -> None:
    body = json.dumps({"inputs": "x" * 20_000}).encode()
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunks = b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in body)
    began = time.monotonic()
    with live.connect() as client:
        client.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        assert status_of(client.recv(65536)) == 413
    assert time.monotonic() - began < 3


def test_handler_that_takes_longer_than_the_client_may_is_left_alone(live: Any) -> None:
    body = b'{"inputs": "!slow 1.2"}'
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with live.connect() as client:
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert status_of(client.recv(65536)) == 200


def test_large_header_is_431(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET[:-2] + b"X: " + b"a" * 20_000 + b"\r\n\r\n")
        require_problem(read_all(client), 431)


def test_endless_header_is_cut_off(live: Any) -> None:
    sent = 0
    with live.connect() as client, contextlib.suppress(OSError):
        client.sendall(GET[:-2] + b"X: ")
        while sent < 1 << 24:
            client.sendall(b"a" * 65_536)
            sent += 65_536
    assert sent < 1 << 24


def test_many_small_headers_are_431(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET[:-2] + b"".join(b"X-%d: y\r\n" % n for n in range(2000)) + b"\r\n")
        require_problem(read_all(client), 431)


def test_long_url_is_431(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET.replace(b"/health/live", b"/" + b"a" * 17_000))
        require_problem(read_all(client), 431)


def test_large_body_in_one_packet_with_its_headers_is_no_large_header(live: Any) -> None:
    body = json.dumps({"inputs": ["x" * 8000] * 6}).encode()
    head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with live.connect() as client:
        client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        assert status_of(client.recv(65536)) == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 50,
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
    ],
)
def test_malformed_request_is_400_and_the_server_lives(live: Any, raw: bytes) -> None:
    with live.connect() as client:
        client.sendall(raw)
        answer = read_all(client)
    assert status_of(answer) == 400, answer
    assert b"application/problem+json" in answer
    assert live.get("/health/live").status_code == 200


def test_upgrade_that_is_not_offered_is_ignored(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert status_of(client.recv(65536)) == 200


def test_pipelined_requests_are_answered_in_order(live: Any) -> None:
    with live.connect() as client:
        client.sendall(GET + GET.replace(b"/health/live", b"/nothing") + GET)
        answer = read_all(client)
    assert [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]] == [200, 404, 200]


def test_connection_beyond_the_bound_is_503(serving: Any) -> None:
    with serving(max_connections=3) as live, ExitStack() as stack:
        clients = [stack.enter_context(live.connect()) for _ in range(3)]
        time.sleep(0.1)
        with live.connect() as one_more:
            answer = read_all(one_more)
        require_problem(answer, 503)
        assert b"retry-after: 2" in answer
        clients[0].sendall(GET)
        assert status_of(clients[0].recv(65536)) == 200


def test_refusals_are_counted(live: Any) -> None:
    with live.connect() as client:
        client.sendall(b"nonsense\r\n\r\n")
        read_all(client)
    assert 'method="other",route="unread",status="400"' in live.get("/metrics").text


def test_slow_clients_do_not_keep_others_waiting(live: Any) -> None:
    with ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(live.connect()).sendall(b"POST /embed HTTP/1.1\r\nHo")
        began = time.monotonic()
        assert live.get("/health/live").status_code == 200
        assert time.monotonic() - began < 2


def test_bounded_protocol_classes_do_not_share_bounds() -> None:
    one, other = bounded_protocol(Bounds(1.0)), bounded_protocol(Bounds(2.0))
    assert (one.bounds.header_timeout_s, other.bounds.header_timeout_s) == (1.0, 2.0)
    assert BoundedProtocol.bounds == Bounds()


def test_client_that_does_not_read_its_answers_is_cut_off(
    live: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr("app.api.envelope.log", lambda level, *_, **__: logged.append(level))
    monkeypatch.setattr("app.protocol.WRITE_TIMEOUT_S", 0.3)
    request = GET.replace(b"/health/live", b"/docs")
    with live.connect() as client:
        # Some kernels would take all the answers into a buffer that grows.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        client.sendall(request * 1000)
        time.sleep(5)
        answers = read_all(client, 20).count(b"HTTP/1.1 200 OK")
    assert 0 < answers < 1000
    assert logged
    assert logging.ERROR not in logged
    assert live.get("/health/live").status_code == 200
