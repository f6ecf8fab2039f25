"""/collections: create, describe, list and delete named sets of documents."""

import contextlib
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.declared import CollectionRequest, windows_from
from app.api.dependencies import Name, OpenService
from app.api.problems import responses
from app.api.reindex import ReindexReply, describe_progress
from app.api.state import Service
from app.api.wire import JSON, Reply
from app.binding import options_for, require_bound, require_declared, windows_of
from app.errors import ConflictError, NotFoundError
from app.hidden import is_hidden, shown
from app.retrieval.store import Collection, FieldType, Options, VectorStore

router = APIRouter(route_class=StrictRoute, tags=["collections"])


class CollectionReply(Reply):
    """A collection."""

    name: str
    dimensions: int = Field(description="length of its vectors")
    model: str = Field(description="the encoder that its vectors come from")
    documents: int = Field(description="how many documents it has")
    precision: str | None = Field(
        description="what made its vectors: `full` (fp32, fp16), `int8` or `int4`; null: not known"
    )
    fields: dict[str, FieldType] = Field(description="metadata fields that were declared")
    windows: dict[str, int] | None = Field(
        description="`tokens` and `stride` of its passages; null: documents are not split"
    )


class CollectionDetail(CollectionReply):
    """A collection in full."""

    languages: dict[str, int] = Field(
        description="documents of each language, most frequent first; those without one under ``"
    )
    bytes: int = Field(description="storage that it takes, indexes included")
    searchable: bool = Field(
        description="whether the encoder in service may search it; if not, POST a reindex"
    )
    reindex: ReindexReply | None = Field(description="how its reindexing goes, or went")


class CollectionsReply(Reply):
    """All collections, by name."""

    collections: list[CollectionReply]
    unavailable: dict[str, str] = Field(
        description="collections that cannot be used, each with the reason"
    )


@router.get(
    "/collections",
    summary="List collections",
    response_model=CollectionsReply,
    responses=responses("overloaded", "not-ready"),
)
async def list_collections(service: OpenService) -> Response:
    """List all collections by name."""

    def find(store: VectorStore) -> tuple[list[Collection], dict[str, str]]:
        return shown(store.collections()), store.unavailable()

    found, unavailable = await service.in_store(find)
    reasons = {name: reason for name, reason in unavailable.items() if not is_hidden(name)}
    return JSON({"collections": list(map(describe, found)), "unavailable": reasons})


@router.put(
    "/collections/{name}",
    summary="Create a collection",
    response_model=CollectionReply,
    responses=responses(
        "conflict",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    ),
)
async def create_collection(
    name: Name, service: OpenService, body: CollectionRequest | None = None
) -> Response:
    """Create a collection, or leave it as it is if it is what is asked for.

    It is tied to the encoder in service. A body that is left out asks for no fields and no windows.
    """
    body = body or CollectionRequest()
    options = options_for(service.encoder, body.fields, windows_from(body.windows))

    def create(store: VectorStore) -> Collection:
        return create_in(service, store, name, options)

    return JSON(describe(await service.in_store(create)))


def create_in(service: Service, store: VectorStore, name: str, options: Options) -> Collection:
    """Create a collection or find that it is there as asked for.

    Raises:
        ConflictError: If it is there but not so, or there are too many collections.
    """
    try:
        found = require_bound(store.describe(name), service.encoder)
    except NotFoundError:
        require_room(service, store)
        return store.create(name, service.encoder.dim, service.encoder.model_id, options)
    return require_declared(found, options)


def require_room(service: Service, store: VectorStore) -> None:
    """Refuse one more collection if there are as many as there may be.

    Raises:
        ConflictError: If there are.
    """
    count, most = len(shown(store.collections())), service.settings.max_collections
    if count >= most:
        raise ConflictError(
            f"There are {count} collections, the most there may be; delete one, or raise "
            "TYNTEGRA_MAX_COLLECTIONS."
        )


@router.get(
    "/collections/{name}",
    summary="Describe a collection",
    response_model=CollectionDetail,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def describe_collection(name: Name, service: OpenService) -> Response:
    """Describe one collection: its binding, languages, size, and how its reindexing goes."""

    def find(store: VectorStore) -> dict[str, Any]:
        collection = store.describe(name)
        progress = service.reindexer.progress(name)
        try:
            require_bound(collection, service.encoder)
            searchable = True
        except ConflictError:
            searchable = False
        return describe(collection).model_dump() | {
            "languages": store.languages(name),
            "bytes": store.size_bytes(name),
            "searchable": searchable,
            "reindex": describe_progress(progress) if progress else None,
        }

    return JSON(await service.in_store(find))


@router.delete(
    "/collections/{name}",
    summary="Delete a collection",
    status_code=204,
    response_class=Response,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def delete_collection(name: Name, service: OpenService) -> Response:
    """Delete a collection and all its documents, also one that is damaged; snapshots are kept."""

    def drop(store: VectorStore) -> None:
        with contextlib.suppress(NotFoundError):  # as mostly
            service.reindexer.cancel(name)
        store.drop(name)

    await service.in_store(drop)
    return Response(status_code=204)


def describe(collection: Collection) -> CollectionReply:
    """Write a collection as it goes on the wire."""
    windows = windows_of(collection.options)
    return CollectionReply(
        name=collection.name,
        dimensions=collection.dim,
        model=collection.model,
        documents=collection.count,
        precision=collection.options.precision or None,
        fields=dict(collection.options.fields),
        windows={"tokens": windows.tokens, "stride": windows.stride} if windows else None,
    )
