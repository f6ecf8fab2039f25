"""Rankings in which no language is ahead because of its language.

An encoder may put texts of the query's own language, or of a language that it has seen much of,
nearer than others that say the same (language bias; Roy et al. 2020). Both methods here make one
ranking for each language, by a filter, and merge them:

- ``calibrated`` takes off each score what its language has too much of for this query.
- ``interleaved`` deals hits out in rounds, one of each language, whatever they score: in as many
  languages as there are, even where only one of them has an answer.

Cost: a search for each language, deepened once or twice where its first hits did not suffice, and
for the calibration at least ``REFERENCE_HITS`` documents read in all: about as many times a plain
search as there are languages. Nothing is kept between calls, so nothing goes stale.

References:
    Roy et al. 2020, LAReQA: language-agnostic answer retrieval from a multilingual pool,
    https://arxiv.org/abs/2004.05484. That the mean similarity to a query's nearest neighbors in a
    language tells the level of that language: Conneau et al. 2018, section 2.3 (CSLS),
    https://arxiv.org/abs/1710.04087. That languages differ by an offset which can be taken off:
    Yang et al. 2021, https://arxiv.org/abs/2109.04727, for vectors where here it is for scores.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.filters import All, Filter, In, Not, require_filter
from app.retrieval.fusion import Found
from app.retrieval.store import Hit, VectorStore

Method = Literal["calibrated", "interleaved"]
MAX_LANGUAGES = 256
"""Each costs a search of its own."""
REFERENCE_SHARE = 0.01
"""Of each language's documents, those that tell its level for a query."""
REFERENCE_HITS = 1000
"""They are so many at most, in all languages together, and at least one in each."""
OWN_CONDITIONS = 3
"""What the filter of a language adds to the one given: ``and``, ``not`` and the language."""
PRIOR_HITS = 1.0
"""So many hits at the common level are added to those of each language."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What is ranked.

    Attributes:
        name: The collection.
        end: The last rank that is wanted, at most ``MAX_TOP_K``.
        where: Restricts the hits.
        exact: As in ``VectorStore.search``.
        min_score: Documents with a lower cosine are no hits.
    """

    name: str
    end: int
    where: Filter | None = None
    exact: bool = False
    min_score: float | None = None


@dataclass(frozen=True, slots=True)
class Language:
    """The documents of one language in a scope, and how many of their hits tell its level."""

    where: Filter | None
    count: int
    reference: int


def list_languages(store: VectorStore, scope: Scope) -> list[Language]:
    """List the languages of a scope by code; documents without one make one more.

    Raises:
        InvalidInputError: If there are more than ``MAX_LANGUAGES``, or the filter leaves no room.
        NotFoundError: If there is no such collection.
    """
    known = store.languages(scope.name)
    codes = sorted(lang for lang in known if lang)
    if len(codes) > MAX_LANGUAGES:
        raise InvalidInputError(
            f"Collection {scope.name!r} has {len(codes)} languages; balance can search up to "
            f"{MAX_LANGUAGES}: leave it out, or split the collection."
        )
    of_code: dict[str, Filter | None] = {code: In("lang", (code,)) for code in codes}
    if "" in known:
        of_code[""] = Not(In("lang", tuple(codes))) if codes else None
    wheres = {code: _both(scope.where, own) for code, own in of_code.items()}
    _require_filters(wheres.values())
    if scope.where is None:
        counts = [known[code] for code in wheres]
    else:
        counts = [store.count(scope.name, where) for where in wheres.values()]
    return [
        Language(where, count, reference)
        for where, count, reference in zip(
            wheres.values(), counts, reference_hits(counts), strict=True
        )
        if count
    ]


def _require_filters(wheres: Iterable[Filter | None]) -> None:
    try:
        for where in wheres:
            if where is not None:
                require_filter(where)
    except InvalidInputError as error:
        raise InvalidInputError(
            "balance searches each language by a filter of its own, for which it adds up to a "
            f"level and {OWN_CONDITIONS} conditions to the one given: {error.message} Or leave "
            "balance out."
        ) from None


def reference_hits(counts: Sequence[int]) -> list[int]:
    """Tell of how many hits each language's level is the mean, from its documents.

    The same share in each, because the nearest ten of a million are nearer than those of a hundred.
    """
    share = min(REFERENCE_SHARE, REFERENCE_HITS / max(1, sum(counts)))
    return [max(1, round(share * count)) for count in counts]


