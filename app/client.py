"""A client for the HTTP API, sync and async: retries, one deadline for all of it, numpy vectors.

Both clients drive the generator of ``app.retries``. A problem that the service answers becomes the
exception of ``app.errors`` that it came from.
"""

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self
from urllib.parse import quote

import httpx
import numpy as np
from numpy.typing import NDArray

from app import retries
from app.errors import InvalidInputError, NotReadyError


def _base_url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidInputError(
            f"{url!r:.200} is no URL ({error}); expected one such as http://127.0.0.1:8000."
        ) from None


def _unreachable(url: httpx.URL, error: httpx.HTTPError) -> NotReadyError:
    return NotReadyError(
        f"No answer from {url} ({type(error).__name__}); start a service with `tyntegra serve`, or "
        "name another."
    )


def _vectors(answer: Mapping[str, Any]) -> NDArray[np.float32]:
    packed = b"".join(base64.b64decode(row) for row in answer["embeddings"])
    return np.frombuffer(packed, "<f4").reshape(-1, answer["dimensions"]).astype(np.float32)


def _embed_body(
    texts: Sequence[str], input_type: str, truncate: bool, dimensions: int | None
) -> dict[str, Any]:
    return {
        "inputs": list(texts),
        "input_type": input_type,
        "truncate": truncate,
        "dimensions": dimensions,
        "encoding_format": "base64",
    }


def _search_body(
    collection: str, queries: Sequence[str], top_k: int, lang: Sequence[str]
) -> dict[str, Any]:
    body: dict[str, Any] = {"collection": collection, "queries": list(queries), "top_k": top_k}
    return body | {"filter": {"lang": list(lang)}} if lang else body


def document_path(collection: str, doc_id: str) -> str:
    """The path of a document; every character that means something in a path is encoded."""
    # Clients resolve the segments "." and "..", even where quote() leaves dots alone.
    encoded = quote(doc_id, safe="").replace(".", "%2E")
    return f"/collections/{quote(collection, safe='')}/documents/{encoded}"


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
            return self._http.request(
                call.method, call.path, json=call.body, timeout=call.timeout_s
            )
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error

    def embed(
        self,
        texts: Sequence[str],
        input_type: Literal["query", "document"] = "query",
        *,
        truncate: bool = True,
        dimensions: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts: unit rows, shape (texts, dim)."""
        body = _embed_body(texts, input_type, truncate, dimensions)
        return _vectors(self.request("POST", "/embed", body))

    def create_collection(self, name: str) -> dict[str, Any]:
        """Create a collection, or find it there."""
        return self.request("PUT", f"/collections/{quote(name, safe='')}")

    def delete_collection(self, name: str) -> None:
        """Delete a collection and its documents."""
        self.request("DELETE", f"/collections/{quote(name, safe='')}")

    def collections(self) -> list[dict[str, Any]]:
        """List the collections."""
        return self.request("GET", "/collections")["collections"]

    def add_documents(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> int:
        """Add documents (doc_id, text, lang, metadata); they are on disk when this returns."""
        body = {"documents": [dict(document) for document in documents]}
        path = f"/collections/{quote(collection, safe='')}/documents"
        return self.request("POST", path, body)["upserted"]

    def document(self, collection: str, doc_id: str) -> dict[str, Any]:
        """Read a document."""
        return self.request("GET", document_path(collection, doc_id))

    def delete_document(self, collection: str, doc_id: str) -> None:
        """Delete a document."""
        self.request("DELETE", document_path(collection, doc_id))

    def search(
        self, collection: str, queries: Sequence[str], top_k: int = 10, *, lang: Sequence[str] = ()
    ) -> list[list[dict[str, Any]]]:
        """Find the nearest documents of each query: its hits, best first."""
        answer = self.request("POST", "/search", _search_body(collection, queries, top_k, lang))
        return [result["hits"] for result in answer["results"]]

    def probe(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Run a probe; takes and returns what POST /probe/adversarial does."""
        return self.request("POST", "/probe/adversarial", dict(request))

    def info(self) -> dict[str, Any]:
        """What the service runs."""
        return self.request("GET", "/info")


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
            return await self._http.request(
                call.method, call.path, json=call.body, timeout=call.timeout_s
            )
        except httpx.HTTPError as error:
            raise _unreachable(self._http.base_url, error) from error

    async def embed(
        self,
        texts: Sequence[str],
        input_type: Literal["query", "document"] = "query",
        *,
        truncate: bool = True,
        dimensions: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts: unit rows, shape (texts, dim)."""
        body = _embed_body(texts, input_type, truncate, dimensions)
        return _vectors(await self.request("POST", "/embed", body))

    async def create_collection(self, name: str) -> dict[str, Any]:
        """Create a collection, or find it there."""
        return await self.request("PUT", f"/collections/{quote(name, safe='')}")

    async def add_documents(self, collection: str, documents: Sequence[Mapping[str, Any]]) -> int:
        """Add documents (doc_id, text, lang, metadata); they are on disk when this returns."""
        body = {"documents": [dict(document) for document in documents]}
        path = f"/collections/{quote(collection, safe='')}/documents"
        return (await self.request("POST", path, body))["upserted"]

    async def search(
        self, collection: str, queries: Sequence[str], top_k: int = 10, *, lang: Sequence[str] = ()
    ) -> list[list[dict[str, Any]]]:
        """Find the nearest documents of each query: its hits, best first."""
        body = _search_body(collection, queries, top_k, lang)
        answer = await self.request("POST", "/search", body)
        return [result["hits"] for result in answer["results"]]
