"""POST /probe/replay: adversarial texts that were found once, tried again."""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute, parse_json
from app.api.dependencies import OpenService
from app.api.limits import answer_in_time, clean_text
from app.api.probe_choices import GoalWire, StatsWire
from app.api.problems import responses
from app.api.running import encode
from app.api.state import Service
from app.api.wire import JSON, CollectionName, DocId, Lang, Reply, Wire
from app.errors import ConflictError, InvalidInputError
from app.probing.ledger import JOB_ID
from app.retrieval.store import MAX_TOP_K, VectorStore
from app.robustness.paired import Change
from app.robustness.replay import Replayed, ReplayReport, ReplayRequest, run_replay
from app.robustness.report import Rate
from app.robustness.request import GoalChoice, StatsChoice
from app.robustness.stored import UNNAMED, Stored, stored_in
from app.settings import MAX_ITEMS

T = TypeVar("T")
SLACK_S = 10.0

router = APIRouter(route_class=StrictRoute, tags=["probe"])


class StoredWire(Wire):
    """A text that was found to change what a query finds."""

    query: str = Field(description="the query as it came")
    text: str = Field(description="the adversarial text")
    relevant: list[DocId] = Field(
        default=[], max_length=256, description="documents that answer it; none: its own top hit"
    )
    query_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=128,
        description="texts of one name are of one query, which counts once; null: of the same text",
    )
    attack: str = Field(default=UNNAMED, min_length=1, max_length=64, description="what found it")
    lang: Lang | None = None
    rank: int | None = Field(default=None, ge=1, le=2**31, description="its rank then")
    success: bool | None = Field(default=None, description="whether it succeeded then")


class SourceWire(Wire):
    """Where the texts come from: one of three."""

    texts: list[StoredWire] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_ITEMS,
        examples=[[{"query": "clean water", "text": "claen watre"}]],
    )
    report: dict[str, Any] | None = Field(
        default=None, description="what POST /probe/adversarial answered"
    )
    job: str | None = Field(
        default=None, pattern=f"^{JOB_ID}$", description="a probe job that has a report"
    )
    top_k: int | None = Field(
        default=None, ge=1, le=MAX_TOP_K, description="null: the report's, or 10"
    )
    goal: GoalWire | None = Field(default=None, description="null: the report's, or demotion")
    stats: StatsWire = Field(default=StatsWire())
    seconds: float = Field(
        default=20.0, gt=0, le=3600, description="at most TYNTEGRA_PROBE_TIMEOUT_S (120)"
    )
    seed: int = Field(default=0, ge=0, le=2**63 - 1, description="of the bootstrap")


class ReplayWire(SourceWire):
    """Texts to try again."""

    collection: CollectionName = Field(description="where to search", examples=["demo"])


class ReplayReply(Reply):
    """How often the texts succeed, and how often they once did."""

    model: str
    collection: str
    top_k: int
    status: Literal["complete", "partial"]
    reason: str | None = Field(description="why it is partial")
    elapsed_s: float
    queries: int = Field(description="texts encoded")
    attack_success_rate: Rate = Field(
        description="of the eligible queries, those that any of their texts breaks"
    )
    by_attack: dict[str, Rate]
    by_lang: dict[str, Rate]
    change: Change | None = Field(
        description="against what is stored; null: nothing of it is known"
    )
    not_eligible: int
    not_reached: int
    limits: list[str] = Field(description="what the numbers do not show")
    results: list[Replayed]


def describe_replay(report: ReplayReport) -> dict[str, Any]:
    """Write a replay as it goes on the wire."""
    return {field.name: getattr(report, field.name) for field in fields(report)}


async def read_source(body: SourceWire, service: Service) -> tuple[tuple[Stored, ...], int, Any]:
    """Find the texts of a request, the number of hits and the goal.

    Raises:
        InvalidInputError: If there is not one source, or it is not what it should be.
        NotFoundError: If there is no such job.
        ConflictError: If the job has no report.
    """
    given = [name for name in ("texts", "report", "job") if getattr(body, name) is not None]
    if len(given) != 1:
        raise InvalidInputError(
            f"Got {' and '.join(given) or 'neither texts, report nor job'}; expected one of "
            "texts, report and job, which says what to try again."
        )
    if body.seconds > service.settings.probe_timeout_s:
        raise InvalidInputError(
            f"seconds is {body.seconds}; expected at most {service.settings.probe_timeout_s:g}: "
            "ask for less, or raise TYNTEGRA_PROBE_TIMEOUT_S."
        )
    report: Mapping[str, Any] = body.report or {}
    if body.job is not None:
        report = await service.in_store(lambda _: _report_of(service, str(body.job)))
    chars = service.settings.max_text_chars
    stored = await asyncio.to_thread(_stored, body.texts, report, chars)
    top_k, goal = _asked(report)
    return stored, body.top_k or top_k, body.goal or goal