def biases(references: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Estimate by how much a query's scores are too high in each language.

        bias(L) = k_L / (k_L + PRIOR_HITS) * (mean_L - mean),  mean over all references alike

    Few hits say little about a language, so they count for less.

    Args:
        references: The query's best scores in each language, k_L of each, at least one.

    Returns:
        Shape (languages,); 0 where a language is like all others.
    """
    sizes = np.array([len(scores) for scores in references], np.float64)
    means = np.array([np.mean(scores) for scores in references], np.float64)
    level = float(sizes @ means / sizes.sum())
    return sizes / (sizes + PRIOR_HITS) * (means - level)


def balance(
    store: VectorStore,
    scope: Scope,
    languages: Sequence[Language],
    vectors: NDArray[np.float32],
    method: Method,
) -> list[list[Found]]:
    """Rank documents with all languages on one level; equal ones by ``doc_id``.

    Args:
        store: Where the documents are.
        scope: What is ranked, and how far.
        languages: Those of the scope, from ``list_languages``.
        vectors: Unit rows, shape (queries, dim).
        method: How languages are balanced.

    Returns:
        For each query its hits up to ``scope.end``. Their scores are the calibrated ones, for
        ``interleaved`` the cosines; ``scores`` has the cosines as ``dense``.

    Raises:
        InvalidInputError: As ``VectorStore.search``.
        NotFoundError: If there is no such collection.
    """
    least = math.ceil(scope.end / max(1, len(languages)))
    begun: list[list[_List]] = [[] for _ in vectors]
    for language in languages:
        # Twice an equal share mostly suffices.
        wanted = max(language.reference, 2 * least) if method == "calibrated" else least
        depth = min(wanted, max(scope.end, language.reference))
        found = store.search(scope.name, vectors, depth, language.where, exact=scope.exact)
        for lists, hits in zip(begun, found, strict=True):
            lists.append(_List(language, hits, depth))
    return [
        _merge(_Merging(store, scope, vectors[number : number + 1], method), lists)
        for number, lists in enumerate(begun)
    ]


@dataclass(slots=True)
class _List:
    """The first hits of one query in one language."""

    language: Language
    hits: list[Hit]
    depth: int


@dataclass(frozen=True, slots=True)
class _Merging:
    store: VectorStore
    scope: Scope
    vector: NDArray[np.float32]  # (1, dim)
    method: Method


Key = tuple[Any, ...]


def _merge(merging: _Merging, lists: list[_List]) -> list[Found]:
    scope = merging.scope
    lists = [each for each in lists if each.hits]
    if not lists:
        return []
    if merging.method == "calibrated":
        tops = [each.hits[: each.language.reference] for each in lists]
        offsets = biases([np.array([hit.score for hit in hits]) for hits in tops])
    else:
        offsets = np.zeros(len(lists))
    while True:
        keyed = [
            _keyed(merging, each.hits, float(offset))
            for each, offset in zip(lists, offsets, strict=True)
        ]
        merged = sorted((one for some in keyed for one in some), key=lambda one: one[0])
        last = merged[scope.end - 1][0] if len(merged) >= scope.end else None
        short = [
            each
            for each, some in zip(lists, keyed, strict=True)
            if _may_have_more(each, some, scope) and (last is None or some[-1][0] < last)
        ]
        if not short:
            break
        for each in short:
            _deepen(merging, each)
    return [
        Found(replace(hit, rank=rank, score=score), {"dense": hit.score})
        for rank, (_, score, hit) in enumerate(merged[: scope.end], 1)
    ]


def _keyed(merging: _Merging, hits: list[Hit], offset: float) -> list[tuple[Key, float, Hit]]:
    least = merging.scope.min_score
    kept = [hit for hit in hits if least is None or hit.score >= least]
    if merging.method == "calibrated":
        return [((offset - h.score, h.document.doc_id), h.score - offset, h) for h in kept]
    return [((round_, -h.score, h.document.doc_id), h.score, h) for round_, h in enumerate(kept)]


def _may_have_more(each: _List, keyed: Sequence[object], scope: Scope) -> bool:
    # One cut by min_score, or as deep as the ranking, has no more that matter.
    whole = len(each.hits) < each.depth or len(keyed) < len(each.hits)
    return not whole and each.depth < scope.end


def _deepen(merging: _Merging, each: _List) -> None:
    scope = merging.scope
    each.depth = min(2 * each.depth, scope.end)
    (each.hits,) = merging.store.search(
        scope.name, merging.vector, each.depth, each.language.where, exact=scope.exact
    )


def _both(where: Filter | None, own: Filter | None) -> Filter | None:
    if where is None or own is None:
        return where or own
    return All((*where.parts, own)) if isinstance(where, All) else All((where, own))
