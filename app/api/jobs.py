"""/probe/jobs: probes that outlive their request, and how far they are."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.limits import ShedError
from app.api.problems import responses
from app.api.watching import Changes, tell
from app.api.wire import JSON, Reply
from app.errors import ConflictError
from app.probing.jobs import Job
from app.probing.ledger import JOB_ID, State
from app.robustness.csv_report import to_csv
from app.robustness.html_report import to_html
from app.robustness.progress import Stage
from app.robustness.report import Rate
from app.robustness.statistics import rate_of

MOST_WATCHERS = 256
CANCEL_S = 1.0
"""How long DELETE waits for a job to end."""
EVENTS = "text/event-stream"

Format = Literal["json", "csv", "html"]
WRITERS: Mapping[Format, tuple[str, Callable[[bytes], bytes]]] = {
    "json": ("application/json", lambda report: report),
    "csv": ("text/csv", lambda report: to_csv(orjson.loads(report)).encode()),
    "html": ("text/html", lambda report: to_html(orjson.loads(report)).encode()),
}
"""Format -> media type, and what makes it of the report's JSON."""

_CONTENT: dict[str, Any] = {media_type: {} for media_type, _ in WRITERS.values()}
PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
"""The page has its style in it, and nothing that acts."""

router = APIRouter(route_class=StrictRoute, tags=["probe"])

JobId = Annotated[
    str,
    Path(
        pattern=f"^{JOB_ID}$",
        description="name of the job",
        examples=["20261125t101500z-0123456789ab"],
    ),
]


class JobProgress(Reply):
    """How far a job is."""

    stage: Stage
    elapsed_s: float
    texts: int = Field(description="texts encoded")
    attacks: int = Field(description="attacks set up: one a query, family and seed")
    finished: int = Field(description="those that have nothing more to try")
    tried: int = Field(description="perturbed texts ranked")
    success_rate: Rate = Field(
        description="of the queries attacked, those broken so far; it can only rise"
    )


class JobBrief(Reply):
    """What a job found, in a few numbers."""

    status: Literal["complete", "partial"]
    reason: str | None = Field(description="why it is partial")
    attack_success_rate: Rate
    queries: int = Field(description="texts encoded")


class JobReply(Reply):
    """A probe that outlives its request."""

    job_id: str
    state: State = Field(
        description="`cancelled` jobs have a report of what was found until then, if they ran"
    )
    collection: str | None = Field(description="null: its file is damaged")
    queries: int = Field(description="queries to attack")
    submitted: str = Field(description="when it was asked for (UTC)")
    started: str | None = Field(description="when it last began (UTC)")
    ended: str | None = Field(description="when it ended (UTC)")
    starts: int = Field(description="how often it began; a service that was killed begins it anew")
    progress: JobProgress | None
    brief: JobBrief | None = Field(description="what the report says; null: there is none")
    error: str | None = Field(description="why it failed")


class JobsReply(Reply):
    """Probe jobs, the newest first."""

    jobs: list[JobReply]


