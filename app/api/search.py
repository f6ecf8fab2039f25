"""POST /search: the nearest documents of queries."""

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.encoder import Vectors
from app.api.encoding import count_encoded, encode, timing_headers
from app.api.filters import FilterWire, as_filter
from app.api.limits import answer_in_time, clean_texts
from app.api.problems import responses
from app.api.state import Service
from app.api.wire import JSON, CollectionName, Reply, Texts, Wire
from app.errors import InvalidInputError
from app.retrieval.store import MAX_TOP_K, Hit, VectorStore

SEARCHED_AT_ONCE = 8
"""Queries of one store call, which goes on to its end even if nobody waits for it any more."""

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


class HitReply(Reply):
    """A document found."""

    rank: int = Field(description="1 is the nearest")
    doc_id: str
    score: float = Field(description="cosine similarity")
    lang: str | None
    text: str
    metadata: dict[str, Any]


class QueryReply(Reply):
    """The hits of one query."""

    query: str
    hits: list[HitReply]


class SearchReply(Reply):
    """The hits of all queries, in their order."""

    model: str = Field(description="name and content hash of the artifact")
    results: list[QueryReply]


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
    """Find the documents nearest to each query, across languages.

    Equal scores are ordered by `doc_id`, so the same request has the same ranks.
    """
    settings = service.settings
    queries = await clean_texts(body.queries, "queries", settings.max_queries, settings)
    if len(queries) * body.top_k > settings.max_hits:
        raise InvalidInputError(
            f"{len(queries)} queries times top_k {body.top_k} is over {settings.max_hits} hits; "
            "ask for fewer, or in parts."
        )
    work = _search(service, body, queries)
    results, encoded = await answer_in_time(request, work, settings.request_timeout_s)
    return JSON(
        {
            "model": service.encoder.model_id,
            "results": [
                {"query": query, "hits": [describe_hit(hit) for hit in hits]}
                for query, hits in zip(body.queries, results, strict=True)
            ],
        },
        headers=timing_headers(request.scope, encoded),
    )


async def _search(
    service: Service, body: SearchRequest, queries: list[str]
) -> tuple[list[list[Hit]], Vectors]:
    # Asked first, so that a misspelt collection costs no inference.
    await service.in_store(lambda store: service.matching(store, body.collection))
    encoded = await encode(service, queries, "query")
    count_encoded(service, "/search", encoded)
    where = as_filter(body.filter)

    found: list[list[Hit]] = []
    for start in range(0, len(queries), SEARCHED_AT_ONCE):
        vectors = encoded.vectors[start : start + SEARCHED_AT_ONCE]

        def find(store: VectorStore, vectors: NDArray[np.float32] = vectors) -> list[list[Hit]]:
            return store.search(body.collection, vectors, body.top_k, where)

        found += await service.in_store(find)
    return found, encoded


def describe_hit(hit: Hit) -> dict[str, Any]:
    """Write a hit as it goes on the wire."""
    document = hit.document
    return {
        "rank": hit.rank,
        "doc_id": document.doc_id,
        "score": hit.score,
        "lang": document.lang,
        "text": document.text,
        "metadata": dict(document.metadata),
    }
