"""OpenAI's routes over a socket: refusals before any route, malformed requests by the score."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def live(serving: Any) -> Iterator[Any]:
    with serving(body_timeout_s=0.3, max_header_bytes=2048) as found:
        yield found


def answer_to(live: Any, sent: bytes) -> tuple[int, bytes, Any]:
    """Status, head and body of what comes until the server closes."""
    received = b""
    with live.connect() as connection:
        connection.sendall(sent)
        while part := connection.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), head, json.loads(body)


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (HEAD + b"content-length: 9\r\n\r\n{", 408, "timeout"),
        (HEAD + b"x: " + b"y" * 3000 + b"\r\n\r\n", 431, "headers_too_large"),
    ],
)
def test_refusal_while_reading_has_openais_shape(
    live: Any, sent: bytes, status: int, code: str
) -> None:
    found, head, body = answer_to(live, sent)
    assert found == status
    assert b"content-type: application/json" in head
    assert body["error"]["code"] == code


def test_refusal_of_what_names_no_route_is_a_problem(live: Any) -> None:
    _, head, body = answer_to(live, b"\x16\x03\x01 nonsense\r\n\r\n")
    assert b"application/problem+json" in head
    assert body["status"] == 400


def test_malformed_requests_are_all_refused_and_logged_once(
    serving: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(log="info") as live:
        statuses = [answer_to(live, b"nonsense\r\n\r\n")[0] for _ in range(20)]
    logged = capfd.readouterr().err
    assert statuses == [400] * 20
    assert logged.count("Invalid HTTP request received") == 1
