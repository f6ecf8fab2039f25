"""A client for the HTTP API, sync and async: retries, one deadline for all of it, numpy vectors.

Both clients have the methods of ``app.operations`` and drive the generator of ``app.retries``. A
problem that the service answers becomes the exception of ``app.errors`` that it came from.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Self

import httpx

from app import collection_operations as stored
from app import operations, retries
from app import probe_operations as probing
from app import search_operations as searching
from app.errors import InvalidInputError, NotReadyError
from app.lines import MEDIA_TYPE, Decoder, Lines
from app.operations import awaited, blocking, collection_path


def _base_url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInputError(
            f"{url!r:.200} is no URL ({error}); expected one such as http://127.0.0.1:8000."
        ) from None


def _no_json() -> InvalidInputError:
    return InvalidInputError(
        "The request holds what JSON cannot: NaN, an infinity, or a lone surrogate; expected "
        "finite numbers and valid Unicode: correct it."
    )


def _unreachable(url: httpx.URL, error: httpx.HTTPError) -> NotReadyError:
    return NotReadyError(
        f"No answer from {url} ({type(error).__name__}); start a service with `tyntegra serve`, or "
        "name another."
    )


def _whole(response: httpx.Response, parts: list[bytes]) -> httpx.Response:
    kept = {"content-type": response.headers.get("content-type", "")}
    if "retry-after" in response.headers:
        kept["retry-after"] = response.headers["retry-after"]
    content = b"".join(parts)
    return httpx.Response(
        response.status_code, headers=kept, content=content, request=response.request
    )


def _headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


class Client:
    """A blocking client; use it in a ``with`` block.

    Args:
        url: The service.
        key: API key, if the service asks for one.
        timeout_s: Seconds for one call, retries included.
        transport: Another way to send, for tests.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=_base_url(url), headers=_headers(key), transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return its JSON answer, trying again on 429 and 503.

        Raises:
            ServiceError: As the service said, after the retries that the deadline allows.
        """
        attempts = retries.steps(method, path, body, self._timeout_s)
        response: httpx.Response | None = None
        while True:
            try:
                step = attempts.send(response)
            except StopIteration as end:
                return end.value
            response = None
            if isinstance(step, float):
                time.sleep(step)
                step = next(attempts)
            if isinstance(step, retries.Call):
                response = self._send(step)

    def _send(self, call: retries.Call) -> httpx.Response:
        try:
            if isinstance(call.body, Lines):
                return self._upload(call, call.body)
            return self._http.request(
                call.method, call.path, json=call.body, timeout=call.timeout_s
            )
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error
        except ValueError as error:
            if isinstance(call.body, Lines):
                raise  # of whoever gives the documents
            raise _no_json() from error

    def _upload(self, call: retries.Call, body: Lines) -> httpx.Response:
        with self._http.stream(
            call.method,
            call.path,
            content=body.parts(),
            headers={"content-type": MEDIA_TYPE},
            timeout=call.timeout_s,
        ) as response:
            parts: list[bytes] = []
            with suppress(httpx.HTTPError):  # what came before says how much is stored
                parts.extend(response.iter_bytes())
        return _whole(response, parts)

    def export_documents(self, collection: str) -> Iterator[dict[str, Any]]:
        """Read all documents of a collection, as they come.

        Raises:
            ServiceError: As the service said, or if the answer broke off.
        """
        path, decoder = f"{collection_path(collection)}/documents", Decoder()
        try:
            with self._http.stream("GET", path, timeout=self._timeout_s) as response:
                if not response.is_success:
                    response.read()
                    raise retries.error_of(response)
                for part in response.iter_bytes():
                    yield from decoder.feed(part)
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error

    embed = blocking(operations.embed)
    create_collection = blocking(stored.create_collection)
    collection = blocking(stored.collection)
    delete_collection = blocking(operations.delete_collection)
    collections = blocking(operations.collections)
    add_documents = blocking(operations.add_documents)
    upload_documents = blocking(stored.upload_documents)
    document = blocking(operations.document)
    get_documents = blocking(stored.get_documents)
    delete_document = blocking(operations.delete_document)
    delete_documents = blocking(stored.delete_documents)
    reindex = blocking(stored.reindex)
    reindex_progress = blocking(stored.reindex_progress)
    cancel_reindex = blocking(stored.cancel_reindex)
    create_snapshot = blocking(stored.create_snapshot)
    snapshots = blocking(stored.snapshots)
    restore_snapshot = blocking(stored.restore_snapshot)
    delete_snapshot = blocking(stored.delete_snapshot)
    search = blocking(searching.search)
    search_page = blocking(searching.search_page)
    probe = blocking(operations.probe)
    probe_jobs = blocking(probing.probe_jobs)
    probe_job = blocking(probing.probe_job)
    probe_report = blocking(probing.probe_report)
    delete_probe_job = blocking(probing.delete_probe_job)
    replay = blocking(probing.replay)
    compare = blocking(probing.compare)
    info = blocking(operations.info)


class AsyncClient:
    """The same for asyncio; use it in an ``async with`` block. See ``Client``."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._http = httpx.AsyncClient(
            base_url=_base_url(url), headers=_headers(key), transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return its JSON answer; see ``Client.request``."""
        attempts = retries.steps(method, path, body, self._timeout_s)
        response: httpx.Response | None = None
        while True:
            try:
                step = attempts.send(response)
            except StopIteration as end:
                return end.value
            response = None
            if isinstance(step, float):
                await asyncio.sleep(step)
                step = next(attempts)
            if isinstance(step, retries.Call):
                response = await self._send(step)

    async def _send(self, call: retries.Call) -> httpx.Response:
        try:
            if isinstance(call.body, Lines):
                return await self._upload(call, call.body)
            return await self._http.request(
                call.method, call.path, json=call.body, timeout=call.timeout_s
            )
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error
        except ValueError as error:
            if isinstance(call.body, Lines):
                raise  # of whoever gives the documents
            raise _no_json() from error

    async def _upload(self, call: retries.Call, body: Lines) -> httpx.Response:
        async with self._http.stream(
            call.method,
            call.path,
            content=body.parts_async(),
            headers={"content-type": MEDIA_TYPE},
            timeout=call.timeout_s,
        ) as response:
            parts: list[bytes] = []
            with suppress(httpx.HTTPError):  # what came before says how much is stored
                async for part in response.aiter_bytes():
                    parts.append(part)  # noqa: PERF401  # keeps what came before a failure
        return _whole(response, parts)

    async def export_documents(self, collection: str) -> AsyncIterator[dict[str, Any]]:
        """Read all documents of a collection, as they come; see ``Client.export_documents``."""
        path, decoder = f"{collection_path(collection)}/documents", Decoder()
        try:
            async with self._http.stream("GET", path, timeout=self._timeout_s) as response:
                if not response.is_success:
                    await response.aread()
                    raise retries.error_of(response)
                async for part in response.aiter_bytes():
                    for document in decoder.feed(part):
                        yield document
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error

    embed = awaited(operations.embed)
    create_collection = awaited(stored.create_collection)
    collection = awaited(stored.collection)
    delete_collection = awaited(operations.delete_collection)
    collections = awaited(operations.collections)
    add_documents = awaited(operations.add_documents)
    upload_documents = awaited(stored.upload_documents)
    document = awaited(operations.document)
    get_documents = awaited(stored.get_documents)
    delete_document = awaited(operations.delete_document)
    delete_documents = awaited(stored.delete_documents)
    reindex = awaited(stored.reindex)
    reindex_progress = awaited(stored.reindex_progress)
    cancel_reindex = awaited(stored.cancel_reindex)
    create_snapshot = awaited(stored.create_snapshot)
    snapshots = awaited(stored.snapshots)
    restore_snapshot = awaited(stored.restore_snapshot)
    delete_snapshot = awaited(stored.delete_snapshot)
    search = awaited(searching.search)
    search_page = awaited(searching.search_page)
    probe = awaited(operations.probe)
    probe_jobs = awaited(probing.probe_jobs)
    probe_job = awaited(probing.probe_job)
    probe_report = awaited(probing.probe_report)
    delete_probe_job = awaited(probing.delete_probe_job)
    replay = awaited(probing.replay)
    compare = awaited(probing.compare)
    info = awaited(operations.info)
