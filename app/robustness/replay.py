"""Stored adversarial texts tried again: what rank they have now, and whether they still succeed.

Nothing is searched for: every text is encoded and searched for alone, as a request would do it.
So a replay costs a text each, and gives the same numbers whenever nothing has changed: a gate for
a new model or a changed collection.
"""

import time
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass

from app.retrieval.store import Encode, VectorStore
from app.robustness.goal import SEARCH_DEPTH, Goal, Standing, goal_for
from app.robustness.paired import Change, change_between
from app.robustness.ranking import Alone, Ranker, first_depth
from app.robustness.report import Outcome, Rate
from app.robustness.request import GoalChoice, StatsChoice
from app.robustness.statistics import rate_of
from app.robustness.stored import Stored
from app.text.normalize import normalize

_FEW = 30


@dataclass(frozen=True, slots=True)
class ReplayRequest:
    """What to try again, and on what.

    Attributes:
        collection: Where to search.
        stored: The texts.
        top_k: How many hits the user of the search sees.
        goal: What counts as success.
        stats: How numbers are bounded.
        seed: Of the bootstrap.
    """

    collection: str
    stored: tuple[Stored, ...]
    top_k: int = 10
    goal: GoalChoice = GoalChoice()  # noqa: RUF009  # immutable
    stats: StatsChoice = StatsChoice()  # noqa: RUF009  # immutable
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of a stored text.

    Attributes:
        query_id: The query.
        attack: What once found the text.
        lang: The query's language.
        text: The text.
        outcome: As in ``ProbeResult``.
        reason: Why, for ``not_eligible`` and ``not_reached``.
        clean_rank: Rank of the best relevant document for the query as it came; None if it is
            beyond the search depth, or was not reached.
        rank: The same for the text.
        beyond_depth: Whether ``rank`` is None because it is beyond the search depth.
        success: Whether the outcome is ``success``.
        stored_rank: Its rank when it was found.
        stored_success: Whether it succeeded then; None: not known.
    """

    query_id: str
    attack: str
    lang: str | None
    text: str
    outcome: Outcome
    reason: str | None
    clean_rank: int | None
    rank: int | None
    beyond_depth: bool
    success: bool
    stored_rank: int | None
    stored_success: bool | None


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """The answer to a replay.

    Attributes:
        model: The encoder that searched.
        collection: Where.
        top_k: As asked.
        status: ``partial`` if time ran out or the caller canceled.
        reason: Why it is partial; None otherwise.
        elapsed_s: Seconds in all.
        queries: Texts encoded.
        attack_success_rate: Of the eligible queries, those that any of their texts breaks.
        by_attack: The same under each attack.
        by_lang: The same in each language; ``und`` for queries without one.
        change: Against what is stored; None if nothing of that is known.
        not_eligible: Queries that failed without any attack.
        not_reached: Queries of which no text was reached in time.
        limits: What the numbers do not show.
        results: One for each text, in the order sent.
    """

    model: str
    collection: str
    top_k: int
    status: str
    reason: str | None
    elapsed_s: float
    queries: int
    attack_success_rate: Rate
    by_attack: Mapping[str, Rate]
    by_lang: Mapping[str, Rate]
    change: Change | None
    not_eligible: int
    not_reached: int
    limits: tuple[str, ...]
    results: tuple[Replayed, ...]


def run_replay(
    request: ReplayRequest,
    encode: Encode,
    store: VectorStore,
    *,
    seconds: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> ReplayReport:
    """Try stored texts again; blocks for up to ``seconds``.

    Raises:
        NotFoundError: If there is no such collection.
        InferenceError: If the encoder does not answer with one finite row a text.
    """
    began = time.monotonic()

    def over() -> bool:
        return cancelled() or time.monotonic() >= began + seconds

    collection = store.describe(request.collection)
    ranker = Ranker(encode, store, request.collection, over)
    results = _results(request, ranker)
    partial = any(result.outcome == "not_reached" for result in results)
    reason = "The caller canceled." if cancelled() else f"The {seconds:g} seconds were over."
    confidence = request.stats.confidence
    broken = _broken(results)
    by_query = {key: {one.outcome for one in some} for key, some in _groups(results).items()}
    return ReplayReport(
        model=collection.model,
        collection=request.collection,
        top_k=request.top_k,
        status="partial" if partial else "complete",
        reason=reason if partial else None,
        elapsed_s=time.monotonic() - began,
        queries=ranker.texts,
        attack_success_rate=_rate(broken.values(), confidence),
        by_attack=_by(results, lambda one: one.attack, confidence),
        by_lang=_by(results, lambda one: one.lang or "und", confidence),
        change=_change(results, request),
        not_eligible=sum("not_eligible" in some for some in by_query.values()),
        not_reached=sum(some == {"not_reached"} for some in by_query.values()),
        limits=_limits(len(broken), partial=partial),
        results=results,
    )


def outcomes(report: ReplayReport) -> dict[Hashable, bool]:
    """Tell for each eligible query of a replay whether any of its texts broke it."""
    return _broken(report.results)


def _results(request: ReplayRequest, ranker: Ranker) -> tuple[Replayed, ...]:
    stored, top_k = request.stored, request.top_k
    keys = list(dict.fromkeys((normalize(one.query), one.relevant) for one in stored))
    promoted = int(request.goal.type == "promotion")
    depths = [min(SEARCH_DEPTH, top_k + max(1, len(names)) + promoted) for _, names in keys]
    found = ranker.alone([text for text, _ in keys], depths)
    cleans: dict[tuple[str, tuple[str, ...]], tuple[Goal, Alone, Standing]] = {}
    for key, alone in zip(keys, found, strict=False):
        names = frozenset(key[1]) or frozenset(hit.document.doc_id for hit in alone.hits[:1])
        goal = goal_for(request.goal, names, alone.hits, top_k)
        cleans[key] = goal, alone, ranker.stand(goal, alone, alone.vector)
    known = [cleans.get((normalize(one.query), one.relevant)) for one in stored]
    wanted = [
        n for n, clean in enumerate(known) if clean is not None and not clean[0].barred(clean[2])
    ]
    standings: dict[int, Standing] = {}
    texts = [normalize(stored[n].text) for n in wanted]
    depths = [first_depth(clean[0]) for n in wanted if (clean := known[n])]
    for n, alone in zip(wanted, ranker.alone(texts, depths), strict=False):
        if clean := known[n]:
            standings[n] = ranker.stand(clean[0], alone, clean[1].vector, stored[n].rank)
    return tuple(_replayed(one, known[n], standings.get(n)) for n, one in enumerate(stored))


def _replayed(
    one: Stored, clean: tuple[Goal, Alone, Standing] | None, standing: Standing | None
) -> Replayed:
    barred = clean[0].barred(clean[2]) if clean else None
    outcome: Outcome
    if clean is None or (standing is None and barred is None):
        outcome, reason = "not_reached", "Time ran out before it was searched."
    elif standing is None:
        outcome, reason = "not_eligible", barred
    else:
        outcome, reason = ("success" if clean[0].reached(standing) else "held"), None
    return Replayed(
        query_id=one.query_id,
        attack=one.attack,
        lang=one.lang,
        text=one.text,
        outcome=outcome,
        reason=reason,
        clean_rank=clean[2].rank if clean else None,
        rank=standing.rank if standing else None,
        beyond_depth=standing is not None and standing.rank is None,
        success=outcome == "success",
        stored_rank=one.rank,
        stored_success=one.success,
    )


def _rate(broken: Collection[bool], confidence: float) -> Rate:
    return rate_of(sum(broken), len(broken), confidence)


def _groups(results: Sequence[Replayed]) -> dict[Hashable, list[Replayed]]:
    groups: dict[Hashable, list[Replayed]] = {}
    for result in results:
        groups.setdefault(result.query_id, []).append(result)
    return groups


def _broken(results: Sequence[Replayed]) -> dict[Hashable, bool]:
    tried = [result for result in results if result.outcome in ("success", "held")]
    return {key: any(one.success for one in some) for key, some in _groups(tried).items()}


def _by(
    results: Sequence[Replayed], name: Callable[[Replayed], str], confidence: float
) -> dict[str, Rate]:
    groups: dict[str, list[Replayed]] = {}
    for result in results:
        groups.setdefault(name(result), []).append(result)
    return {key: _rate(_broken(some).values(), confidence) for key, some in groups.items()}


def _change(results: Sequence[Replayed], request: ReplayRequest) -> Change | None:
    known = [result for result in results if result.stored_success is not None]
    if not known:
        return None
    before = {key: any(o.stored_success for o in some) for key, some in _groups(known).items()}
    return change_between(before, _broken(known), request.stats, request.seed)


def _limits(eligible: int, *, partial: bool) -> tuple[str, ...]:
    sentences = [
        "The texts were found against another model or collection, or an older state: that these "
        "do not break a query says nothing of texts that would be found against this one."
    ]
    if eligible < _FEW:
        sentences.append(f"Only {eligible} eligible queries: the interval is wide.")
    if partial:
        sentences.append("Time ran out before all texts were tried, so rates are lower bounds.")
    return tuple(sentences)
