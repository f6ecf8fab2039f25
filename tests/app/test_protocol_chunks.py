"""Bodies in chunks, their trailers, and offers of other protocols."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.app.raw_http import BOUNDS, GET, read_all, status_of


@pytest.fixture(scope="module")
def live(serving: Any) -> Iterator[Any]:
    with serving(**BOUNDS) as found:
        yield found


CHUNKED = (
    b"POST /embed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Transfer-Encoding: chunked\r\n"
)


BODY = b'{"inputs":"x"}'


def in_chunks(size: int) -> bytes:
    parts = [BODY[start : start + size] for start in range(0, len(BODY), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n"


def test_body_in_chunks_of_a_byte_is_read(live: Any) -> None:
    with live.connect() as client:
        client.sendall(CHUNKED + b"Content-Type: application/json\r\n\r\n")
        for byte in in_chunks(1) + b"\r\n":
            client.sendall(bytes([byte]))
        assert status_of(read_all(client)) == 200


@pytest.mark.parametrize("trailer", [b"Host: localhost", b"Content-Type: application/json"])
def test_trailer_does_not_stand_in_for_a_header(live: Any, trailer: bytes) -> None:
    request = CHUNKED.replace(b"Host: localhost\r\n", b"") if b"Host" in trailer else CHUNKED
    missing = 400 if b"Host" in trailer else 415
    with live.connect() as client:
        client.sendall(request + b"\r\n" + in_chunks(99) + trailer + b"\r\n\r\n")
        assert status_of(read_all(client)) == missing


@pytest.mark.parametrize("part", [b"X-T: " + b"a" * 65_536, b"X-T: a\r\n" * 8192])
def test_trailers_without_end_are_refused_before_they_cost_much(live: Any, part: bytes) -> None:
    with live.connect() as client:
        client.sendall(CHUNKED + b"Content-Type: text/plain\r\n\r\n" + in_chunks(99))
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.sendall(part * 256)


@pytest.mark.parametrize("name", [b"Upgrade", b"upgrade", b"UPGRADE"])
def test_offer_of_another_protocol_does_not_cost_the_body(live: Any, name: bytes) -> None:
    with live.connect() as client:
        client.sendall(
            b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Connection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n"
            + name
            + b": h2c\r\nContent-Length: 14\r\n\r\n"
            + BODY
        )
        assert status_of(client.recv(65536)) == 200
        client.sendall(GET)
        assert b'{"status":"live"}' in client.recv(65536)
