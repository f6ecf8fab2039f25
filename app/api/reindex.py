"""/collections/{name}/reindex: encode a collection anew in the background."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.declared import ReindexRequest, windows_from
from app.api.dependencies import Name, OpenService
from app.api.problems import responses
from app.api.wire import JSON, Reply
from app.binding import options_for, windows_of
from app.errors import NotFoundError
from app.reencoding import Progress, State
from app.retrieval.store import VectorStore

router = APIRouter(route_class=StrictRoute, tags=["collections"])


class ReindexReply(Reply):
    """How far a collection is encoded anew, or how that ended."""

    state: State = Field(
        description="`waiting` for another collection, `running`, `done`, `failed`, `cancelled`, "
        "or `interrupted` by the end of the service, which goes on with it at its next start"
    )
    done: int = Field(description="documents encoded")
    total: int = Field(description="documents there are")
    model: str = Field(description="the encoder that the collection is to have")
    started: str = Field(description="when it was asked for (UTC)")
    ended: str | None = Field(description="when it ended (UTC); null: not yet")
    error: str | None = Field(description="why it failed")


def describe_progress(progress: Progress) -> dict[str, Any]:
    """Write progress as it goes on the wire."""
    return {
        "state": progress.state,
        "done": progress.done,
        "total": progress.total,
        "model": progress.model,
        "started": _moment(progress.started),
        "ended": None if progress.ended is None else _moment(progress.ended),
        "error": progress.error,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@router.post(
    "/collections/{name}/reindex",
    summary="Encode a collection anew",
    status_code=202,
    response_model=ReindexReply,
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
async def begin_reindex(
    name: Name, service: OpenService, body: ReindexRequest | None = None
) -> Response:
    """Encode all documents with the encoder in service, in the background and behind searches.

    Searches are answered from the old vectors until the new ones take their place in one step, if
    the encoder in service made them. Documents can be deleted meanwhile and, with the same
    condition, added; what was written is in the new vectors too. It goes on after a restart.
    """
    sent = body or ReindexRequest()

    def begin(store: VectorStore) -> Progress:
        has = store.describe(name).options
        windows = (
            windows_from(sent.windows) if "windows" in sent.model_fields_set else windows_of(has)
        )
        fields = has.fields if sent.fields is None else sent.fields
        return service.reindexer.begin(name, options_for(service.encoder, fields, windows))

    progress = await service.in_store(begin)
    return JSON(describe_progress(progress), status_code=202)


@router.get(
    "/collections/{name}/reindex",
    summary="How far a reindex is",
    response_model=ReindexReply,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def show_reindex(name: Name, service: OpenService) -> Response:
    """Say how far a collection is encoded anew, or how its last time ended since the start."""
    progress = service.reindexer.progress(name)
    if progress is None:
        raise NotFoundError(
            f"Collection {name!r} has not been reindexed since the service started; POST "
            f"/collections/{name}/reindex does it."
        )
    return JSON(describe_progress(progress))


@router.delete(
    "/collections/{name}/reindex",
    summary="Stop a reindex",
    status_code=204,
    response_class=Response,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def cancel_reindex(name: Name, service: OpenService) -> Response:
    """Leave the collection as it was; once this is answered it can be written to again."""

    def cancel(_: VectorStore) -> None:
        service.reindexer.cancel(name)
        service.guard.settle(name, service.settings.request_timeout_s)

    await service.in_store(cancel)
    return Response(status_code=204)
