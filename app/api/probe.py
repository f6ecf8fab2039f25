"""POST /probe/adversarial: how queries break, found in a thread behind all other requests."""

import threading
from collections.abc import Sequence
from dataclasses import replace

from fastapi import APIRouter, Request
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.jobs import JobReply, accepted
from app.api.limits import answer_in_time, clean_texts
from app.api.probe_reply import ProbeReply, describe_report
from app.api.probe_wire import ProbeWire, as_request
from app.api.problems import responses
from app.api.running import encode, require_documents, require_second, run_apart
from app.api.state import Service
from app.api.wire import JSON
from app.errors import InvalidInputError, TooLargeError
from app.probing.endpoint import second_encoder
from app.probing.isolated import Outcome
from app.retrieval.store import VectorStore
from app.robustness.attacks import AttackInfo, list_attacks
from app.robustness.checks import require_probe
from app.robustness.probe import ProbeReport, run_probe
from app.robustness.request import MAX_QUERIES
from app.robustness.resources import Access, Resources
from app.settings import Settings
from app.text.lexicon import load_lexicon
from app.text.perturbations.registry import FAMILIES

MOST_ADDED = 4
"""Characters that there must be room for, for each edit; edits that add more need more room."""
SLACK_S = 10.0
"""What a probe may take beyond its own budget, for the checks at its end."""

MOST_TEXTS_HERE = 20_000
"""A probe that may try more runs in a process of its own, which takes a second to begin."""

router = APIRouter(route_class=StrictRoute, tags=["probe"])


@router.get("/probe/attacks", summary="List the attacks", responses=responses())
async def attacks() -> tuple[AttackInfo, ...]:
    """List the attacks that a probe can make, with the scripts that each applies to.

    `cost` is what one edit of it takes from the budget of edits. `needs` names what an attack
    cannot do without: the `lang` of the query, a dictionary, the encoder's neighbors of words.
    """
    return list_attacks()


@router.post(
    "/probe/adversarial",
    summary="Probe a collection with attacked queries",
    response_model=ProbeReply,
    responses={
        202: {
            "model": JobReply,
            "description": "It has become a job",
            "headers": {
                "Location": {"description": "the job", "schema": {"type": "string"}},
            },
        }
    }
    | responses(
        "not-found",
        "conflict",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    ),
)
async def probe(request: Request, body: ProbeWire, service: OpenService) -> Response:
    """Search for small edits of queries that push their documents out of the first hits.

    Sending an `adversarial_text` to `/search` shows the rank reported. With `background`, or for a
    probe too large to wait for, the answer is 202 and a job, whose report will be this answer.
    """
    settings = service.settings
    texts = [query.text for query in body.queries]
    texts = await clean_texts(texts, "queries", MAX_QUERIES, settings)
    _require_room(texts, body.budget.edits, settings.max_text_chars)
    longest = max(settings.probe_timeout_s, settings.probe_job_timeout_s)
    if body.budget.seconds > longest:
        raise InvalidInputError(
            f"budget.seconds is {body.budget.seconds}; expected at most {longest:g}: ask for "
            "less, or raise TYNTEGRA_PROBE_JOB_TIMEOUT_S."
        )
    _require_distinct_ids(body)
    require_second(body, settings)
    if body.background or _is_large(body, settings):
        return await _begin(body, service)
    gone = threading.Event()

    def stopped() -> bool:
        return gone.is_set() or service.stopping.is_set()

    def cancelled() -> bool:
        service.courtesy.breathe()
        return stopped()

    def run() -> ProbeReport:
        service.matching(service.store, body.collection)
        require_documents(body, service.store)
        asked = as_request(body, settings.max_text_chars)
        with second_encoder(asked.constraints, asked.budget.seconds, stopped) as second:
            return run_probe(
                asked,
                service.courtesy.encode(lambda texts: encode(service, texts)),
                service.store,
                resources=Resources(
                    lambda: load_lexicon(settings.dictionaries),
                    lambda stop: service.neighbors.ready(stop),
                    lambda: _look_inside(service),
                    second,
                ),
                cancelled=cancelled,
            )

    def run_long() -> Outcome:
        _check(body, service, service.store)  # before a process begins, which takes a second
        return run_apart(service, body, stopped, lambda _: None)

    try:
        # It may have to wait for another probe's budget before its own begins.
        most = settings.probe_timeout_s + body.budget.seconds + SLACK_S
        if _is_long(body):
            outcome = await answer_in_time(request, service.probes.run(run_long), most)
            service.metrics.probe_queries.inc(outcome.brief["queries"])
            return Response(outcome.report, media_type="application/json")
        report = await answer_in_time(request, service.probes.run(run), most)
    finally:
        gone.set()
    service.metrics.probe_queries.inc(report.spent.queries)
    if report.status == "partial" and service.stopping.is_set():
        report = replace(report, reason="The service was told to end.")
    return JSON(describe_report(report))


def _is_large(body: ProbeWire, settings: Settings) -> bool:
    seconds, queries = body.budget.seconds, len(body.queries)
    return seconds > settings.probe_timeout_s or queries > settings.max_queries


def _is_long(body: ProbeWire) -> bool:
    attacks = len(FAMILIES if body.attacks is None else body.attacks)
    texts = len(body.queries) * attacks * body.seeds * body.budget.queries
    inside = body.white_box or body.poison or body.certify
    return texts > MOST_TEXTS_HERE or inside is not None


def _check(body: ProbeWire, service: Service, store: VectorStore) -> None:
    service.matching(store, body.collection)
    require_documents(body, store)
    require_probe(as_request(body, service.settings.max_text_chars), store)


async def _begin(body: ProbeWire, service: Service) -> Response:
    await service.in_store(lambda store: _check(body, service, store))
    sent = body.model_dump(mode="json")
    return accepted(await service.in_store(lambda _: service.probe_jobs.submit(sent)))


def _require_room(texts: Sequence[str], edits: int, most_chars: int) -> None:
    most = most_chars - edits * MOST_ADDED
    for index, text in enumerate(texts):
        if len(text) > most:
            raise TooLargeError(
                f"queries[{index}].text has {len(text)} characters; expected at most {most}, so "
                "that it can still be searched for once it is edited: send a shorter one."
            )


# The probe checks both as well, but names what was sent, which an answer of the API must not.
def _require_distinct_ids(body: ProbeWire) -> None:
    first: dict[str, int] = {}
    for index, query in enumerate(body.queries):
        if first.setdefault(query.query_id, index) != index:
            raise InvalidInputError(
                f"queries[{index}].query_id is that of queries[{first[query.query_id]}] already; "
                "expected each once: rename one."
            )


def _look_inside(service: Service) -> Access:
    from app.insight import open_access

    settings = service.settings
    return open_access(settings.artifact, service.encoder.precision)