def describe_job(job: Job) -> dict[str, Any]:
    """Write a job as it goes on the wire."""
    note, told = job.note, job.progress
    progress = None
    if told is not None:
        rate = rate_of(told["broken"], told["eligible"])
        own = JobProgress.model_fields.keys() - {"success_rate"}
        progress = {name: told[name] for name in own} | {"success_rate": rate}
    return {
        "job_id": note.job_id,
        "state": note.state,
        "collection": note.request.get("collection"),
        "queries": len(note.request.get("queries", ())),
        "submitted": _moment(note.submitted),
        "started": _moment(note.started),
        "ended": _moment(note.ended),
        "starts": note.starts,
        "progress": progress,
        "brief": note.brief,
        "error": note.error,
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def accepted(job: Job) -> Response:
    """Answer that a job was taken, and where to ask for it."""
    headers = {"location": f"/probe/jobs/{job.note.job_id}"}
    return JSON(describe_job(job), status_code=202, headers=headers)


@router.get(
    "/probe/jobs",
    summary="List probe jobs",
    response_model=JobsReply,
    responses=responses("not-ready"),
)
async def list_jobs(service: OpenService) -> Response:
    """List the jobs that run, wait, or are kept; the newest first."""
    return JSON({"jobs": [describe_job(job) for job in service.probe_jobs.list()]})


@router.get(
    "/probe/jobs/{job_id}",
    summary="How far a probe job is",
    response_model=JobReply,
    responses=responses("not-found", "invalid-input", "not-ready"),
)
async def show_job(job_id: JobId, service: OpenService) -> Response:
    """Say how far a probe job is, or how it ended."""
    return JSON(describe_job(service.probe_jobs.get(job_id)))


@router.delete(
    "/probe/jobs/{job_id}",
    summary="Cancel or remove a probe job",
    response_model=JobReply,
    responses={204: {"description": "It had ended, and is removed with its report"}}
    | responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def delete_job(job_id: JobId, service: OpenService) -> Response:
    """Cancel a job that has not ended, and keep what it found; remove one that has.

    What it found is there within a second. Sent again, the job is removed.
    """
    jobs = service.probe_jobs
    if jobs.get(job_id).note.is_over:
        await service.in_store(lambda _: jobs.forget(job_id))
        return Response(status_code=204)
    job = await service.in_store(lambda _: jobs.cancel(job_id))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CANCEL_S), Changes(service, job) as changes:
            while not job.note.is_over:
                await changes.wait(CANCEL_S)
    return JSON(describe_job(job))


@router.get(
    "/probe/jobs/{job_id}/report",
    summary="Report of a probe job",
    response_class=Response,
    responses={200: {"description": "The report", "content": _CONTENT}}
    | responses("not-found", "conflict", "invalid-input", "overloaded", "not-ready"),
)
async def report(
    job_id: JobId,
    service: OpenService,
    format: Annotated[Format, Query(description="how it is written")] = "json",
) -> Response:
    """Give the report of a job that has one: what `POST /probe/adversarial` answers."""
    jobs = service.probe_jobs
    media_type, make = WRITERS[format]

    def read() -> bytes | None:
        found = jobs.report(job_id)
        return None if found is None else make(found)

    content = await service.in_store(lambda _: read())
    if content is None:
        state = jobs.get(job_id).note.state
        raise ConflictError(
            f"Probe job {job_id} is {state} and has no report; expected one that ran: GET "
            f"/probe/jobs/{job_id} says how it stands."
        )
    name = {"content-disposition": f'attachment; filename="{job_id}.csv"'}
    return Response(
        content,
        media_type=media_type,
        headers={"csv": name, "html": {"content-security-policy": PAGE_POLICY}}.get(format),
    )


@router.get(
    "/probe/jobs/{job_id}/events",
    summary="Watch a probe job",
    response_class=Response,
    responses={200: {"description": "Events until the job ends", "content": {EVENTS: {}}}}
    | responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def events(job_id: JobId, service: OpenService) -> Response:
    """Tell how far a job is, as server-sent events, until it ends.

    `progress` and at last `done` hold what `GET /probe/jobs/{job_id}` answers. `gone`: it was
    removed; `interrupted`: the service ends, and goes on with the job at its next start.
    """
    job = service.probe_jobs.get(job_id)
    watched = sum(len(one.watchers) for one in service.probe_jobs.list())
    if watched >= MOST_WATCHERS:
        raise ShedError(
            f"{watched} clients watch jobs already, the most there may be; ask GET "
            f"/probe/jobs/{job_id} now and then instead.",
            "watchers",
            retry_after_s=10.0,
        )
    at_once = {"x-accel-buffering": "no"}  # or a proxy would keep events back
    return StreamingResponse(tell(service, job, describe_job), media_type=EVENTS, headers=at_once)
