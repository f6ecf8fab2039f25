"""/collections/{name}/snapshots: copies of a collection, made and put back while serving."""

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.collections import CollectionReply, describe, require_room
from app.api.dependencies import Name, OpenService
from app.api.problems import responses
from app.api.wire import JSON, CollectionName, Reply, Wire
from app.guard import exists
from app.retrieval.store import Collection
from app.snapshots import SNAPSHOT_NAME, Snapshot

router = APIRouter(route_class=StrictRoute, tags=["snapshots"])

SnapshotName = Annotated[
    str,
    Path(
        pattern=f"^{SNAPSHOT_NAME}$",
        description="name of the snapshot",
        examples=["20261125t101500z-0123ab"],
    ),
]


class SnapshotReply(Reply):
    """A copy of a collection."""

    name: str = Field(description="when it was begun (UTC), and a number")
    documents: int = Field(description="documents when it was begun")
    model: str = Field(description="the encoder that the vectors come from")
    bytes: int = Field(description="what the copy takes on disk")


class SnapshotsReply(Reply):
    """The snapshots of a collection, the oldest first."""

    snapshots: list[SnapshotReply]


class RestoreRequest(Wire):
    """What to make of a snapshot."""

    collection: CollectionName | None = Field(
        default=None, description="the collection to make; none: the one that the snapshot is of"
    )
    replace: bool = Field(
        default=False,
        description="put it in the place of a collection of this name, in one step; what was "
        "written to that one since the snapshot is gone then",
    )


@router.post(
    "/collections/{name}/snapshots",
    summary="Make a snapshot",
    status_code=201,
    response_model=SnapshotReply,
    responses=responses("not-found", "conflict", "invalid-input", "overloaded", "not-ready"),
)
async def create_snapshot(name: Name, service: OpenService) -> Response:
    """Copy a collection while it is searched and written to; 201 means that the copy is on disk.

    It lies below `TYNTEGRA_STATE/.snapshots` and outlives the collection. One at a time is made.
    """
    made = await service.copies.run(lambda: service.snapshots.create(name))
    return JSON(_describe(made), status_code=201)


@router.get(
    "/collections/{name}/snapshots",
    summary="List snapshots",
    response_model=SnapshotsReply,
    responses=responses("invalid-input", "overloaded", "not-ready"),
)
async def list_snapshots(name: Name, service: OpenService) -> Response:
    """List the snapshots of a collection, which itself may be gone."""
    found = await service.in_store(lambda _: service.snapshots.list(name))
    return JSON({"snapshots": list(map(_describe, found))})


@router.delete(
    "/collections/{name}/snapshots/{snapshot}",
    summary="Delete a snapshot",
    status_code=204,
    response_class=Response,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def delete_snapshot(name: Name, snapshot: SnapshotName, service: OpenService) -> Response:
    """Delete a snapshot."""
    await service.copies.run(lambda: service.snapshots.delete(name, snapshot))
    return Response(status_code=204)


@router.post(
    "/collections/{name}/snapshots/{snapshot}/restore",
    summary="Restore a snapshot",
    response_model=CollectionReply,
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
async def restore_snapshot(
    name: Name,
    snapshot: SnapshotName,
    service: OpenService,
    body: RestoreRequest | None = None,
) -> Response:
    """Make a collection of a snapshot, verified; searches of all others go on meanwhile."""
    sent = body or RestoreRequest()
    target = sent.collection or name

    def restore() -> Collection:
        if not exists(service.store, target):
            require_room(service, service.store)
        return service.snapshots.restore(name, snapshot, target, replace=sent.replace)

    return JSON(describe(await service.copies.run(restore)))


def _describe(snapshot: Snapshot) -> SnapshotReply:
    return SnapshotReply(
        name=snapshot.name,
        documents=snapshot.documents,
        model=snapshot.model,
        bytes=snapshot.bytes,
    )
