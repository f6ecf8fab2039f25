"""POST /search: the best documents for queries."""

import itertools
from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.cursor import read_cursor, write_cursor
from app.api.dependencies import OpenService
from app.api.encoder import Vectors
from app.api.encoding import count_encoded, encode, timing_headers
from app.api.filters import FilterWire, as_filter
from app.api.limits import answer_in_time, clean_texts
from app.api.problems import responses
from app.api.smoothing import SmoothingReply, SmoothingWire, require_few
from app.api.state import Service
from app.api.wire import JSON, CollectionName, Reply, Texts, Wire
from app.errors import InvalidInputError
from app.retrieval.balance import Method
from app.retrieval.fusion import Found
from app.retrieval.ranking import Ask, Mode, Ranker, prepare, require_sense, require_words
from app.retrieval.store import MAX_TOP_K, VectorStore
from app.robustness.smoothing import Smoothed
from app.settings import Settings

router = APIRouter(route_class=StrictRoute, tags=["search"])


class SearchRequest(Wire):
    """Queries to answer from a collection."""

    collection: CollectionName = Field(description="where to search", examples=["demo"])
    queries: Texts = Field(
        description="one text or a list, at most TYNTEGRA_MAX_QUERIES (64) of them",
        examples=["how to make water safe to drink"],
    )
    top_k: int = Field(default=10, ge=1, le=MAX_TOP_K, description="hits of each query, at most")
    filter: FilterWire | None = Field(default=None, description="restricts the hits")
    mode: Mode = Field(
        default="dense",
        description="`dense`: by meaning; `lexical`: by words that are alike, for names and codes; "
        "`hybrid`: both rankings fused",
    )
    min_score: float | None = Field(
        default=None,
        description="documents that score less are no hits: a cosine, or with mode `lexical` a "
        "BM25 score; not with `hybrid`",
    )
    exact: bool = Field(
        default=False, description="compare with every vector, however long that takes; for audits"
    )
    balance: Method | None = Field(
        default=None,
        description="put all languages on one level: `calibrated` takes off each score what its "
        "language has too much of, `interleaved` gives each language its turn; mode `dense` only",
    )
    smoothing: SmoothingWire | None = Field(
        default=None,
        description="search with each query's vector averaged over noise, as the probe's "
        "certificates `gaussian_embedding` are for; not with mode `lexical`",
    )
    cursor: str | None = Field(
        default=None,
        max_length=64,
        description="`next` of an earlier answer to the same request: go on from there",
    )


class PassageReply(Reply):
    """A part of a document's text."""

    start: int = Field(description="code points before it")
    end: int = Field(description="code points up to its end")
    text: str


class HitReply(Reply):
    """A document found."""

    rank: int = Field(description="1 is the best; counts on over the parts of an answer")
    doc_id: str
    score: float = Field(
        description="cosine similarity; with mode `lexical` BM25, with `hybrid` the fused score, "
        "with balance `calibrated` the cosine less what its language has too much of"
    )
    lang: str | None
    text: str
    metadata: dict[str, Any]
    passage: PassageReply | None = Field(
        default=None, description="what was found of a document that has several passages"
    )
    scores: dict[str, float] | None = Field(
        default=None,
        description="what the score was made of, with mode `hybrid` or with balance: `dense` the "
        "cosine, `lexical` the BM25 score",
    )


class QueryReply(Reply):
    """The hits of one query."""

    query: str
    hits: list[HitReply]


class SearchReply(Reply):
    """The hits of all queries, in their order."""

    model: str = Field(description="name and content hash of the artifact")
    results: list[QueryReply]
    next: str | None = Field(
        description="send it as `cursor` for the hits that follow; null: there are no more. With "
        "mode `hybrid` a ranking has the first 100 hits of both kinds, or 4 times `top_k` if that "
        "is more; with balance it has 1,000 hits, otherwise 10,000"
    )
    smoothing: SmoothingReply | None = Field(
        default=None, description="what was smoothed; only if it was asked for"
    )


