"""What a probe answers; the fields are those of ``POST /probe/adversarial`` by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from app.robustness.findings import CertificateReport, Digest, Findings, InnerReport
from app.robustness.poisoned import PoisonReport
from app.robustness.request import Budget, GoalChoice, StatsChoice
from app.text.perturbations.edits import Edit

Outcome = Literal["success", "held", "not_eligible", "not_applicable", "not_reached"]


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What became of one query under one attack.

    Replaying ``edits`` on the query gives ``adversarial_text``, and searching for that shows the
    best relevant document at ``worst_rank``, whatever the outcome: where nothing worse than the
    query itself was found or tried, it is the query itself, without edits.

    Attributes:
        query_id: The query.
        attack: The family of perturbations.
        lang: The query's language as given.
        outcome: ``success``: all relevant documents left the top k; ``held``: they did not;
            ``not_eligible``: none was in the top k to begin with, so nothing was tried;
            ``not_applicable``: the attack has no perturbation for this text's scripts;
            ``not_reached``: time ran out before the query was searched at all.
        reason: Why, in words, for the last three; None otherwise.
        relevant: The reference documents.
        clean_rank: Rank of the best relevant document for the query as it came; None if it is
            beyond the search depth, or was not reached.
        worst_rank: The highest rank found for it; None if that is beyond the search depth.
        beyond_depth: Whether ``worst_rank`` is None because it is beyond the search depth.
        success: Whether the outcome is ``success``.
        adversarial_text: The text with that rank.
        edits: What was changed in the query.
        queries: Texts tried.
        complete: Whether the whole budget was used, or all there is was tried.
        seed: The seed that the attack was run with.
        clean_value: The goal's own measure for the query as it came: the target's rank for
            promotion, the share of relevant documents lost for recall_drop, 1 - RBO for
            disagreement, 1 - cosine for vector_shift, the rank for demotion; None for beyond.
        worst_value: The same for ``adversarial_text``.
        margin: What was left until success for ``adversarial_text``, in scores or in the goal's
            measure; at most 0 once the goal is reached.
        shift: How far the vector of ``adversarial_text`` is from the query's, as a chord.
        calls_to_success: Texts tried until the first success; None without one.
        edits_to_success: Fewest edits of a text that succeeded; None without one.
        rejected: Texts that were tried and refused by the second encoder (``min_similarity``).
    """

    query_id: str
    attack: str
    lang: str | None
    outcome: Outcome
    reason: str | None
    relevant: tuple[str, ...]
    clean_rank: int | None
    worst_rank: int | None
    beyond_depth: bool
    success: bool
    adversarial_text: str
    edits: tuple[Edit, ...]
    queries: int
    complete: bool
    seed: int = 0
    clean_value: float | None = None
    worst_value: float | None = None
    margin: float | None = None
    shift: float | None = None
    calls_to_success: int | None = None
    edits_to_success: int | None = None
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of queries with its interval: exact with fewer than 20 queries, else Wilson's.

    Attributes:
        value: ``successes`` / ``n``; None without any.
        low: Lower bound; None without any.
        high: Upper bound; None without any.
        n: Eligible queries.
        successes: Those for which an attack succeeded.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    successes: int


@dataclass(frozen=True, slots=True)
class Quality:
    """How well queries are answered.

    Attributes:
        accuracy_at_1: Share of queries with a relevant document first; None without queries.
        recall_at_k: Mean share of the relevant documents among the first ``top_k`` hits.
        mrr: Mean reciprocal rank of the best relevant document, 0 beyond the search depth.
        n: Queries counted: eligible or not.
    """

    accuracy_at_1: float | None
    recall_at_k: float | None
    mrr: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Cell:
    """The queries of one attack, or of one language, or all.

    A query counts once: under several attacks by the worst of them.

    Attributes:
        clean: Quality without attack, over the queries reached.
        attacked: Quality of the same queries under attack.
        attack_success_rate: Over the eligible queries for which an attack was applicable.
        all: Queries in the cell.
        not_eligible: Those that failed without any attack.
        not_applicable: Those eligible for which no attack was applicable.
        not_reached: Those that time did not suffice for.
        incomplete: Those attacked with less than the budget because time ran out.
        queries: Texts tried in all.
    """

    clean: Quality
    attacked: Quality
    attack_success_rate: Rate
    all: int
    not_eligible: int
    not_applicable: int
    not_reached: int
    incomplete: int
    queries: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The whole probe in numbers; see ``Cell`` for the first fields.

    Attributes:
        overall: All queries, each by the worst of the attacks.
        by_attack: For each attack its queries.
        by_lang: For each language its queries; ``und`` for those without.
    """

    overall: Cell
    by_attack: Mapping[str, Cell]
    by_lang: Mapping[str, Cell]

    @property
    def clean(self) -> Quality:
        """Quality of all queries without attack."""
        return self.overall.clean

    @property
    def attacked(self) -> Quality:
        """Quality of all queries, each under the worst of the attacks."""
        return self.overall.attacked

    @property
    def attack_success_rate(self) -> Rate:
        """Share of the eligible queries that at least one attack broke."""
        return self.overall.attack_success_rate


@dataclass(frozen=True, slots=True)
class Spent:
    """What a probe cost.

    Attributes:
        queries: Texts encoded, the clean queries and the last checks among them.
        model_calls: Batches they were encoded in.
        tried: Perturbed texts ranked, over all results.
        encode_s: Seconds in the encoder.
        search_s: Seconds in the store, or in matrix products that stand for its searches.
        inside: Texts sent through the white box's graphs on top.
    """

    queries: int
    model_calls: int
    tried: int
    encode_s: float
    search_s: float
    inside: int = 0


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """The answer to a probe.

    Attributes:
        model: The encoder that the collection is bound to.
        seed: As asked.
        top_k: As asked.
        search_depth: How deep ranks are known.
        status: ``partial`` if time ran out or the caller canceled.
        reason: Why it is partial, in words; None otherwise.
        elapsed_s: Seconds in all.
        spent: What it cost.
        summary: The numbers.
        limits: What the numbers do not show, in plain sentences.
        results: One for each query, attack and seed, in the order asked for.
        goal: As asked, the threshold filled in.
        findings: Curves, cells, languages, seeds and the drop of recall.
        white_box: One for each white-box attack and radius; empty if none was asked for.
        certificates: The output margin, and those asked for.
        digest: Of what was asked and what came out.
        collection: Which was probed.
        budget: As asked.
        stats: As asked: the confidence of all intervals.
        poisoning: The attack from the corpus side; empty if none was asked for.
    """

    model: str
    seed: int
    top_k: int
    search_depth: int
    status: Literal["complete", "partial"]
    reason: str | None
    elapsed_s: float
    spent: Spent
    summary: Summary
    limits: tuple[str, ...]
    results: tuple[ProbeResult, ...]
    goal: GoalChoice
    findings: Findings
    white_box: tuple[InnerReport, ...]
    certificates: tuple[CertificateReport, ...]
    digest: Digest
    collection: str
    budget: Budget
    stats: StatsChoice
    poisoning: tuple[PoisonReport, ...] = ()
