"""POST /collections/{name}/documents with application/x-ndjson: an upload of any length.

The body is read as it is worked off, and the answer is written meanwhile: lines of JSON that say
which lines were refused and up to which line everything is on disk. The status is sent with the
first of them, so what hinders all of it (no such collection, no room) is a plain problem.
"""

import asyncio
import logging
import time
from collections import deque
from contextlib import aclosing
from typing import Any

import orjson
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.adding import find_writable
from app.api.bodies import Handle, StrictRoute, media_type_refusal
from app.api.dependencies import open_service
from app.api.limits import ShedError
from app.api.problems import OPAQUE, ClientGoneError, problem, request_id
from app.api.receiving import Bounds, LineReader, TooSlowError
from app.api.state import Service
from app.api.streams import NDJSON, is_stream
from app.api.upload import Batch, describe_refusal, encode_lines, store_batch
from app.api.wire import CollectionName
from app.errors import InferenceError, InvalidInputError, NotReadyError, ServiceError
from app.retrieval.store import Collection
from app.telemetry import describe_exception, log

AHEAD = 3
"""Batches that are encoded while one is stored and one is read."""
MOST_REFUSED = 1000
"""An upload ends after so many wrong lines: what comes is something else than documents."""
MOST_TRUNCATED = 100
PROGRESS_S = 1.0
LINGER_S = 2.0
"""How long the rest of an upload that was ended is still read, and thrown away."""


class StreamRoute(StrictRoute):
    """A route that takes lines of JSON too."""

    def get_route_handler(self) -> Handle:
        """Choose by the body's media type."""
        handle = super().get_route_handler()

        async def choose(request: Request) -> Response:
            if is_stream(request.method, request.url.path, request.headers.get("content-type", "")):
                return await receive_documents(request)
            return await handle(request)

        return choose


async def receive_documents(request: Request) -> Response:
    """Check what must hold before a line is read, and begin to read.

    Raises:
        ServiceError: If documents cannot be added now.
    """
    service = await open_service(request)
    if refusal := media_type_refusal(request, NDJSON):
        return problem(request.scope, "unsupported-media-type", refusal)
    try:
        name = TypeAdapter(CollectionName).validate_python(request.path_params["name"])
    except ValidationError as error:
        found = [{**each, "loc": ("path", "name")} for each in error.errors()]
        raise RequestValidationError(found) from None
    collection = await find_writable(service, name)
    most = service.settings.max_streams
    if service.streams >= most:
        raise ShedError(
            f"{service.streams} uploads go on already, the most there may be; try again later, or "
            "raise TYNTEGRA_MAX_STREAMS.",
            "streams",
            retry_after_s=5.0,
        )
    return Upload(service, collection)


class Upload(Response):
    """The answer to an upload, which reads and stores it while it is written."""

    media_type = NDJSON

    def __init__(self, service: Service, collection: Collection) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._service, self._collection = service, collection
        self._pending: deque[asyncio.Task[Batch]] = deque()
        self._send: Send | None = None
        self._started = False
        self._told = 0.0
        self._line = self._stored = self._refused = self._truncated = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read, store and tell until the stream ends, or the client or the service does.

        Raises:
            ServiceError: If nothing was written yet and nothing more can be stored.
            ClientGoneError: If the client left before anything was written.
        """
        settings, self._send = self._service.settings, send
        bounds = Bounds(settings.max_documents, settings.max_body_bytes, settings.body_timeout_s)
        reader = LineReader(receive, bounds)
        self._service.streams += 1
        try:
            stopped = await self._read(reader)
            self._line = self._line if stopped else reader.number
            counts = self._counts() | {"lines": reader.number}
            end = {"event": "stopped", **stopped} if stopped else {"event": "done"}
            await self._emit([end | counts])
            if stopped:
                await reader.discard(LINGER_S)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ServiceError as error:
            if not self._started:
                raise
            reason = _describe(error, scope)
            await self._emit([{"event": "stopped", **reason} | self._counts()])
            await reader.discard(LINGER_S)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGoneError:
            if not self._started:
                raise
        finally:
            self._service.streams -= 1
            reader.close()
            for task in self._pending:
                task.cancel()
            await asyncio.gather(*self._pending, return_exceptions=True)

    async def _read(self, reader: LineReader) -> dict[str, Any] | None:
        """Work off the stream; returns why that ended early, if it did."""
        stopped: dict[str, Any] | None = None
        try:
            async with aclosing(reader.batches()) as batches:
                async for lines in batches:
                    if lines:
                        work = encode_lines(self._service, self._collection, lines)
                        self._pending.append(asyncio.create_task(work))
                    await self._work_off(AHEAD if lines else 0)
                    if stopped := self._stop():
                        break
        except TooSlowError:
            seconds = self._service.settings.body_timeout_s
            detail = f"Next to nothing came for {seconds:g} s; go on after this line."
            stopped = {"type": "urn:tyntegra:problem:timeout", "status": 408, "detail": detail}
        await self._work_off(0)
        return stopped

    def _stop(self) -> dict[str, Any] | None:
        if self._refused >= MOST_REFUSED:
            return describe_refusal(
                InvalidInputError(
                    f"{MOST_REFUSED} lines or more were refused, so what comes may be something "
                    "else than documents; correct them and go on after this line."
                )
            )
        if self._service.stopping.is_set():
            return describe_refusal(NotReadyError("The service ends; go on after this line."))
        return None

    async def _work_off(self, most: int) -> None:
        """Store what is encoded, until no more than so many batches are left to be."""
        while self._pending and (len(self._pending) > most or self._pending[0].done()):
            batch = await self._pending[0]
            self._pending.popleft()
            stored, truncated = await store_batch(self._service, self._collection, batch)
            events: list[dict[str, Any]] = [
                {"event": "error", "line": line, **refusal}
                for line, refusal in sorted(batch.refused.items())
            ]
            if truncated and self._truncated < MOST_TRUNCATED:
                events.append({"event": "truncated", "lines": truncated})
            self._collection = batch.collection or self._collection
            self._line = batch.last
            self._stored += stored
            self._refused += len(batch.refused)
            self._truncated += len(truncated)
            if events or time.monotonic() - self._told >= PROGRESS_S:
                self._told = time.monotonic()
                await self._emit([*events, {"event": "progress"} | self._counts()])

    def _counts(self) -> dict[str, int]:
        return {
            "line": self._line,
            "stored": self._stored,
            "refused": self._refused,
            "truncated": self._truncated,
        }

    async def _emit(self, events: list[dict[str, Any]]) -> None:
        send = self._send
        assert send is not None  # noqa: S101  # set before anything is read
        if not self._started:
            self._started = True
            start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
            await send(start)
        body = b"".join(orjson.dumps(event) + b"\n" for event in events)
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _describe(error: ServiceError, scope: Scope) -> dict[str, Any]:
    described = describe_refusal(error)
    if described["status"] != 500:
        return described
    kept = error.message if isinstance(error, InferenceError) else ""
    log(
        logging.ERROR,
        "upload failed",
        request_id=request_id(scope),
        error=describe_exception(error),
        message=kept,
    )
    return described | {"detail": OPAQUE}