@router.post(
    "/search",
    summary="Search a collection",
    response_model=SearchReply,
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
async def search(request: Request, body: SearchRequest, service: OpenService) -> Response:
    """Find the best documents for each query, across languages.

    Equal scores are ordered by `doc_id`, so the same request has the same ranks. A cursor goes on
    in the same ranking as long as the collection stays as it is.
    """
    settings = service.settings
    queries = await clean_texts(body.queries, "queries", settings.max_queries, settings)
    if len(queries) * body.top_k > settings.max_hits:
        raise InvalidInputError(
            f"{len(queries)} queries times top_k {body.top_k} is over {settings.max_hits} hits; "
            "ask for fewer, or in parts."
        )
    left_out = {"cursor"} if body.smoothing else {"cursor", "smoothing"}
    identity = body.model_dump(exclude=left_out) | {"model": service.encoder.model_id}
    ask = _read(body, read_cursor(body.cursor, identity) if body.cursor is not None else 0)
    require_sense(ask, len(queries))
    if body.smoothing:
        _require_sense_of_smoothing(body, len(queries))
    work = _search(service, ask, queries, body.smoothing)
    results, encoded = await answer_in_time(request, work, settings.request_timeout_s)
    full = any(len(hits) == ask.end - ask.offset for hits in results)
    answer: dict[str, Any] = {
        "model": service.encoder.model_id,
        "results": [
            {"query": query, "hits": [describe_hit(found) for found in hits]}
            for query, hits in zip(body.queries, results, strict=True)
        ],
        "next": write_cursor(ask.offset + ask.top_k, identity) if full else None,
    }
    if isinstance(encoded, Smoothed):
        done = body.smoothing.model_dump() if body.smoothing else {}
        answer["smoothing"] = done | {"lengths": encoded.lengths.tolist()}
        encoded = None
    return JSON(answer, headers=timing_headers(request.scope, encoded))


def _require_sense_of_smoothing(body: SearchRequest, queries: int) -> None:
    if body.mode == "lexical":
        raise InvalidInputError(
            "got smoothing with mode lexical, which has no vectors; expected mode dense or hybrid: "
            "leave one of the two out."
        )
    if body.smoothing:
        require_few(queries, body.smoothing)


def _read(body: SearchRequest, offset: int) -> Ask:
    return Ask(
        name=body.collection,
        mode=body.mode,
        top_k=body.top_k,
        offset=offset,
        where=as_filter(body.filter),
        exact=body.exact,
        min_score=body.min_score,
        balance=body.balance,
    )


async def _search(
    service: Service, ask: Ask, queries: list[str], smoothing: SmoothingWire | None
) -> tuple[list[list[Found]], Vectors | Smoothed | None]:
    # Asked first, so that a misspelt collection costs no inference.
    ranker = await service.in_store(lambda store: _prepare(service, store, ask, queries))
    encoded = None
    if smoothing:
        encoded = await service.smoother.vectors(service, queries, smoothing)
    elif ask.mode != "lexical":
        encoded = await encode(service, queries, "query")
        count_encoded(service, "/search", encoded)

    found: list[list[Found]] = []
    chars = 0
    for start in range(0, len(queries), ranker.at_once):
        part = slice(start, start + ranker.at_once)
        vectors = None if encoded is None else encoded.vectors[part]
        ranked = await service.in_store(
            lambda _, part=part, vectors=vectors: ranker.rank(queries[part], vectors)
        )
        found += ranked
        chars += sum(map(_chars_of, itertools.chain.from_iterable(ranked)))
        _require_room(chars, service.settings)
    return found, encoded


def _chars_of(found: Found) -> int:
    """Count the characters of text that a hit has in an answer."""
    start, end = found.hit.span or (0, 0)
    return len(found.hit.document.text) + end - start


def _require_room(chars: int, settings: Settings) -> None:
    """Refuse an answer that is longer than it could be of documents without windows.

    Raises:
        InvalidInputError: If it is.
    """
    most = settings.max_hits * settings.max_text_chars
    if chars > most:
        raise InvalidInputError(
            f"The hits have over {most} characters of text together, since the documents of this "
            "collection are long; ask for fewer hits with top_k, or for fewer queries at a time."
        )


def _prepare(service: Service, store: VectorStore, ask: Ask, queries: list[str]) -> Ranker:
    if ask.mode != "dense":
        require_words(queries)
    # Words are the same whatever encoder made the vectors.
    if ask.mode != "lexical":
        service.matching(store, ask.name)
    return prepare(store, ask)


def describe_hit(found: Found) -> dict[str, Any]:
    """Write a hit as it goes on the wire."""
    hit = found.hit
    document = hit.document
    described = {
        "rank": hit.rank,
        "doc_id": document.doc_id,
        "score": hit.score,
        "lang": document.lang,
        "text": document.text,
        "metadata": dict(document.metadata),
    }
    if hit.span is not None:
        start, end = hit.span
        described["passage"] = {"start": start, "end": end, "text": document.text[start:end]}
    if found.scores:
        described["scores"] = dict(found.scores)
    return described
