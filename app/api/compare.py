"""POST /probe/compare: the same adversarial texts on two collections, or two encoders."""

import time
from collections.abc import Callable
from typing import cast

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.endpoints import require_allowed
from app.api.problems import responses
from app.api.replay import (
    ReplayReply,
    SourceWire,
    as_replay,
    describe_replay,
    in_probe_thread,
    read_source,
    require_there,
)
from app.api.running import encode
from app.api.state import Service
from app.api.wire import JSON, CollectionName, Reply, Wire
from app.errors import InvalidInputError
from app.probing.endpoint import Endpoint
from app.retrieval.store import VectorStore
from app.robustness.held import encode_anew
from app.robustness.paired import Change, change_between
from app.robustness.replay import ReplayReport, ReplayRequest, outcomes, run_replay

MOST_ENCODED = 20_000
"""Documents that another service is asked to encode."""

router = APIRouter(route_class=StrictRoute, tags=["probe"])


class SideWire(Wire):
    """A collection, under the service's encoder or another service's."""

    collection: CollectionName = Field(examples=["demo"])
    endpoint: str | None = Field(
        default=None,
        max_length=512,
        description="a service with /v1/embeddings, one of TYNTEGRA_PROBE_ENDPOINTS, which encodes "
        "the collection's documents for this comparison; null: the encoder in service",
    )
    model: str | None = Field(
        default=None, min_length=1, max_length=256, description="its model; with endpoint alone"
    )


class CompareWire(SourceWire):
    """Texts to try on two sides."""

    first: SideWire = Field(examples=[{"collection": "demo"}])
    second: SideWire = Field(examples=[{"collection": "demo"}])


class CompareReply(Reply):
    """Both sides, and the same queries on both."""

    first: ReplayReply
    second: ReplayReply
    change: Change = Field(description="from first to second, over queries eligible on both")
    limits: list[str]


@router.post(
    "/probe/compare",
    summary="Compare two collections or encoders on the same attacks",
    response_model=CompareReply,
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
async def compare(request: Request, body: CompareWire, service: OpenService) -> Response:
    """Try the same adversarial texts on both sides; the numbers are paired query by query.

    Texts that were found against one side are an attack on it, and only transfer to the other.
    """
    sides = body.first, body.second
    for name, side in zip(("first", "second"), sides, strict=True):
        _require_allowed(side, name, service)
    stored, top_k, goal = await read_source(body, service)
    asked = [as_replay(side.collection, stored, top_k, goal, body) for side in sides]

    def run(cancelled: Callable[[], bool]) -> list[ReplayReport]:
        deadline = time.monotonic() + body.seconds
        for side, one in zip(sides, asked, strict=True):
            if side.endpoint is None:
                service.matching(service.store, one.collection)
            require_there(one, service.store)
        return [
            _run(service, side, one, (deadline, cancelled))
            for side, one in zip(sides, asked, strict=True)
        ]

    first, second = await in_probe_thread(request, service, body.seconds, run)
    service.metrics.probe_queries.inc(first.queries + second.queries)
    change = change_between(outcomes(first), outcomes(second), asked[0].stats, body.seed)
    limits = [
        "The texts attack whatever they were found against; on another side they only transfer, so "
        "it fares better by construction. To be fair, send as many found against each.",
        f"{change.queries} queries are eligible on both sides; the others do not count in change.",
    ]
    found = {"first": describe_replay(first), "second": describe_replay(second)}
    return JSON(found | {"change": change, "limits": limits})


def _require_allowed(side: SideWire, name: str, service: Service) -> None:
    if (side.endpoint is None) != (side.model is None):
        raise InvalidInputError(
            f"{name} has one of endpoint and model; expected both, or none for the encoder in "
            "service."
        )
    if side.endpoint is not None:
        require_allowed(side.endpoint, f"{name}.endpoint", service.settings)


def _run(
    service: Service,
    side: SideWire,
    asked: ReplayRequest,
    until: tuple[float, Callable[[], bool]],
) -> ReplayReport:
    deadline, cancelled = until
    if side.endpoint is None or side.model is None:
        politely = service.courtesy.encode(lambda texts: encode(service, texts))
        left = max(0.0, deadline - time.monotonic())
        return run_replay(asked, politely, service.store, seconds=left, cancelled=cancelled)
    with Endpoint(
        side.endpoint.rstrip("/"), side.model, cancelled=cancelled, deadline=deadline
    ) as other:
        held = encode_anew(service.store, side.collection, other.encode, side.model, MOST_ENCODED)
        left = max(0.0, deadline - time.monotonic())
        return run_replay(
            asked, other.encode, cast("VectorStore", held), seconds=left, cancelled=cancelled
        )
