"""The outermost layer of a request: its id, its time, its security headers, its last catch.

A HEAD is answered as the GET would be, without the body.

A plain ASGI middleware: three of Starlette's convenient ones cost more than the whole rest of a
small request.
"""

import logging
import re
import time
import uuid
from contextlib import nullcontext

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import OPAQUE, problem
from app.probing.courtesy import Traffic
from app.telemetry import Metrics, describe_exception, log

BEFORE_PROBES = ("/embed", "/search", "/v1/", "/collections")
"""Requests that probes give way to."""
_CLIENT_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS = tuple(
    (name.encode(), value.encode())
    for name, value in {
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }.items()
)


class Envelope:
    """Gives each request an id and its answer the headers, and counts it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, traffic: Traffic) -> None:
        self.app = app
        self.metrics = metrics
        self.traffic = traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; answer 500 if nothing else did."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = _identity(scope)
        method = _method(scope)
        if bodiless := method == "HEAD":
            scope = {**scope, "method": "GET"}
        state = scope.setdefault("state", {})
        state["request_id"] = identity
        state["started"] = started = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (*SECURITY_HEADERS, (b"x-request-id", identity.encode()))
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((name, value) for name, value in own if name not in present),
                ]
            elif bodiless and message["type"] == "http.response.body":
                message["body"] = b""
            await send(message)

        passes = self.traffic if scope["path"].startswith(BEFORE_PROBES) else nullcontext()
        with self.metrics.in_flight.track_inprogress(), passes:
            try:
                await self.app(scope, receive, send_with_headers)
            except Exception as error:
                log(
                    logging.ERROR,
                    "request failed",
                    request_id=identity,
                    route=_route(scope),
                    error=describe_exception(error),
                )
                if status:
                    raise  # too late for an answer: the server closes the connection
                await problem(scope, "internal", OPAQUE)(scope, receive, send_with_headers)
            finally:
                self._count(scope, method, status, time.perf_counter() - started)

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = _route(scope)
        self.metrics.requests.labels(method, route, str(status or 499)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        # A probe of readiness that is told "not yet" is no failure.
        failed = status >= 500 and route != "/health/ready"
        level = logging.WARNING if failed else logging.DEBUG
        log(
            level,
            "request",
            request_id=scope["state"]["request_id"],
            method=method,
            route=route,
            status=status or 499,
            seconds=round(seconds, 4),
        )


def _identity(scope: Scope) -> str:
    sent = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return sent.decode("ascii") if _CLIENT_ID.fullmatch(sent) else uuid.uuid4().hex


def _route(scope: Scope) -> str:
    # The template, never the path: a path may hold a document's id, and labels must be few.
    return getattr(scope.get("route"), "path", "unmatched")


def _method(scope: Scope) -> str:
    known = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH")
    return scope["method"] if scope["method"] in known else "other"
