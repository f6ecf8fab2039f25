"""/health, /metrics and /info: how the service is doing and what it runs."""

import os
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field
from starlette.responses import Response

from app import __version__
from app.api.dependencies import AnyService, OpenService
from app.api.problems import responses
from app.api.wire import JSON, Reply
from app.errors import NotReadyError

router = APIRouter(tags=["operation"])

LIMITS = (
    "max_body_bytes",
    "max_texts",
    "max_text_chars",
    "max_document_chars",
    "max_documents",
    "max_streams",
    "max_snapshots",
    "max_queries",
    "max_hits",
    "max_collections",
    "probe_timeout_s",
)
STORE_TIMEOUT_S = 5.0
LEAST_FREE_BYTES = 256 << 20
"""What the embedded engine leaves free."""
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class LiveReply(Reply):
    """The process answers."""

    status: Literal["live"]


class ReadyReply(Reply):
    """The service takes requests."""

    status: Literal["ready"]
    model: str = Field(description="name and content hash of the artifact")
    precision: str
    provider: str = Field(description="the execution provider that the model really runs on")
    collections: dict[str, int] = Field(description="documents of each collection")
    unavailable: dict[str, str] = Field(
        description="collections that are damaged, each with the reason; all others are served"
    )
    storage: str = Field(description="`ok`, or why nothing can be written: disk full, or read-only")


class InfoReply(Reply):
    """What runs here."""

    version: str
    model: str
    precision: str
    provider: str
    limits: dict[str, float] = Field(description="bounds of requests")
    manifest: dict[str, Any] = Field(description="the artifact's manifest")


@router.get(
    "/health/live", summary="Is the process alive?", response_model=LiveReply, responses=responses()
)
async def live() -> Response:
    """Answer as long as the event loop turns; never looks at load, model or store."""
    return JSON({"status": "live"})


@router.get(
    "/health/ready",
    summary="Does the service take requests?",
    response_model=ReadyReply,
    responses=responses("not-ready"),
)
async def ready(service: AnyService) -> Response:
    """Answer 200 once encoder, store and demo are there and the encoder works, else 503."""
    reason = service.unready()
    if reason and service.phase == "ready":
        reason = await service.recheck()
    if reason:
        raise NotReadyError(reason)
    # Not through the store's gate: a service with much to do is ready all the same.
    try:
        found, unavailable = await service.listing.wait(STORE_TIMEOUT_S)
    except TimeoutError:
        raise NotReadyError(f"The store did not answer within {STORE_TIMEOUT_S:g} s.") from None
    encoder = service.encoder
    return JSON(
        {
            "status": "ready",
            "model": encoder.model_id,
            "precision": encoder.precision,
            "provider": encoder.provider,
            "collections": {collection.name: collection.count for collection in found},
            "unavailable": unavailable,
            "storage": storage(service.settings.state),
        }
    )


def storage(state: Path) -> str:
    """Say whether the disk of the state directory takes writes; searches go on without."""
    try:
        disk = os.statvfs(state if state.exists() else state.parent)
    except OSError:
        return "ok"  # no directory of ours: the engine is elsewhere
    if disk.f_flag & os.ST_RDONLY:
        return "The disk is read-only; searches go on, writes are refused."
    if (free := disk.f_bavail * disk.f_frsize) < LEAST_FREE_BYTES:
        return (
            f"{free >> 20} MiB are free, less than {LEAST_FREE_BYTES >> 20}; searches go on, "
            "writes may be refused: free some space."
        )
    return "ok"


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses=responses() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(service: AnyService) -> Response:
    """Write all metrics in Prometheus' text format."""
    return Response(service.metrics.render(), media_type=METRICS_MEDIA_TYPE)


@router.get(
    "/info",
    summary="What runs here",
    response_model=InfoReply,
    responses=responses("not-ready"),
)
async def info(service: OpenService) -> Response:
    """Show the version, the model's manifest, the actual provider and the limits."""
    encoder = service.encoder
    return JSON(
        {
            "version": __version__,
            "model": encoder.model_id,
            "precision": encoder.precision,
            "provider": encoder.provider,
            "limits": {name: getattr(service.settings, name) for name in LIMITS}
            | {"window_tokens": encoder.document_room},
            "manifest": encoder.manifest.model_dump(mode="json"),
        }
    )
