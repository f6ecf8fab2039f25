"""/collections: create, describe, list and delete named sets of documents."""

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import Name, OpenService
from app.api.problems import responses
from app.api.wire import JSON, Reply, Wire
from app.errors import ConflictError
from app.retrieval.store import Collection, VectorStore

router = APIRouter(route_class=StrictRoute, tags=["collections"])


class CollectionRequest(Wire):
    """Takes no fields yet: dimension and model are those of the encoder in service."""


class CollectionReply(Reply):
    """A collection."""

    name: str
    dimensions: int = Field(description="length of its vectors")
    model: str = Field(description="the encoder that its vectors come from")
    documents: int = Field(description="how many documents it has")


class CollectionsReply(Reply):
    """All collections, by name."""

    collections: list[CollectionReply]


@router.get(
    "/collections",
    summary="List collections",
    response_model=CollectionsReply,
    responses=responses("overloaded", "not-ready"),
)
async def list_collections(service: OpenService) -> Response:
    """List all collections by name."""
    found = await service.in_store(lambda store: store.collections())
    return JSON({"collections": [describe(collection) for collection in found]})


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
    """Create a collection, or leave one of this encoder as it is; the body may be left out."""
    most = service.settings.max_collections
    encoder = service.encoder

    def create(store: VectorStore) -> Collection:
        names = [collection.name for collection in store.collections()]
        if name not in names and len(names) >= most:
            raise ConflictError(
                f"There are {len(names)} collections, the most there may be; delete one, or raise "
                "TYNTEGRA_MAX_COLLECTIONS."
            )
        return store.create(name, encoder.dim, encoder.model_id)

    return JSON(describe(await service.in_store(create)))


@router.get(
    "/collections/{name}",
    summary="Describe a collection",
    response_model=CollectionReply,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def describe_collection(name: Name, service: OpenService) -> Response:
    """Describe one collection."""
    return JSON(describe(await service.in_store(lambda store: store.describe(name))))


@router.delete(
    "/collections/{name}",
    summary="Delete a collection",
    status_code=204,
    response_class=Response,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def delete_collection(name: Name, service: OpenService) -> Response:
    """Delete a collection and all its documents."""
    await service.in_store(lambda store: store.drop(name))
    return Response(status_code=204)


def describe(collection: Collection) -> CollectionReply:
    """Write a collection as it goes on the wire."""
    return CollectionReply(
        name=collection.name,
        dimensions=collection.dim,
        model=collection.model,
        documents=collection.count,
    )
