"""Documents to a service that runs, which encodes them: batches, waits, and rows it refuses."""

import random
import time
from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any

import httpx
import orjson

from app import retries
from app.bulk.target import CONNECTIONS, Target
from app.bulk.work import Written
from app.errors import (
    InvalidInputError,
    NotFoundError,
    NotReadyError,
    OverloadedError,
    ServiceError,
    TooLargeError,
)
from app.operations import collection_path
from app.retrieval.documents import Document
from app.retrieval.store import FieldType

BODY_BYTES = 900_000
"""Of a request, below what a service takes unless told otherwise."""
_CALL_S = 120.0
SLOW_S, FAST_S = 10.0, 2.0
"""A request that takes longer makes the next ones smaller, one that takes less makes them larger:
a service sends away what it cannot do within TYNTEGRA_REQUEST_TIMEOUT_S (30)."""


class StoppedError(ServiceError):
    """The job was told to stop while it waited; what was under way is done in the next run."""

    code = "stopped"


class _TooSlowError(Exception):
    """A request was not done in time, and may be if it is smaller."""


class ServiceSink:
    """Writes to a service; threads may share it.

    Args:
        target: Names the service.
        stop: Ends waits when it is set.

    Raises:
        ServiceError: If there is no service, or the collection cannot be created.
    """

    def __init__(self, target: Target, stop: Event) -> None:
        self._target = target
        self._stop = stop
        self._limit = self._most = target.batch
        headers = {"content-type": "application/json"}
        if target.key:
            headers["authorization"] = f"Bearer {target.key}"
        try:
            url = httpx.URL(target.url or "")
        except httpx.InvalidURL as error:
            raise InvalidInputError(
                f"{target.url!r:.200} is no URL ({error}); expected one such as "
                "http://127.0.0.1:8000."
            ) from None
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=4 * CONNECTIONS)
        self._http = httpx.Client(base_url=url, headers=headers, limits=limits)
        self._path = collection_path(target.collection)
        try:
            found = self._describe()
        except BaseException:
            self.close()
            raise
        self._fields: Mapping[str, FieldType] = found.get("fields") or {}
        self._count: int = found["documents"]

    @property
    def fields(self) -> Mapping[str, FieldType]:
        """The collection's declared fields."""
        return self._fields

    @property
    def count(self) -> int:
        """Documents in the collection when the sink was opened."""
        return self._count

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def write(self, documents: Sequence[Document]) -> Written:
        """Send documents; what the service refuses is found by halving the batch."""
        packed = [_pack(document) for document in documents]
        refused: dict[int, str] = {}
        truncated = 0
        first = 0
        while first < len(packed):
            last, size = first + 1, len(packed[first])
            while last < len(packed) and last - first < self._most:
                size += len(packed[last]) + 1
                if size > BODY_BYTES:
                    break
                last += 1
            truncated += self._add(packed, first, last, refused)
            first = last
        return Written(refused, truncated)

    def _add(self, packed: list[bytes], first: int, last: int, refused: dict[int, str]) -> int:
        body = b'{"documents":[' + b",".join(packed[first:last]) + b"]}"
        alone = last - first == 1
        started = time.monotonic()
        try:
            answer = self._send("POST", f"{self._path}/documents", body, whole=alone)
        except (InvalidInputError, TooLargeError) as error:
            if alone:
                refused[first] = error.message
                return 0
        except _TooSlowError:
            self._most = max(1, (last - first) // 2)
            return sum(self._add(packed, *half, refused) for half in _halves(first, last))
        else:
            self._pace(last - first, time.monotonic() - started)
            return len(answer["truncated"])
        before = len(refused)
        truncated = sum(self._add(packed, *half, refused) for half in _halves(first, last))
        if len(refused) == before:  # no document was at fault, so there were too many
            self._limit = min(self._limit, max(1, (last - first) // 2))
            self._most = min(self._most, self._limit)
        return truncated

    def _pace(self, documents: int, seconds: float) -> None:
        if seconds > SLOW_S:
            self._most = max(1, documents // 2)
        elif seconds < FAST_S and documents >= self._most:
            self._most = min(self._limit, 2 * self._most)

    def _describe(self) -> dict[str, Any]:
        target = self._target
        declared: dict[str, Any] = {}
        if target.fields:
            declared["fields"] = dict(target.fields)
        if target.windows:
            windows = target.windows
            declared["windows"] = {"tokens": windows.tokens, "stride": windows.stride}
        if not declared:
            try:
                return self._send("GET", self._path)
            except NotFoundError:
                pass
        self._send("PUT", self._path, orjson.dumps(declared) if declared else None)
        return self._send("GET", self._path)

    def _send(
        self, method: str, path: str, body: bytes | None = None, *, whole: bool = True
    ) -> Any:
        attempts = retries.steps(method, path, body, self._target.patience_s)
        response: httpx.Response | None = None
        while True:
            try:
                step = attempts.send(response)
                if isinstance(step, float):
                    self._wait(step)
                    step = next(attempts)
            except StopIteration as end:
                return end.value
            except OverloadedError as error:
                raise NotReadyError(f"{error.message} It was busy for too long.") from None
            if isinstance(step, retries.Call):
                started = time.monotonic()
                response = self._call(step)
                busy = response.status_code == 429
                if busy and not whole and time.monotonic() - started > SLOW_S:
                    raise _TooSlowError

    def _call(self, call: retries.Call) -> httpx.Response:
        deadline = time.monotonic() + self._target.patience_s
        attempt = 0
        while True:
            try:
                return self._http.request(
                    call.method, call.path, content=call.body, timeout=_CALL_S
                )
            except httpx.UnsupportedProtocol:
                raise InvalidInputError(
                    f"{self._target.url!r:.200} is no URL of a service; expected one such as "
                    "http://127.0.0.1:8000."
                ) from None
            except httpx.TransportError as error:
                # Writing twice changes nothing, so whatever broke may be tried again.
                attempt += 1
                wait = random.uniform(0.1, 0.3) * 2 ** min(attempt, 5)
                if time.monotonic() + wait > deadline:
                    raise NotReadyError(
                        f"No answer from {self._http.base_url} ({type(error).__name__}) for "
                        f"{self._target.patience_s:g} s; start a service with `tyntegra serve`, "
                        "name another with --url, or write to a store with --store."
                    ) from None
                self._wait(wait)

    def _wait(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise StoppedError("The job was told to stop.")


def _halves(first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]]:
    middle = (first + last) // 2
    return (first, middle), (middle, last)


def _pack(document: Document) -> bytes:
    packed: dict[str, Any] = {"doc_id": document.doc_id, "text": document.text}
    if document.lang is not None:
        packed["lang"] = document.lang
    if document.metadata:
        packed["metadata"] = document.metadata
    return orjson.dumps(packed, default=dict)
