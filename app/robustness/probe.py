"""A probe: queries in, the worst texts within a budget out, with rates and intervals.

All queries under all attacks advance in lock-step, so that each model call carries texts of all of
them. The worst text of each is searched for once more in a call of its own, as a search request
would do it; the rank reported is that one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.retrieval.store import Collection, Encode, VectorStore
from app.robustness.board import Board
from app.robustness.cells import find
from app.robustness.certifying import Means, certify
from app.robustness.checks import require_probe
from app.robustness.corpus_side import attack_corpus
from app.robustness.digests import digest_of
from app.robustness.empirical import empirical_radii
from app.robustness.findings import CertificateReport, InnerReport
from app.robustness.goal import SEARCH_DEPTH
from app.robustness.inner import Inner, look_inside
from app.robustness.inside import HaltedError
from app.robustness.judges import judge_for
from app.robustness.limits import limits_of
from app.robustness.poisoned import PoisonReport
from app.robustness.pool import collect
from app.robustness.progress import Reporter, Tell
from app.robustness.ranking import Ranker
from app.robustness.report import ProbeReport, ProbeResult
from app.robustness.request import Budget, ProbeQuery, ProbeRequest
from app.robustness.resources import Access, Resources
from app.robustness.scheduler import Clock, advance
from app.robustness.statistics import Row, summarize
from app.robustness.victims import Victim, arm, check, in_order, search_clean

__all__ = ["Access", "Budget", "ProbeQuery", "ProbeReport", "ProbeRequest", "ProbeResult"]
__all__ += ["Resources", "run_probe"]

MOST_HELD = 20_000
"""Passages up to which a collection is held in memory; the embedded engine is exact up to here."""
_WORTH_HOLDING = 4
# How far the cost of the last checks is overestimated; the later stages' part of the time.
_CAUTION = 1.5
_STAGES = 0.25


def run_probe(
    request: ProbeRequest,
    encode: Encode,
    store: VectorStore,
    *,
    resources: Resources = Resources(),  # noqa: B008  # immutable
    cancelled: Callable[[], bool] = lambda: False,
    progress: Tell | None = None,
) -> ProbeReport:
    """Search for the texts that break a collection's queries most.

    Blocks for up to the budget's seconds and a little more. When they are over, or ``cancelled``
    says so, the report holds what was found until then and says which results are incomplete.

    Args:
        request: What to probe.
        encode: The encoder of queries that the collection's searches use.
        store: Where the collection is.
        resources: Dictionaries, the encoder's neighbors of words, its white box, and a second
            encoder, for what needs them.
        cancelled: Asked some forty times a second whether to stop.
        progress: Is told twice a second how far it is.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If the request cannot be done as asked.
        InferenceError: If the encoder does not answer with one finite row a text.
    """
    require_probe(request, store)
    reporter = Reporter(progress, time.monotonic())
    return _Run(request, encode, store, resources, (cancelled, reporter)).report()


class _Run:
    """One probe on its way."""

    def __init__(
        self,
        request: ProbeRequest,
        encode: Encode,
        store: VectorStore,
        resources: Resources,
        outside: tuple[Callable[[], bool], Reporter],
    ) -> None:
        self._began = time.monotonic()
        cancelled, self._reporter = outside
        self._request, self._encode, self._store = request, encode, store
        self._resources = resources
        # Opened first: where it is missing the caller shall not wait to be told.
        self._access = resources.access() if request.looks_inside else None
        self._collection: Collection = store.describe(request.collection)
        self._clock = Clock(
            self._began + request.budget.seconds, lambda: self._reporter.tick() or cancelled()
        )
        self._judge = judge_for(request.constraints, resources.second, self._clock.over)
        self._ranker = Ranker(encode, store, request.collection, self._clock.over)
        self._notes: list[str] = []
        self._calls = 0

    def report(self) -> ProbeReport:
        """Run all stages."""
        reporter = self._reporter
        reporter.ranker = self._ranker
        victims = self._start()
        reporter.stage = "search"
        self._search(victims)
        reporter.stage = "check"
        rows = check(victims, self._request, self._ranker, self._clock)
        reporter.stage = "inside"
        inner = self._look_inside(victims)
        poisoning = self._attack_corpus(victims)
        if self._clock.cancelled:
            self._notes.append("Canceled before all worst texts were searched for once more")
        reporter.stage = "certify"
        certificates = self._certify(victims, rows, inner)
        return self._write(rows, inner, poisoning, certificates)

    def _start(self) -> list[Victim]:
        request, clock = self._request, self._clock
        contexts = self._resources.contexts(request, clock.over)
        victims = [
            Victim(query, context) for query, context in zip(request.queries, contexts, strict=True)
        ]
        total = request.budget.total_queries
        self._reporter.victims = victims
        # In an order of their own: the request's shall not decide which queries are reached.
        first = sorted(victims, key=lambda victim: victim.sent.query_id)
        if total is not None and total < len(first):
            clock.spent_all = True
            first = first[:total]
        search_clean(first, request, self._ranker)
        for victim in victims:
            arm(victim, request, clock)
        return victims

    def _search(self, victims: Sequence[Victim]) -> None:
        request, clock, ranker = self._request, self._clock, self._ranker
        ordered = in_order(victims)
        attacks = [attack for attack, _ in ordered]
        self._hold(victims, len(attacks))
        clock.reserve(self._later(victims, len(attacks)))
        total = request.budget.total_queries
        left = None if total is None else max(0, total - ranker.texts - len(attacks))
        vectors = [vector for _, vector in ordered]
        advance(attacks, ranker, clock, vectors, most_texts=left, judge=self._judge)

    def _later(self, victims: Sequence[Victim], attacks: int) -> float:
        """Seconds to keep for the last checks and the stages after them."""
        each = (self._ranker.encode_s + self._ranker.search_s) / max(1, self._ranker.texts)
        asked = self._request
        stages = bool(asked.white_box) + bool(asked.poison) + bool(asked.certify)
        return _CAUTION * each * attacks + stages * _STAGES * self._request.budget.seconds

    def _hold(self, victims: Sequence[Victim], attacks: int) -> None:
        """Hold the collection in memory where that is less work than searching for each text."""
        request = self._request
        tried = attacks * request.budget.queries
        if request.budget.total_queries is not None:
            tried = min(tried, request.budget.total_queries)
        worth = tried * _WORTH_HOLDING >= self._collection.count
        if not (worth or request.looks_inside) or self._collection.count > MOST_HELD:
            return
        pool = collect(self._store, request.collection, MOST_HELD + 1)
        there = [victim for victim in victims if victim.eligible]
        goals = [victim.goal for victim in there if victim.goal]
        cleans = [victim.vector for victim in there if victim.vector is not None]
        if not goals or not pool.complete or len(pool.vectors) > MOST_HELD:
            return
        missing = [n for goal in goals for some in goal.followed for n in some - pool.places.keys()]
        if missing:  # A document was deleted meanwhile: the store says how it stands now.
            return
        self._ranker.board = Board(pool)
        self._ranker.board.add(goals, cleans)

    def _look_inside(self, victims: Sequence[Victim]) -> list[InnerReport]:
        choice, access = self._request.white_box, self._access
        if choice is None or access is None:
            return []
        self._clock.allow(0.5 if self._request.certify or self._request.poison else 1.0)
        before = access.inside.calls
        found = look_inside(
            self._request, victims, self._inside(access), lambda: self._stopped(access, before)
        )
        self._calls += access.inside.calls - before
        if any(not one.complete for one in found):
            self._notes.append("Time or texts ran out inside: white-box rates are lower bounds")
        return found

    def _attack_corpus(self, victims: Sequence[Victim]) -> list[PoisonReport]:
        access = self._access
        if self._request.poison is None or access is None:
            return []
        self._clock.allow(0.5 if self._request.certify else 1.0)
        before = access.inside.calls
        found = attack_corpus(
            self._request, victims, self._inside(access), lambda: self._stopped(access, before)
        )
        self._calls += access.inside.calls - before
        return found

    def _certify(
        self, victims: Sequence[Victim], rows: Sequence[Row], inner: Sequence[InnerReport]
    ) -> list[CertificateReport]:
        self._clock.allow(1.0)
        access = self._access
        before = access.inside.calls if access else 0
        texts = {query.query_id: query.text for query in self._request.queries}
        found, notes = certify(
            self._request,
            victims,
            empirical_radii(texts, rows, inner),
            Means(
                self._store,
                self._ranker,
                self._inside(access) if access else None,
                lambda: self._stopped(access, before),
            ),
        )
        self._calls += access.inside.calls - before if access else 0
        self._notes += notes
        return found

    def _inside(self, access: Access) -> Inner:
        def encode(texts: Sequence[str]) -> NDArray[np.float32]:
            if self._clock.stopped():
                raise HaltedError
            return self._encode(texts)

        return Inner(access, self._store, self._request.collection, encode)

    def _stopped(self, access: Access | None, before: int) -> bool:
        if self._clock.over():
            return True
        total = self._request.budget.total_queries
        if total is None:
            return False
        inside = self._calls + (access.inside.calls - before if access else 0)
        over = self._ranker.texts + inside >= total
        self._clock.spent_all = self._clock.spent_all or over
        return over

    def _write(
        self,
        rows: Sequence[Row],
        inner: Sequence[InnerReport],
        poisoning: Sequence[PoisonReport],
        certificates: Sequence[CertificateReport],
    ) -> ProbeReport:
        request, results = self._request, tuple(row.result for row in rows)
        summary = summarize(rows, request.stats.confidence)
        whole = all(one.complete for one in (*results, *inner, *poisoning, *certificates))
        budget = request.budget
        spent = self._ranker.spent(tried=sum(result.queries for result in results))
        return ProbeReport(
            model=self._collection.model,
            seed=request.seed,
            top_k=request.top_k,
            search_depth=SEARCH_DEPTH,
            status="complete" if whole else "partial",
            reason=None if whole else self._clock.reason(budget.seconds, budget.total_queries),
            elapsed_s=time.monotonic() - self._began,
            spent=replace(spent, inside=self._calls),
            summary=summary,
            limits=limits_of(summary, request, self._collection.count, self._notes),
            results=results,
            goal=replace(request.goal, threshold=request.goal.least or None),
            findings=find(rows, request),
            white_box=tuple(inner),
            certificates=tuple(certificates),
            digest=digest_of(
                request, self._collection, results, [*inner, *poisoning], certificates
            ),
            collection=request.collection,
            budget=budget,
            stats=request.stats,
            poisoning=tuple(poisoning),
        )
