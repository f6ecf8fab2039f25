"""/collections/{name}/documents: add, read and delete documents."""

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.adding import ChangedError, encode_ready, find_writable, prepare, store_filled
from app.api.bodies import StrictRoute
from app.api.dependencies import Name, OpenService
from app.api.document import DocumentReply, DocumentWire, EncodedDocId, write_document
from app.api.limits import answer_in_time, require_count
from app.api.problems import responses
from app.api.state import Service
from app.api.stream import NDJSON, StreamRoute
from app.api.wire import JSON, Reply, Wire
from app.api.writing import in_writing
from app.errors import NotFoundError
from app.retrieval.store import VectorStore
from app.settings import MAX_ITEMS

router = APIRouter(route_class=StrictRoute, tags=["documents"])
adding = APIRouter(route_class=StreamRoute, tags=["documents"])


class DocumentsRequest(Wire):
    """Documents to add, or to put in the place of those with the same doc_id."""

    documents: list[DocumentWire] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="at most TYNTEGRA_MAX_DOCUMENTS (256) of them",
        examples=[[{"doc_id": "a", "text": "Maji safi ni uhai.", "lang": "swh_Latn"}]],
    )


class DocumentsReply(Reply):
    """What was written."""

    upserted: int = Field(description="distinct documents written")
    truncated: list[str] = Field(
        description="documents of which only the beginning can be found: the rest is over the "
        "model's length, and their collection has no windows"
    )


@adding.post(
    "/collections/{name}/documents",
    summary="Add documents",
    response_model=DocumentsReply,
    responses=responses(
        "not-found",
        "conflict",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    )
    | {200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
    openapi_extra={"requestBody": {"content": {NDJSON: {"schema": {"type": "string"}}}}},
)
async def add_documents(
    request: Request, name: Name, body: DocumentsRequest, service: OpenService
) -> Response:
    """Add documents, or replace those with the same `doc_id`; 200 means they are on disk.

    The collection must exist: a misspelt name would otherwise make a new one.

    As `application/x-ndjson` the body is a stream of any length, a document a line. The answer is a
    stream of JSON lines too: `error` for each line that is refused, `progress` with the `line` up
    to which everything is on disk, at the end `done`, or `stopped` with the reason.
    """
    settings = service.settings
    require_count(len(body.documents), "documents", settings.max_documents)
    work = _add(service, name, body.documents)
    return JSON(await answer_in_time(request, work, settings.request_timeout_s))


async def _add(service: Service, name: str, sent: list[DocumentWire]) -> DocumentsReply:
    try:
        return await _add_once(service, name, sent)
    except ChangedError:  # a reindex ended meanwhile
        return await _add_once(service, name, sent)


async def _add_once(service: Service, name: str, sent: list[DocumentWire]) -> DocumentsReply:
    collection = await find_writable(service, name)
    filled = await encode_ready(service, await prepare(service, collection, sent, "documents"))
    upserted = await store_filled(service, collection, filled)
    return DocumentsReply(upserted=upserted, truncated=filled.truncated)


@router.get(
    "/collections/{name}/documents/{doc_id:text}",
    summary="Read a document",
    response_model=DocumentReply,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def get_document(name: Name, doc_id: EncodedDocId, service: OpenService) -> Response:
    """Read a document; its name may hold any characters, percent-encoded."""
    found = await service.in_store(lambda store: store.get(name, [doc_id]))
    if not found:
        raise NotFoundError(_absent(name))
    return JSON(write_document(found[0]))


@router.delete(
    "/collections/{name}/documents/{doc_id:text}",
    summary="Delete a document",
    status_code=204,
    response_class=Response,
    responses=responses("not-found", "conflict", "invalid-input", "overloaded", "not-ready"),
)
async def delete_document(name: Name, doc_id: EncodedDocId, service: OpenService) -> Response:
    """Delete a document; 204 means that it is gone from the disk as well."""

    def delete(store: VectorStore) -> int:
        with service.guard.writing(store, name, [doc_id]):
            return store.delete(name, [doc_id])

    if not await in_writing(service, delete):
        raise NotFoundError(_absent(name))
    return Response(status_code=204)


def _absent(name: str) -> str:
    return f"Collection {name!r} has no document of this doc_id; check it, or add the document."
