"""What a probe is asked: queries, attacks, budget; and the check that it can be done."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from app.errors import InvalidInputError
from app.retrieval.store import MAX_TOP_K, VectorStore
from app.text.normalize import require_text
from app.text.perturbations.registry import FAMILIES, family_of
from app.text.script import parse_lang

MAX_QUERIES = 1000
MAX_EDITS = 16
MAX_ATTACK_QUERIES = 4096
MAX_SECONDS = 3600.0
_NAMED = 5


@dataclass(frozen=True, slots=True)
class ProbeQuery:
    """A query to attack.

    Attributes:
        query_id: The caller's name for it, unique in the request.
        text: The query.
        lang: Its language, such as ``yor_Latn``: for the summary by language, and for attacks that
            need to know it (keyboards, dictionaries, scripts).
        relevant: Documents that answer it; empty: its own clean top hit.
    """

    query_id: str
    text: str
    lang: str | None = None
    relevant: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """How hard to try.

    Attributes:
        edits: Most edits in one text, 1 to ``MAX_EDITS``.
        queries: Most texts tried for each query under each attack, 1 to ``MAX_ATTACK_QUERIES``.
            The clean query and the last check of the worst text come on top.
        seconds: Time for all of it, above 0 and at most ``MAX_SECONDS``.
    """

    edits: int = 2
    queries: int = 64
    seconds: float = 20.0


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A probe of one collection.

    Attributes:
        collection: Where the queries are searched.
        queries: At least one.
        attacks: Names of families of perturbations; None for all.
        budget: How hard to try.
        top_k: An attack succeeds when every relevant document is out of the first ``top_k`` hits.
        seed: Chooses among perturbations; same seed, same adversarial texts.
        switch_to: Languages that words may be replaced with; None for all of the dictionaries'.
        max_chars: Characters that a text may have to be searched for; None for any number.
    """

    collection: str
    queries: tuple[ProbeQuery, ...]
    attacks: tuple[str, ...] | None = None
    budget: Budget = field(default_factory=Budget)
    top_k: int = 10
    seed: int = 0
    switch_to: tuple[str, ...] | None = None
    max_chars: int | None = None

    @property
    def attack_names(self) -> tuple[str, ...]:
        """The attacks asked for, or all."""
        return tuple(FAMILIES) if self.attacks is None else self.attacks


def require_probe(request: ProbeRequest, store: VectorStore) -> None:
    """Check that a probe can be run as asked.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If anything else is wrong; the message names it and what to do.
    """
    documents = store.describe(request.collection).count
    if not documents:
        raise InvalidInputError(
            f"The collection {request.collection} has no documents, so no query has a hit that "
            "could be lost: add documents first."
        )
    _require_limits(request)
    for index, query in enumerate(request.queries):
        require_text(query.text, f"queries[{index}].text")
    for lang in (*(query.lang for query in request.queries), *(request.switch_to or ())):
        if lang is not None:
            parse_lang(lang)
    _refuse_repeated((query.query_id for query in request.queries), "query_id", "queries")
    if request.attacks is not None and not request.attacks:
        raise InvalidInputError("attacks is empty; name at least one, or leave it out for all.")
    for name in request.attack_names:
        family_of(name)
    _refuse_repeated(request.attack_names, "attack", "attacks")
    _require_documents(request, store)


def _require_limits(request: ProbeRequest) -> None:
    budget = request.budget
    limits = (
        ("queries", len(request.queries), 1, MAX_QUERIES),
        ("top_k", request.top_k, 1, MAX_TOP_K),
        ("budget.edits", budget.edits, 1, MAX_EDITS),
        ("budget.queries", budget.queries, 1, MAX_ATTACK_QUERIES),
    )
    for name, got, least, most in limits:
        if not least <= got <= most:
            raise InvalidInputError(f"{name} is {got}; expected {least} to {most}: change it.")
    if not 0.0 < budget.seconds <= MAX_SECONDS:
        raise InvalidInputError(
            f"budget.seconds is {budget.seconds}; expected more than 0 and at most "
            f"{MAX_SECONDS:g}: change it."
        )


def _refuse_repeated(names: Iterable[str], what: str, where: str) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InvalidInputError(
            f"{what} {repeated[0]!r} occurs more than once in {where}; expected each once: rename "
            "or drop the others."
        )


def _require_documents(request: ProbeRequest, store: VectorStore) -> None:
    asked = list(dict.fromkeys(doc for query in request.queries for doc in query.relevant))
    if not asked:
        return
    known = {document.doc_id for document in store.get(request.collection, asked)}
    missing = [doc_id for doc_id in asked if doc_id not in known]
    if missing:
        raise InvalidInputError(
            f"The collection {request.collection} has no document {_some(missing)} named in "
            "queries[].relevant: correct the doc_id, add the document, or leave relevant out to "
            "take each query's own top hit."
        )


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:_NAMED])
    return listed if len(names) <= _NAMED else f"{listed} and {len(names) - _NAMED} more"
