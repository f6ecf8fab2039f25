"""What a client can ask of the service, written once for its blocking and its asyncio form.

Each function makes an ``Operation``: what to send, and how to read the answer. ``blocking`` and
``awaited`` make a method of it, with the same parameters and documentation.
"""

import base64
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from app.encoder.output import DTYPES, OutputType

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """A request, and how to read its answer."""

    method: str
    path: str
    body: Any = None
    read: Callable[[Any], T] = lambda answer: answer


class _Blocking(Protocol):
    def request(self, method: str, path: str, body: Any = None) -> Any: ...


class _Awaited(Protocol):
    async def request(self, method: str, path: str, body: Any = None) -> Any: ...


def blocking(make: Callable[P, Operation[T]]) -> Callable[Concatenate[_Blocking, P], T]:
    """Make a method of a blocking client."""

    @functools.wraps(make)
    def method(self: _Blocking, *args: P.args, **kwargs: P.kwargs) -> T:
        asked = make(*args, **kwargs)
        return asked.read(self.request(asked.method, asked.path, asked.body))

    return method


def awaited(
    make: Callable[P, Operation[T]],
) -> Callable[Concatenate[_Awaited, P], Coroutine[Any, Any, T]]:
    """Make a method of an asyncio client."""

    @functools.wraps(make)
    async def method(self: _Awaited, *args: P.args, **kwargs: P.kwargs) -> T:
        asked = make(*args, **kwargs)
        return asked.read(await self.request(asked.method, asked.path, asked.body))

    return method


def embed(
    texts: Sequence[str],
    input_type: Literal["query", "document"] = "query",
    *,
    truncate: bool = True,
    windows: bool = False,
    dimensions: int | None = None,
    output_type: OutputType = "float",
) -> Operation[NDArray[Any]]:
    """Embed texts: unit rows, shape (texts, dim), in float32 unless another type is asked for.

    Args:
        texts: The texts.
        input_type: What they are.
        truncate: Cut texts to the model's length; false refuses them.
        windows: Encode such texts in windows and average their vectors.
        dimensions: Keep only so many, of those that the model was trained for.
        output_type: See ``app.encoder.output``; bits come packed, shape (texts, ceil(dim / 8)).
    """
    body = {
        "inputs": list(texts),
        "input_type": input_type,
        "truncate": truncate,
        "dimensions": dimensions,
        "encoding_format": "base64",
    }
    # Left out where they change nothing, so that an older service understands.
    if windows:
        body["windows"] = True
    if output_type != "float":
        body["output_type"] = output_type

    def read(answer: Mapping[str, Any]) -> NDArray[Any]:
        packed = bytearray().join(base64.b64decode(row) for row in answer["embeddings"])
        rows = np.frombuffer(packed, DTYPES[output_type])
        return rows.reshape(len(answer["embeddings"]), -1).astype(rows.dtype.newbyteorder("="))

    return Operation("POST", "/embed", body, read)


def delete_collection(name: str) -> Operation[None]:
    """Delete a collection and its documents."""
    return Operation("DELETE", collection_path(name))


def collections() -> Operation[list[dict[str, Any]]]:
    """List the collections."""
    return Operation("GET", "/collections", read=lambda answer: answer["collections"])


def add_documents(collection: str, documents: Sequence[Mapping[str, Any]]) -> Operation[int]:
    """Add documents (doc_id, text, lang, metadata); they are on disk when this returns."""
    body = {"documents": [dict(document) for document in documents]}
    path = f"{collection_path(collection)}/documents"
    return Operation("POST", path, body, lambda answer: answer["upserted"])


def document(collection: str, doc_id: str) -> Operation[dict[str, Any]]:
    """Read a document."""
    return Operation("GET", document_path(collection, doc_id))


def delete_document(collection: str, doc_id: str) -> Operation[None]:
    """Delete a document."""
    return Operation("DELETE", document_path(collection, doc_id))


def probe(request: Mapping[str, Any]) -> Operation[dict[str, Any]]:
    """Run a probe; takes and returns what POST /probe/adversarial does."""
    return Operation("POST", "/probe/adversarial", dict(request))


def info() -> Operation[dict[str, Any]]:
    """What the service runs."""
    return Operation("GET", "/info")


def document_path(collection: str, doc_id: str) -> str:
    """The path of a document; every character that means something in a path is encoded."""
    return f"{collection_path(collection)}/documents/{segment(doc_id)}"


def collection_path(name: str) -> str:
    """The path of a collection."""
    return f"/collections/{segment(name)}"


def segment(name: str) -> str:
    """Write a name as one segment of a path."""
    # Clients resolve the segments "." and "..", even where quote() leaves dots alone.
    return quote(name, safe="").replace(".", "%2E")
