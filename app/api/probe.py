"""POST /probe/adversarial: how queries break, found in a thread behind all other requests."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.limits import answer_in_time, clean_texts
from app.api.problems import responses
from app.api.state import Service
from app.api.wire import JSON, CollectionName, DocId, Lang, Reply, Wire
from app.encoder.jobs import PROBE
from app.errors import InvalidInputError, TooLargeError
from app.retrieval.store import MAX_TOP_K, VectorStore
from app.robustness.probe import (
    AttackInfo,
    Budget,
    ProbeQuery,
    ProbeReport,
    ProbeRequest,
    list_attacks,
    run_probe,
)
from app.robustness.report import Cell, ProbeResult, Quality, Rate, Spent
from app.robustness.request import MAX_ATTACK_QUERIES, MAX_EDITS, MAX_SECONDS
from app.robustness.resources import Resources
from app.settings import MAX_ITEMS
from app.text.lexicon import load_lexicon
from app.text.perturbations.registry import FAMILIES

MOST_ADDED = 4
"""Characters that there must be room for, for each edit; edits that add more need more room."""
SLACK_S = 10.0
"""What a probe may take beyond its own budget, for the checks at its end."""

router = APIRouter(route_class=StrictRoute, tags=["probe"])


def _known_attack(name: str) -> str:
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise PydanticCustomError("unknown_attack", "should be one of {known}", {"known": known})
    return name


AttackName = Annotated[
    str,
    AfterValidator(_known_attack),
    WithJsonSchema({"type": "string", "enum": list(FAMILIES)}),
]


class QueryWire(Wire):
    """A query to attack."""

    query_id: str = Field(min_length=1, max_length=128, description="its name in the answer")
    text: str
    lang: Lang | None = Field(
        default=None,
        description="its language: for the summary, and for attacks that need to know it",
    )
    relevant: list[DocId] = Field(
        default=[], max_length=256, description="documents that answer it; none: its own top hit"
    )


class BudgetWire(Wire):
    """How hard to try."""

    edits: int = Field(default=2, ge=1, le=MAX_EDITS, description="edits of a query, at most")
    queries: int = Field(
        default=64, ge=1, le=MAX_ATTACK_QUERIES, description="texts tried for each query and attack"
    )
    seconds: float = Field(
        default=20.0,
        gt=0,
        le=MAX_SECONDS,
        description="for all of it, at most TYNTEGRA_PROBE_TIMEOUT_S (120)",
    )


class ProbeWire(Wire):
    """A probe of one collection."""

    collection: CollectionName = Field(description="where to search", examples=["demo"])
    queries: list[QueryWire] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="at most TYNTEGRA_MAX_QUERIES (64) of them",
        examples=[[{"query_id": "q1", "text": "Maji ya kunywa", "lang": "swh_Latn"}]],
    )
    attacks: list[AttackName] | None = Field(
        default=None,
        min_length=1,
        max_length=len(FAMILIES),
        description="null: all there are",
        examples=[["typo"]],
    )
    budget: BudgetWire = Field(default=BudgetWire())
    top_k: int = Field(
        default=10, ge=1, le=MAX_TOP_K, description="an attack succeeds beyond so many hits"
    )
    switch_to: list[Lang] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="languages that code_switch may use; null: all that the dictionaries have",
    )
    seed: int = Field(
        default=0, ge=0, le=2**63 - 1, description="same seed, same adversarial texts"
    )


class SummaryReply(Reply):
    """The probe in numbers: all queries, each by the worst of its attacks; then by cell."""

    clean: Quality
    attacked: Quality
    attack_success_rate: Rate
    overall: Cell
    by_attack: dict[str, Cell]
    by_lang: dict[str, Cell]


class ProbeReply(Reply):
    """What broke, and what the numbers do not show."""

    model: str
    seed: int
    top_k: int
    search_depth: int = Field(description="ranks beyond are not told apart")
    status: Literal["complete", "partial"]
    reason: str | None = Field(description="why it is partial")
    elapsed_s: float
    spent: Spent
    summary: SummaryReply
    limits: list[str] = Field(description="what the numbers do not show")
    results: list[ProbeResult]


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
async def probe(request: Request, body: ProbeWire, service: OpenService) -> Response:
    """Search for small edits of queries that push their documents out of the first hits.

    Sending an `adversarial_text` to `/search` shows the rank reported. Nothing is stored.
    """
    settings = service.settings
    texts = [query.text for query in body.queries]
    texts = await clean_texts(texts, "queries", settings.max_queries, settings)
    _require_room(texts, body.budget.edits, settings.max_text_chars)
    longest = settings.probe_timeout_s
    if body.budget.seconds > longest:
        raise InvalidInputError(
            f"budget.seconds is {body.budget.seconds}; expected at most {longest:g}: ask for "
            "less, or raise TYNTEGRA_PROBE_TIMEOUT_S."
        )
    _require_distinct_ids(body)
    gone = threading.Event()

    def run() -> ProbeReport:
        service.matching(service.store, body.collection)
        _require_documents(body, service.store)
        return run_probe(
            _as_request(body, settings.max_text_chars),
            lambda texts: _encode(service, texts),
            service.store,
            resources=Resources(
                lambda: load_lexicon(settings.dictionaries),
                lambda stop: service.neighbors.ready(stop),
            ),
            cancelled=lambda: gone.is_set() or service.stopping.is_set(),
        )

    try:
        # It may have to wait for another probe's budget before its own begins.
        most = longest + body.budget.seconds + SLACK_S
        report = await answer_in_time(request, service.probes.run(run), most)
    finally:
        gone.set()
    service.metrics.probe_queries.inc(report.spent.queries)
    if report.status == "partial" and service.stopping.is_set():
        report = replace(report, reason="The service was told to end.")
    return JSON(describe_report(report))


def describe_report(report: ProbeReport) -> Mapping[str, Any]:
    """Write a report as it goes on the wire."""
    summary = report.summary
    fields = {name: getattr(report, name) for name in ProbeReply.model_fields}
    return fields | {
        "summary": {name: getattr(summary, name) for name in SummaryReply.model_fields}
    }


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


def _require_documents(body: ProbeWire, store: VectorStore) -> None:
    asked = list(dict.fromkeys(doc_id for query in body.queries for doc_id in query.relevant))
    present = {document.doc_id for document in store.get(body.collection, asked)}
    for index, query in enumerate(body.queries):
        if not present.issuperset(query.relevant):
            raise InvalidInputError(
                f"queries[{index}].relevant names a document that the collection does not have; "
                "correct the doc_id, add the document, or leave relevant out."
            )


def _as_request(body: ProbeWire, max_chars: int) -> ProbeRequest:
    budget = body.budget
    return ProbeRequest(
        collection=body.collection,
        queries=tuple(
            ProbeQuery(query.query_id, query.text, query.lang, tuple(query.relevant))
            for query in body.queries
        ),
        attacks=None if body.attacks is None else tuple(body.attacks),
        budget=Budget(budget.edits, budget.queries, float(budget.seconds)),
        top_k=body.top_k,
        seed=body.seed,
        switch_to=None if body.switch_to is None else tuple(body.switch_to),
        max_chars=max_chars,
    )


def _encode(service: Service, texts: Sequence[str]) -> NDArray[np.float32]:
    return service.encoder.encode(texts, "query", priority=PROBE).vectors
