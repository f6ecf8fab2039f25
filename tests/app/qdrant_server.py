"""A stand-in for a Qdrant server: its REST interface over qdrant-client's local mode.

Every request is checked by the client's pydantic models, which are generated from the server's
published OpenAPI schema: a field that is unknown or of another type is refused, as is a path that
is not there. It can be told to fail: to answer 503, to drop the connection before or after the
work, to be slow, to stop in the middle of a batch.
"""

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ValidationError
from qdrant_client import models

from .qdrant_routes import ROUTES, Backend, Fault, RefusedError, create, drop


class Answer(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        _, place, *rest = urlsplit(self.path).path.split("/")
        backend = self.server.backends[place]
        path = "/" + "/".join(rest)
        fault = self.server.fault(backend, f"{self.command} {path}")
        if fault is not None and fault.kind == "reset":
            return self.drop()
        if fault is not None and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault is not None and isinstance(fault.kind, int):
            headers = {"Retry-After": f"{fault.seconds:g}"} if fault.kind == 429 else {}
            return self.answer(fault.kind, {"status": {"error": "told to fail"}}, headers)
        if fault is not None and fault.kind == "junk":
            return self.send(200, b"<html>hello</html>", {})
        backend.half = fault is not None and fault.kind == "half"
        status, content = self.work(backend, path, body)
        if fault is not None and fault.kind in ("lost", "half"):
            return self.drop()
        return self.answer(status, content, {})

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = handle_any  # noqa: N815

    def work(self, backend: Backend, path: str, body: bytes) -> tuple[int, Any]:
        for method, pattern, adapter, handler in ROUTES:
            found = pattern.match(path)
            if method != self.command or found is None:
                continue
            backend.seen[f"{method} {handler.__name__}"] += 1
            options = parse_qs(urlsplit(self.path).query)
            backend.asked.append((handler.__name__, options, dict(self.headers)))
            backend.before.pop(handler.__name__, lambda: None)()
            try:
                parsed = adapter.validate_json(body, strict=True) if adapter else None
                with backend.lock:
                    name = found.groupdict().get("name", "")
                    real = name if handler in (create, drop) else backend.real(name)
                    result = handler(backend, real, parsed)
            except ValidationError as error:
                backend.wrong.append(f"{method} {path}: {error}")
                return 422, {"status": {"error": str(error)}}
            except RefusedError as error:
                status, reason = error.args
                return status, {"status": {"error": reason}}
            except ValueError as error:
                missing = "not found" in str(error)
                return (404 if missing else 400), {"status": {"error": str(error)}}
            return 200, result
        backend.wrong.append(f"no route for {self.command} {path}")
        return 404, {"status": {"error": "no such path"}}

    def answer(self, status: int, content: Any, headers: dict[str, str]) -> None:
        if status == 200 and not isinstance(content, models.VersionInfo):
            content = {"time": 0.0, "status": "ok", "result": plain(content)}
        self.send(status, json.dumps(plain(content)).encode(), headers)

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def drop(self) -> None:
        linger = struct.pack("ii", 1, 0)  # So that the peer sees a reset
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()


def plain(content: Any) -> Any:
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json", by_alias=True, exclude_none=True)
    return [plain(one) for one in content] if isinstance(content, list) else content


class Server(ThreadingHTTPServer):
    """Nodes of any number of clusters, each under a path of its own."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.backends: dict[str, Backend] = {}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up, or a connection that was dropped on purpose, is no error."""
        if not isinstance(sys.exception(), OSError | ValueError):
            super().handle_error(request, client_address)

    def url(self, place: str) -> str:
        """The address of a cluster, which is made when it is first asked for."""
        self.backends.setdefault(place, Backend())
        return f"http://127.0.0.1:{self.server_port}/{place}"

    def fault(self, backend: Backend, call: str) -> Fault | None:
        with backend.lock:
            for fault in backend.faults:
                if fault.times > 0 and fault.path in call:
                    fault.times -= 1
                    return fault
        return None


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run a server."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            for backend in server.backends.values():
                backend.local.close()
