"""The check that a probe can be done as asked, with words that say what to change."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import get_args

from app.errors import InvalidInputError
from app.retrieval.store import MAX_TOP_K, VectorStore
from app.robustness import request as asked
from app.robustness.request import ProbeRequest
from app.text.normalize import require_text
from app.text.perturbations.registry import family_of
from app.text.script import parse_lang

_NAMED = 5
_MOST_RADII = 16
_MOST_STEPS, _MOST_RESTARTS = 1000, 32
_MOST_SAMPLES = 100_000


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
        raise InvalidInputError(
            "attacks is empty; name at least one, or leave it out for the usual ones."
        )
    for name in request.attack_names:
        family_of(name)
    _refuse_repeated(request.attack_names, "attack", "attacks")
    _require_goal(request)
    _require_constraints(request)
    _require_white_box(request)
    _require_certificates(request)
    _require_poison(request)
    _require_documents(request, store, documents)


def _require_limits(request: ProbeRequest) -> None:
    budget = request.budget
    limits = [
        ("queries", len(request.queries), 1, asked.MAX_QUERIES),
        ("top_k", request.top_k, 1, MAX_TOP_K),
        ("budget.edits", budget.edits, 1, asked.MAX_EDITS),
        ("budget.queries", budget.queries, 1, asked.MAX_ATTACK_QUERIES),
        ("seeds", request.seeds, 1, asked.MAX_SEEDS),
        ("search.width", request.search.width, 2, asked.MAX_WIDTH),
        ("stats.bootstrap", request.stats.bootstrap, 200, 100_000),
    ]
    if budget.total_queries is not None:
        limits.append(("budget.total_queries", budget.total_queries, 1, asked.MAX_TOTAL_QUERIES))
    for name, got, least, most in limits:
        if not least <= got <= most:
            raise InvalidInputError(f"{name} is {got}; expected {least} to {most}: change it.")
    if not 0.0 < budget.seconds <= asked.MAX_SECONDS:
        raise InvalidInputError(
            f"budget.seconds is {budget.seconds}; expected more than 0 and at most "
            f"{asked.MAX_SECONDS:g}: change it."
        )
    if not 0.5 <= request.stats.confidence < 1.0:
        raise InvalidInputError(
            f"stats.confidence is {request.stats.confidence}; expected 0.5 to less than 1, such "
            "as 0.95: change it."
        )
    _require_one_of("search.method", request.search.method, get_args(asked.Method))


def _require_goal(request: ProbeRequest) -> None:
    goal = request.goal
    _require_one_of("goal.type", goal.type, get_args(asked.GoalType))
    if (goal.type == "promotion") != (goal.target is not None):
        got = "no goal.target" if goal.target is None else "a goal.target"
        raise InvalidInputError(
            f"Got goal {goal.type} with {got}; expected a target for promotion and for no other "
            "goal: name the document to promote, or change the type."
        )
    if goal.threshold is None:
        return
    if goal.type not in asked.THRESHOLDS:
        raise InvalidInputError(
            f"Got goal {goal.type} with a threshold; expected one for "
            f"{', '.join(asked.THRESHOLDS)} alone, for this goal top_k says what succeeds: leave "
            "it out."
        )
    most = 2.0 if goal.type == "vector_shift" else 1.0
    if not 0.0 < goal.threshold <= most:
        raise InvalidInputError(
            f"goal.threshold is {goal.threshold}; expected more than 0 and at most {most:g} for "
            f"{goal.type}: change it."
        )


def _require_constraints(request: ProbeRequest) -> None:
    limits = request.constraints
    if limits.word_share is not None and not 0.0 < limits.word_share <= 1.0:
        raise InvalidInputError(
            f"constraints.word_share is {limits.word_share}; expected more than 0 and at most 1."
        )
    if limits.min_similarity is not None and not -1.0 <= limits.min_similarity <= 1.0:
        raise InvalidInputError(
            f"constraints.min_similarity is {limits.min_similarity}; expected a cosine, -1 to 1."
        )
    if limits.similarity_by is not None and limits.min_similarity is None:
        raise InvalidInputError(
            "Got constraints.similarity_by without min_similarity; expected both, or none."
        )
    if limits.min_language is not None and not 0.0 < limits.min_language <= 1.0:
        raise InvalidInputError(
            f"constraints.min_language is {limits.min_language}; expected a probability, more "
            "than 0 and at most 1."
        )
    for name in limits.protect:
        _require_one_of("constraints.protect", name, get_args(asked.Protected))


def _require_white_box(request: ProbeRequest) -> None:
    chosen = request.white_box
    if chosen is None:
        return
    if request.goal.type != "demotion":
        raise InvalidInputError(
            f"Got white_box with goal {request.goal.type}; expected demotion, for these attacks "
            "pull at the relevant documents' margin: change the goal, or leave white_box out."
        )
    if not chosen.attacks:
        raise InvalidInputError("white_box.attacks is empty; name at least one, or leave it out.")
    for name in chosen.attacks:
        _require_one_of("white_box.attacks", name, get_args(asked.InnerAttack))
    _refuse_repeated(chosen.attacks, "attack", "white_box.attacks")
    _require_one_of("white_box.ball", chosen.ball, get_args(asked.BallNorm))
    _require_radii("white_box.epsilon", chosen.epsilon)
    samples = chosen.smoothing.samples if chosen.smoothing else 1
    if samples > asked.MAX_ATTACK_SAMPLES:
        raise InvalidInputError(
            f"white_box.smoothing.samples is {samples}; expected at most "
            f"{asked.MAX_ATTACK_SAMPLES}: serve and attack with fewer."
        )
    for name, got, most in (
        ("white_box.steps", chosen.steps, _MOST_STEPS),
        ("white_box.restarts", chosen.restarts, _MOST_RESTARTS),
    ):
        if not 1 <= got <= most:
            raise InvalidInputError(f"{name} is {got}; expected 1 to {most}: change it.")


def _require_poison(request: ProbeRequest) -> None:
    chosen = request.poison
    if chosen is None:
        return
    for name, got, least, most in (
        ("poison.documents", chosen.documents, 1, asked.MAX_POISON),
        ("poison.edits", chosen.edits, 1, asked.MAX_POISON_EDITS),
        ("poison.calls", chosen.calls, 2, asked.MAX_POISON_CALLS),
        ("poison.chars", chosen.chars, 1, asked.MAX_POISON_CHARS),
    ):
        if not least <= got <= most:
            raise InvalidInputError(f"{name} is {got}; expected {least} to {most}: change it.")


def _require_certificates(request: ProbeRequest) -> None:
    chosen = request.certify
    if chosen is None:
        return
    if request.goal.type != "demotion":
        raise InvalidInputError(
            f"Got certify with goal {request.goal.type}; expected demotion, for the certificates "
            "say that a relevant document stays in the top k: leave certify out."
        )
    if not chosen.methods:
        raise InvalidInputError("certify.methods is empty; name at least one, or leave it out.")
    for name in chosen.methods:
        _require_one_of("certify.methods", name, get_args(asked.CertificateMethod))
    _refuse_repeated(chosen.methods, "certificate", "certify.methods")
    if "gaussian_embedding" in chosen.methods:
        _require_radii("certify.sigma", chosen.sigma)
    if not 2 <= chosen.samples <= _MOST_SAMPLES:
        raise InvalidInputError(
            f"certify.samples is {chosen.samples}; expected 2 to {_MOST_SAMPLES}: change it."
        )
    if not 0.0 < chosen.alpha < 1.0:
        raise InvalidInputError(
            f"certify.alpha is {chosen.alpha}; expected more than 0 and less than 1: change it."
        )


def _require_radii(name: str, radii: Sequence[float]) -> None:
    if not 1 <= len(radii) <= _MOST_RADII or not all(0.0 < one < 1e6 for one in radii):
        raise InvalidInputError(
            f"{name} is {list(radii)}; expected 1 to {_MOST_RADII} numbers above 0: change it."
        )
    _refuse_repeated([f"{one:g}" for one in radii], "the value", name)


def _require_one_of(name: str, got: str, known: Sequence[str]) -> None:
    if got not in known:
        raise InvalidInputError(
            f"{name} is {got!r}; expected one of {', '.join(known)}: change it."
        )


def _refuse_repeated(names: Iterable[str], what: str, where: str) -> None:
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise InvalidInputError(
            f"{what} {repeated[0]!r} occurs more than once in {where}; expected each once: rename "
            "or drop the others."
        )


def _require_documents(request: ProbeRequest, store: VectorStore, documents: int) -> None:
    target = request.goal.target
    named = [doc for query in request.queries for doc in query.relevant]
    if target is not None:
        named.append(target)
    if request.poison and request.poison.promote is not None:
        named.append(request.poison.promote)
    wanted = list(dict.fromkeys(named))
    if not wanted:
        return
    known = {document.doc_id for document in store.get(request.collection, wanted)}
    missing = [doc_id for doc_id in wanted if doc_id not in known]
    if missing:
        raise InvalidInputError(
            f"The collection {request.collection} has no document {_some(missing)} named in "
            "queries[].relevant, goal.target or poison.promote: correct the doc_id, add the "
            "document, or leave relevant out to take each query's own top hit."
        )
    if target is not None and documents <= request.top_k:
        raise InvalidInputError(
            f"The collection has {documents} documents and top_k is {request.top_k}, so the "
            "target is always a hit: lower top_k."
        )


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(repr(name) for name in names[:_NAMED])
    return listed if len(names) <= _NAMED else f"{listed} and {len(names) - _NAMED} more"
