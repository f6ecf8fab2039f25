"""What a client can ask of POST /search; see ``app.operations``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, Unpack

from app.operations import Operation

Hits = list[dict[str, Any]]


class SearchOptions(TypedDict, total=False):
    """How to search; what each means stands in the service's documentation, under /docs.

    ``filter`` is one of the wire, such as ``{"metadata": {"year": {"gte": 1990}}}``.
    """

    filter: Mapping[str, Any]
    mode: Literal["dense", "lexical", "hybrid"]
    min_score: float
    exact: bool
    balance: Literal["calibrated", "interleaved"]
    smoothing: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SearchPage:
    """A part of an answer: the hits of each query, and the cursor of the next part, if any."""

    results: list[Hits]
    next: str | None


def search(
    collection: str,
    queries: Sequence[str],
    top_k: int = 10,
    *,
    lang: Sequence[str] = (),
    **options: Unpack[SearchOptions],
) -> Operation[list[Hits]]:
    """Find the best documents of each query: its hits, best first.

    Args:
        collection: Where to search.
        queries: The texts.
        top_k: Hits of each query at most.
        lang: Only these languages, beside what ``filter`` says.
        options: See ``SearchOptions``.
    """
    body = _body(collection, queries, top_k, options)
    if lang:
        both = {"lang": list(lang)}
        body["filter"] = {**both, "and": [body["filter"]]} if "filter" in body else both
    return Operation("POST", "/search", body, lambda answer: _page(answer).results)


def search_page(
    collection: str,
    queries: Sequence[str],
    top_k: int = 10,
    *,
    cursor: str | None = None,
    **options: Unpack[SearchOptions],
) -> Operation[SearchPage]:
    """Find the documents of each query part by part.

    Args:
        collection: Where to search.
        queries: The texts.
        top_k: Hits of each query and part at most.
        cursor: ``next`` of the part before, asked for with all else the same; None: the first.
        options: See ``SearchOptions``.
    """
    body = _body(collection, queries, top_k, options)
    if cursor is not None:
        body["cursor"] = cursor
    return Operation("POST", "/search", body, _page)


def _body(
    collection: str, queries: Sequence[str], top_k: int, options: SearchOptions
) -> dict[str, Any]:
    # What is left out is not sent, so that an older service understands.
    given = {name: value for name, value in options.items() if value is not None}
    return {"collection": collection, "queries": list(queries), "top_k": top_k, **given}


def _page(answer: Mapping[str, Any]) -> SearchPage:
    return SearchPage([result["hits"] for result in answer["results"]], answer.get("next"))