def _report_of(service: Service, job_id: str) -> Mapping[str, Any]:
    content = service.probe_jobs.report(job_id)
    if content is None:
        raise ConflictError(
            f"Probe job {job_id} has no report; expected one that ran: GET /probe/jobs/{job_id} "
            "says how it stands."
        )
    return parse_json(content)


def _asked(report: Mapping[str, Any]) -> tuple[int, Any]:
    """What a report was asked with; it may have been written by hand."""
    top_k, goal = report.get("top_k", 10), report.get("goal") or {}
    try:
        if not isinstance(top_k, int) or not 1 <= top_k <= MAX_TOP_K:
            raise ValueError
        return top_k, GoalWire.model_validate(goal)
    except ValueError:
        raise InvalidInputError(
            "report.top_k or report.goal is not what a probe answers; send the report unchanged, "
            "or texts instead."
        ) from None


def _stored(
    texts: Sequence[StoredWire] | None, report: Mapping[str, Any], chars: int
) -> tuple[Stored, ...]:
    if texts is None:
        found, place = stored_in(report, MAX_ITEMS), "report.results"
    else:
        found, place = [_from_wire(one) for one in texts], "texts"
    for index, one in enumerate(found):
        clean_text(one.query, f"{place}[{index}].query", chars)
        clean_text(one.text, f"{place}[{index}].text", chars)
    return tuple(found)


def _from_wire(one: StoredWire) -> Stored:
    name = one.query if one.query_id is None else one.query_id
    relevant = tuple(sorted(one.relevant))
    return Stored(one.query, one.text, relevant, name, one.attack, one.lang, one.rank, one.success)


def as_replay(
    collection: str, stored: tuple[Stored, ...], top_k: int, goal: GoalWire, body: SourceWire
) -> ReplayRequest:
    """Take over what was sent."""
    return ReplayRequest(
        collection,
        stored,
        top_k,
        GoalChoice(goal.type, goal.target, goal.threshold),
        StatsChoice(body.stats.confidence, body.stats.bootstrap),
        body.seed,
    )


def require_there(request: ReplayRequest, store: VectorStore) -> None:
    """Refuse texts whose documents the collection does not have.

    Raises:
        InvalidInputError: Which names the place of the first, and nothing that was sent.
    """
    goal = request.goal
    asked = dict.fromkeys(name for one in request.stored for name in one.relevant)
    present = {one.doc_id for one in store.get(request.collection, list(asked))}
    for index, one in enumerate(request.stored):
        if not present.issuperset(one.relevant):
            raise InvalidInputError(
                f"The relevant documents of text {index} are not all in the collection; expected "
                "a collection with the same documents: add them, or leave relevant out."
            )
    missing = goal.target is None or not store.get(request.collection, [goal.target])
    if goal.type == "promotion" and missing:
        raise InvalidInputError(
            "goal.target is none of the collection's documents; expected one to promote."
        )


async def in_probe_thread(
    request: Request, service: Service, seconds: float, work: Callable[[Callable[[], bool]], T]
) -> T:
    """Run blocking work where probes run; it is told when to stop.

    Raises:
        OverloadedError: If there is no room, or it took too long.
    """
    gone = threading.Event()

    def cancelled() -> bool:
        service.courtesy.breathe()
        return gone.is_set() or service.stopping.is_set()

    try:
        most = service.settings.probe_timeout_s + seconds + SLACK_S
        return await answer_in_time(request, service.probes.run(lambda: work(cancelled)), most)
    finally:
        gone.set()


@router.post(
    "/probe/replay",
    summary="Try stored adversarial texts again",
    response_model=ReplayReply,
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
async def replay(request: Request, body: ReplayWire, service: OpenService) -> Response:
    """Search for stored texts and compare with how they once fared: a gate for changes.

    Nothing is searched for and nothing stored; the rank of a text is that of `POST /search`.
    """
    stored, top_k, goal = await read_source(body, service)
    asked = as_replay(body.collection, stored, top_k, goal, body)

    def run(cancelled: Callable[[], bool]) -> ReplayReport:
        service.matching(service.store, body.collection)
        require_there(asked, service.store)
        politely = service.courtesy.encode(lambda texts: encode(service, texts))
        return run_replay(asked, politely, service.store, seconds=body.seconds, cancelled=cancelled)

    report = await in_probe_thread(request, service, body.seconds, run)
    service.metrics.probe_queries.inc(report.queries)
    return JSON(describe_replay(report))
