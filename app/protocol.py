"""uvicorn's HTTP protocol with the bounds it lacks: time to send a request, header bytes, clients.

Without them, a client that sends one byte a second keeps a connection for good, and a few hundred
such clients keep everybody out. The parser is httptools: the pure-Python one spends seconds on a
body that comes in chunks of one byte.
"""

import asyncio
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from app.api.problems import problem
from app.api.streams import is_stream

WRITE_TIMEOUT_S = 30.0
"""A client that takes no byte of its answer for so long is cut off."""
MOST_FRAMING = 8
"""Bytes on the wire for each byte of a chunked body; chunks of a single byte take six."""

_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


def _ignore(status: int) -> None:
    """Count nothing."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a client may take of a server before any route sees its request."""

    header_timeout_s: float = 5.0
    body_timeout_s: float = 10.0
    max_header_bytes: int = 16_384
    max_connections: int = 512
    count: Callable[[int], None] = field(default=_ignore)


class RefusedError(Exception):
    """Ends the parsing of a request; the parser turns it into its own error."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection, with a timer for whatever part of a request is due from the client."""

    bounds: ClassVar[Bounds] = Bounds()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stage: Literal["idle", "headers", "body", "answer"] = "idle"
        self._timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._answering: RequestResponseCycle | None = None
        self._header_bytes = self._wire_bytes = self._body_bytes = 0
        self._refusal = ("malformed-request", "What came is not an HTTP/1.1 request.")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit a client if there is room, and expect its request soon."""
        super().connection_made(transport)
        if len(self.connections) > self.bounds.max_connections:
            self._refuse("not-ready", "All connections are taken; try again in a few seconds.")
        else:
            self._expect(self.bounds.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all clocks."""
        self._expect(None)
        self._stop_write_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless the connection is being closed."""
        if self.transport.is_closing():
            return
        if self._stage == "idle" and self._timer is None:
            self._expect(self.bounds.header_timeout_s)  # a first byte, even of an empty line
        before = self._stage
        super().data_received(data if before in ("headers", "body") else _without_upgrade(data))
        # The parser keeps an unfinished header or trailer to itself, so bytes are counted here.
        if self._stage in ("idle", "headers"):
            self._header_bytes += len(data)
            if self._header_bytes > self.bounds.max_header_bytes:
                self._refuse(*self._headers_refusal())
        elif self._stage == before == "body":
            self._wire_bytes += len(data)
            if self._wire_bytes > self.bounds.max_header_bytes + MOST_FRAMING * self._body_bytes:
                self._refuse(*self._headers_refusal())

    def on_message_begin(self) -> None:
        """A request begins."""
        self._stage = "headers"
        if self._timer is None:
            self._expect(self.bounds.header_timeout_s)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, but no trailer: what follows a body must not change what it means."""
        if self._stage != "body":
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are there; hold them to their bound and expect the body."""
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.bounds.max_header_bytes:
            self._refusal = self._headers_refusal()
            raise RefusedError
        self._stage = "body"
        self._header_bytes = self._wire_bytes = self._body_bytes = 0
        super().on_headers_complete()
        # Who reads a body without end keeps the time itself: it knows when it is we who pause.
        self._expect(None if self._is_stream() else self.bounds.body_timeout_s)

    def on_body(self, body: bytes) -> None:
        """A part of the body is there."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole; nothing more is due from the client."""
        self._stage = "answer"
        self._expect(None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer is written; wait for the next request."""
        if self._stage == "answer":
            self._stage = "idle"
        elif self._stage == "body" and self._timer is None:
            self._expect(self.bounds.body_timeout_s)  # for the rest, which nobody reads
        super().on_response_complete()

    def pause_writing(self) -> None:
        """The client does not take its answer."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(WRITE_TIMEOUT_S, self._cut_off)

    def resume_writing(self) -> None:
        """The client takes its answer."""
        self._stop_write_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be parsed, or was refused while parsing."""
        self._refuse(*self._refusal)

    def _is_stream(self) -> bool:
        sent = next((value for name, value in self.headers if name == b"content-type"), b"")
        path = self.url.partition(b"?")[0].decode("latin-1")
        return is_stream(self.scope["method"], path, sent.decode("latin-1"))

    def _expect(self, seconds: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = self.loop.call_later(seconds, self._too_slow, seconds)

    def _too_slow(self, seconds: float) -> None:
        self._timer = None
        if self.flow.read_paused:  # it is we who do not read
            self._expect(seconds)
            return
        part = "body" if self._stage == "body" else "headers"
        if self._stage == "idle" and self._header_bytes == 0:
            self.transport.close()  # never sent anything: there is no request to answer
        else:
            self._refuse("timeout", f"The {part} did not arrive within {seconds:g} s.")

    def _refuse(self, code: str, detail: str) -> None:
        self._expect(None)
        answering = self._stage in ("body", "answer") and self.cycle is not None
        if not self.transport.is_closing() and not (answering and self.cycle.response_started):
            asked = b"" if self._stage == "idle" else self.url or b""  # of this request, if known
            path = asked.partition(b"?")[0].decode("ascii", "replace")
            scope = {"state": {"request_id": uuid.uuid4().hex}, "path": path}
            retry = {"retry-after": "2"} if code == "not-ready" else {}
            answer = problem(scope, code, detail, headers={"connection": "close"} | retry)
            lines = [STATUS_LINE[answer.status_code]]
            lines += [name + b": " + value + b"\r\n" for name, value in answer.raw_headers]
            self.transport.write(b"".join([*lines, b"\r\n", answer.body]))
            self.bounds.count(answer.status_code)
        self.transport.close()

    def _cut_off(self) -> None:
        if self._answering is not None:
            self._answering.disconnected = True  # so that its next write is none, not an error
        self.transport.abort()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle  # the parser may have come to a later request of the same client
        super()._start_asgi_task(cycle, app)

    def _headers_refusal(self) -> tuple[str, str]:
        most = self.bounds.max_header_bytes
        return "headers-too-large", f"Request line and headers exceed {most} bytes; send fewer."

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


def _without_upgrade(data: bytes) -> bytes:
    """Rename the header of a client that offers another protocol: the parser drops its body."""
    end = data.find(b"\r\n\r\n")
    found = _UPGRADE.search(data, 0, len(data) if end < 0 else end)
    return data if found is None else data[: found.start() + 2] + b"x-" + data[found.start() + 2 :]


def bounded_protocol(bounds: Bounds) -> type[BoundedProtocol]:
    """Make the protocol class for some bounds: uvicorn takes a class, not an instance."""
    return type("BoundedProtocol", (BoundedProtocol,), {"bounds": bounds})
