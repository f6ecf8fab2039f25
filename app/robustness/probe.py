"""A probe: queries in, the worst texts within a budget out, with rates and intervals.

All queries under all attacks advance in lock-step, so that each model call carries texts of all of
them. The worst text of each is searched for once more in a call of its own, as a search request
would do it; the rank reported is that one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from app.retrieval.store import Encode, VectorStore
from app.robustness.attack import Attack
from app.robustness.goal import SEARCH_DEPTH, Demotion, Standing
from app.robustness.ranking import Question, Ranker
from app.robustness.report import Outcome, ProbeReport, ProbeResult
from app.robustness.request import Budget, ProbeQuery, ProbeRequest, require_probe
from app.robustness.resources import Resources
from app.robustness.statistics import Row, limits_of, summarize
from app.text.normalize import normalize
from app.text.perturbations.context import Context
from app.text.perturbations.edits import Edit, apply_edits
from app.text.perturbations.family import why_not
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import FAMILIES, Family, proposals

__all__ = ["AttackInfo", "Budget", "ProbeQuery", "ProbeReport", "ProbeRequest"]
__all__ += ["ProbeResult", "Resources", "list_attacks", "run_probe"]

# The share of the time that the last checks may be given, and how far their cost is overestimated.
_MOST_RESERVED, _CAUTION = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class AttackInfo:
    """What there is to know about an attack before choosing it; see ``Family``."""

    name: str
    description: str
    scripts: tuple[str, ...]
    cost: int
    needs: tuple[str, ...]


@dataclass
class _Query:
    """A query on its way: where it stands, what is known of it, and its attacks by name."""

    sent: ProbeQuery
    goal: Demotion
    clean: Standing | None
    context: Context
    attacks: dict[str, Attack]


def list_attacks() -> tuple[AttackInfo, ...]:
    """List the attacks that there are."""
    return tuple(
        AttackInfo(f.name, f.description, f.scripts, f.cost, f.needs) for f in FAMILIES.values()
    )


def run_probe(
    request: ProbeRequest,
    encode: Encode,
    store: VectorStore,
    *,
    resources: Resources = Resources(),  # noqa: B008  # immutable
    cancelled: Callable[[], bool] = lambda: False,
) -> ProbeReport:
    """Search for the texts that break a collection's queries most.

    Blocks for up to the budget's seconds and a little more. When they are over, or ``cancelled``
    says so, the report holds what was found until then and says which results are incomplete.

    Args:
        request: What to probe.
        encode: The encoder of queries that the collection's searches use.
        store: Where the collection is.
        resources: Dictionaries and the encoder's neighbors, for attacks that need them.
        cancelled: Asked some forty times a second whether to stop.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If the request cannot be done as asked.
        InferenceError: If the encoder does not answer with one finite row a text.
    """
    began = time.monotonic()
    require_probe(request, store)
    clock = _Clock(began + request.budget.seconds, cancelled)
    ranker = Ranker(encode, store, request.collection, clock.over)
    contexts = resources.contexts(request, clock.over)
    started = time.monotonic()
    queries = [
        _start(query, context, request, ranker, clock)
        for query, context in zip(request.queries, contexts, strict=True)
    ]
    for query in queries:
        _arm(query, request, clock)
    attacks = [attack for query in queries for attack in query.attacks.values()]
    clock.reserve(_CAUTION * (time.monotonic() - started) / len(queries) * len(attacks))
    _advance(attacks, ranker, clock)
    rows = [_row(query, name, ranker, clock) for query in queries for name in request.attack_names]
    summary = summarize(rows)
    collection = store.describe(request.collection)
    partial = any(not row.result.complete for row in rows)
    return ProbeReport(
        model=collection.model,
        seed=request.seed,
        top_k=request.top_k,
        search_depth=SEARCH_DEPTH,
        status="partial" if partial else "complete",
        reason=clock.reason(request.budget.seconds) if partial else None,
        elapsed_s=time.monotonic() - began,
        spent=ranker.spent(tried=sum(row.result.queries for row in rows)),
        summary=summary,
        limits=limits_of(summary, request.top_k, collection.count),
        results=tuple(row.result for row in rows),
    )


class _Clock:
    """Tells when to stop searching; keeps time back for the last checks."""

    def __init__(self, deadline: float, cancelled: Callable[[], bool]) -> None:
        self._deadline = deadline
        self._asked = cancelled
        self.cancelled = False

    def over(self) -> bool:
        self.cancelled = self.cancelled or self._asked()
        return self.cancelled or time.monotonic() >= self._deadline

    def reserve(self, seconds: float) -> None:
        left = max(0.0, self._deadline - time.monotonic())
        self._deadline -= min(seconds, _MOST_RESERVED * left)

    def reason(self, seconds: float) -> str:
        return "The caller canceled." if self.cancelled else f"The {seconds:g} seconds were over."


def _start(
    query: ProbeQuery, context: Context, request: ProbeRequest, ranker: Ranker, clock: _Clock
) -> _Query:
    relevant = frozenset(query.relevant)
    if clock.over():
        return _Query(query, Demotion(relevant, request.top_k), None, context, {})
    goal, clean = ranker.rank_clean(normalize(query.text), relevant, request.top_k)
    return _Query(query, goal, clean, context, {})


def _arm(query: _Query, request: ProbeRequest, clock: _Clock) -> None:
    """Set up the attacks on a query that is eligible."""
    if query.clean is None or query.goal.reached(query.clean):
        return
    passage = Passage.of(query.sent.text)
    budget = request.budget
    for name in request.attack_names:
        if clock.over():
            return
        family = FAMILIES[name]
        query.attacks[name] = Attack(
            query.sent.text,
            query.goal,
            query.clean,
            proposals(family, passage, request.seed, query.context),
            budget.edits // family.cost,
            budget.queries,
        )


def _advance(attacks: Sequence[Attack], ranker: Ranker, clock: _Clock) -> None:
    """Let all attacks take their rounds together until none has anything more to try."""
    while not clock.over():
        planned = [(a, a.plan()) for a in attacks if not a.finished and not clock.over()]
        if not any(candidates for _, candidates in planned):
            return
        # First candidates of all attacks first, so that a deadline cuts all of them alike.
        turns = zip_longest(*([(attack, c) for c in candidates] for attack, candidates in planned))
        entries = [entry for turn in turns for entry in turn if entry]
        standings = ranker.rank([Question(c.text, attack.goal) for attack, c in entries])
        ranked = {
            (id(attack), c.edits): s for (attack, c), s in zip(entries, standings, strict=True)
        }
        for attack, candidates in planned:
            attack.learn([(c, ranked[id(attack), c.edits]) for c in candidates])


def _row(query: _Query, name: str, ranker: Ranker, clock: _Clock) -> Row:
    attack = query.attacks.get(name)
    standing, text = query.clean, query.sent.text
    edits: tuple[Edit, ...] = ()
    worst = attack.worst if attack else None
    if query.clean and attack and worst:
        checked = worst.standing
        if not clock.cancelled:
            checked = ranker.rank_alone(Question(worst.candidate.text, query.goal))
        if checked.badness > query.clean.badness:
            standing, edits = checked, worst.candidate.edits
            text = apply_edits(text, edits)
    outcome, reason = _outcome(query, FAMILIES[name], attack, standing)
    result = ProbeResult(
        query_id=query.sent.query_id,
        attack=name,
        lang=query.sent.lang,
        outcome=outcome,
        reason=reason,
        relevant=tuple(sorted(query.goal.relevant)),
        clean_rank=query.clean.rank if query.clean else None,
        worst_rank=standing.rank if standing else None,
        beyond_depth=standing is not None and standing.rank is None,
        success=outcome == "success",
        adversarial_text=text,
        edits=edits,
        queries=attack.queries if attack else 0,
        complete=attack.complete if attack else outcome != "not_reached",
    )
    return Row(result, query.clean, standing)


def _outcome(
    query: _Query, family: Family, attack: Attack | None, standing: Standing | None
) -> tuple[Outcome, str | None]:
    if query.clean is None or standing is None:
        return "not_reached", "Time ran out before the query was searched."
    if query.goal.reached(query.clean):
        rank = query.clean.rank or f"beyond {SEARCH_DEPTH}"
        return "not_eligible", f"Its best relevant document has rank {rank} without any attack."
    if attack is None or (not attack.queries and not attack.complete):
        return "not_reached", "Time ran out before anything was tried."
    if not attack.queries:
        return "not_applicable", why_not(family, query.context, len(attack.pool))
    return ("success" if query.goal.reached(standing) else "held"), None
