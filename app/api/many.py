"""Documents by the many: read, delete by name or by filter, read all of a collection."""

from collections.abc import AsyncIterator
from typing import Self

import orjson
from fastapi import APIRouter, Request
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.responses import Response, StreamingResponse

from app.api.bodies import StrictRoute
from app.api.dependencies import Name, OpenService
from app.api.document import DocumentReply, write_document
from app.api.filters import FilterWire, as_condition
from app.api.limits import require_count
from app.api.problems import responses
from app.api.state import Service
from app.api.stream import NDJSON
from app.api.wire import JSON, DocId, Reply, Wire
from app.api.writing import in_writing
from app.retrieval.store import Page, VectorStore
from app.settings import MAX_ITEMS

PAGE = 256

router = APIRouter(route_class=StrictRoute, tags=["documents"])


class GetRequest(Wire):
    """Which documents to read."""

    doc_ids: list[DocId] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="at most TYNTEGRA_MAX_DOCUMENTS (256) of them",
        examples=[["a", "b"]],
    )


class GetReply(Reply):
    """Documents that were found, in the order asked for."""

    documents: list[DocumentReply]
    missing: list[str] = Field(description="those asked for that are not there")


class DeleteRequest(Wire):
    """Which documents to delete: by name, or all that satisfy a filter."""

    doc_ids: list[DocId] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ITEMS,
        description="their names",
        examples=[["a", "b"]],
    )
    filter: FilterWire | None = Field(default=None, description="what they satisfy")

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if (self.doc_ids is None) == (self.filter is None):
            raise PydanticCustomError("choice", "should have either doc_ids or filter")
        return self


class DeleteReply(Reply):
    """What was deleted."""

    deleted: int = Field(description="documents that were there and are gone")


@router.post(
    "/collections/{name}/documents/get",
    summary="Read several documents",
    response_model=GetReply,
    responses=responses(
        "not-found",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    ),
)
async def get_documents(name: Name, body: GetRequest, service: OpenService) -> Response:
    """Read several documents; one asked for twice comes twice."""
    require_count(len(body.doc_ids), "doc_ids", service.settings.max_documents)
    found = await service.in_store(lambda store: store.get(name, body.doc_ids))
    there = {document.doc_id for document in found}
    missing = [doc_id for doc_id in body.doc_ids if doc_id not in there]
    return JSON({"documents": list(map(write_document, found)), "missing": missing})


@router.post(
    "/collections/{name}/documents/delete",
    summary="Delete several documents",
    response_model=DeleteReply,
    responses=responses(
        "not-found",
        "conflict",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    ),
)
async def delete_documents(name: Name, body: DeleteRequest, service: OpenService) -> Response:
    """Delete documents by name or by a filter; 200 means that they are gone from the disk."""
    where = as_condition(body.filter) if body.filter else None
    names = list(dict.fromkeys(body.doc_ids or []))

    def delete(store: VectorStore) -> int:
        with service.guard.writing(store, name, names if where is None else None):
            return store.delete(name, names) if where is None else store.delete_where(name, where)

    return JSON(DeleteReply(deleted=await in_writing(service, delete)))


@router.get(
    "/collections/{name}/documents",
    summary="Read all documents",
    response_class=Response,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready")
    | {200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
)
async def export_documents(request: Request, name: Name, service: OpenService) -> Response:
    """Read all documents, one a line of JSON, as they can be added again.

    An answer that breaks off is not whole. Documents written meanwhile may be among them or not.
    """
    first = await service.in_store(lambda store: store.scan(name, None, PAGE))
    return StreamingResponse(_lines(service, name, first), media_type=NDJSON)


async def _lines(service: Service, name: str, page: Page) -> AsyncIterator[bytes]:
    while True:
        yield b"".join(orjson.dumps(write_document(one)) + b"\n" for one in page.documents)
        if (after := page.next) is None:
            return

        def find(store: VectorStore, after: str = after) -> Page:
            return store.scan(name, after, PAGE)

        page = await service.in_store(find)
