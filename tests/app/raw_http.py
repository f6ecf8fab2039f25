"""Bytes on a socket: a server with short times, and what is read from it."""

import json
import socket
import time

HEADER_S, BODY_S = 0.4, 0.6
BOUNDS = {"header_timeout_s": HEADER_S, "body_timeout_s": BODY_S, "idle_timeout_s": 0.5}
SLACK_S = 3.0
GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


def read_all(client: socket.socket, within_s: float = SLACK_S) -> bytes:
    """Everything until the server closes; fails if it does not within the time."""
    deadline, parts = time.monotonic() + within_s, []
    while True:
        client.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            part = client.recv(65536)
        except ConnectionResetError:
            return b"".join(parts)
        if not part:
            return b"".join(parts)
        parts.append(part)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def require_problem(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status_of(answer) == status, answer
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    assert json.loads(body)["status"] == status
