"""The finer parts of a probe's answer: curves, cells, seeds, white box, certificates, digests."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.robustness.bootstrap import Estimate
from app.robustness.macro import Languages, Seeds
from app.robustness.smoothing import Noise
from app.robustness.survival import Curve
from app.text.perturbations.edits import Edit


@dataclass(frozen=True, slots=True)
class Share:
    """A share of queries with its interval: exact with fewer than 20, else Wilson's.

    Attributes:
        value: ``successes`` / ``n``; None without any.
        low: Lower bound; None without any.
        high: Upper bound; None without any.
        n: Queries.
        successes: Those for which an attack succeeded.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    successes: int


@dataclass(frozen=True, slots=True)
class EditStep:
    """The share of queries that a text with at most so many edits broke."""

    edits: int
    share: Share


@dataclass(frozen=True, slots=True)
class SuccessCurves:
    """Success against what it costs.

    Attributes:
        queries: Against texts tried within one attack, by Kaplan-Meier: attacks that ended without
            success are censored at what they had tried.
        edits: Against edits, of the texts that were tried.
    """

    queries: Curve
    edits: tuple[EditStep, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves over the eligible queries.

    Attributes:
        overall: A query succeeds with the attack that needs the fewest texts.
        by_attack: Each attack alone.
    """

    overall: SuccessCurves
    by_attack: Mapping[str, SuccessCurves]


@dataclass(frozen=True, slots=True)
class Ranks:
    """Ranks of the best relevant document under attack; beyond the search depth counts as deepest.

    Attributes:
        median: Of the eligible queries; None without any.
        p95: The rank that 95 of 100 stay within.
        max: The highest.
        beyond_depth: How many are beyond the search depth.
    """

    median: float | None
    p95: float | None
    max: int | None
    beyond_depth: int


@dataclass(frozen=True, slots=True)
class LangAttack:
    """One language under one attack.

    Attributes:
        lang: The language, ``und`` for queries without one.
        script: Its ISO 15924 code; None for ``und``.
        attack: The family.
        success: Share of the eligible queries that it broke, under any seed.
        p_value: That so many or more break if this language is like the others under this attack
            (Fisher's exact test, one-sided); None without another language.
        p_adjusted: The same for the number of cells (Benjamini and Hochberg).
        queries_mean: Texts tried for each eligible query.
        median_queries: Texts by which half of the queries broke (Kaplan-Meier); None if not half.
        recall_drop: Clean less attacked recall in the top k, with its bootstrap interval.
        worst_rank: Ranks under attack.
        censored: Eligible queries without success.
        not_applicable: Queries for which the attack has nothing to change.
    """

    lang: str
    script: str | None
    attack: str
    success: Share
    p_value: float | None
    p_adjusted: float | None
    queries_mean: float | None
    median_queries: int | None
    recall_drop: Estimate
    worst_rank: Ranks
    censored: int
    not_applicable: int


@dataclass(frozen=True, slots=True)
class SeedSpread:
    """Success rates under the seeds that were run.

    Attributes:
        overall: Of queries under the worst of the attacks with one seed.
        by_attack: Of each attack.
    """

    overall: Seeds
    by_attack: Mapping[str, Seeds]


@dataclass(frozen=True, slots=True)
class InnerResult:
    """One query under one white-box attack.

    Attributes:
        query_id: The query.
        lang: Its language.
        outcome: As in ``ProbeResult``; by a search of the live collection.
        success: Whether the outcome is ``success``.
        margin: The rank margin left at the worst point; below 0 once reached.
        clean_margin: That of the query itself.
        size: Norm of the noise, in mean token norms; None for attacks that come out as texts.
        shift: How far the vector moved, as a chord.
        calls: Texts through the graph until the first success, or until the end.
        worst_rank: Rank of the best relevant document there; None if beyond the search depth.
        adversarial_text: The text; None for noise.
        edits: What was exchanged, by offsets in the normalized query.
        complete: Whether the whole budget was used, or a success ended it.
    """

    query_id: str
    lang: str | None
    outcome: str
    success: bool
    margin: float
    clean_margin: float
    size: float | None
    shift: float
    calls: int
    worst_rank: int | None
    adversarial_text: str | None
    edits: tuple[Edit, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class InnerReport:
    """One white-box attack at one radius.

    Attributes:
        attack: ``pgd``, ``noise`` (its control), ``hotflip`` or ``trigger``.
        epsilon: Radius in mean token norms; None for attacks that come out as texts.
        ball: What the radius bounds; None likewise.
        success: Share of the queries with its interval.
        calls: Texts through the graphs until the first successes, or the ends, in all.
        trigger: The trigger found; None for other attacks.
        note: What to know of it; None if nothing.
        complete: Whether nothing was cut short.
        results: One for each query.
        smoothing: The noise that the search attacked is served with; None: the plain search.
    """

    attack: str
    epsilon: float | None
    ball: str | None
    success: Share
    calls: int
    trigger: str | None
    note: str | None
    complete: bool
    results: tuple[InnerResult, ...]
    smoothing: Noise | None = None


@dataclass(frozen=True, slots=True)
class CertifiedQuery:
    """What is certified for one query.

    Attributes:
        query_id: The query.
        lang: Its language.
        radius: In the certificate's unit; 0 where it abstains, None if it is unbounded.
        abstained: Whether nothing could be certified.
        empirical: The smallest change in the same unit that an attack of this probe succeeded
            with; None without one. Certified search can never have one below ``radius``.
    """

    query_id: str
    lang: str | None
    radius: float | None
    abstained: bool
    empirical: float | None


@dataclass(frozen=True, slots=True)
class CertificateReport:
    """One certificate over all eligible queries.

    Attributes:
        method: ``output_margin``, ``gaussian_embedding``, ``word_deletion``, ``word_substitution``.
        parameter: Sigma, or the probability of deletion; None for the others.
        unit: Of the radii.
        covers: What it covers, in words.
        does_not_cover: What it does not.
        n: Queries looked at.
        certified: Those with a radius above 0.
        abstain_rate: Share of the others; None without queries.
        median: Median radius, abstentions counting 0; None without queries or if unbounded.
        empirical_median: Median of the empirical radii of queries that broke; None without any.
        alpha: Probability that one query's certificate is wrong; 0: it is exact.
        samples: Drawn for each query; 0: none.
        complete: Whether all eligible queries were looked at.
        queries: One for each query looked at.
    """

    method: str
    parameter: float | None
    unit: str
    covers: str
    does_not_cover: str
    n: int
    certified: int
    abstain_rate: float | None
    median: float | None
    empirical_median: float | None
    alpha: float
    samples: int
    complete: bool
    queries: tuple[CertifiedQuery, ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 of what was asked and of what came out, without times and costs.

    Attributes:
        config: Of the request and the model. Equal ones give equal results on one machine.
        results: Of the results.
    """

    config: str
    results: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All of them; the fields go on the wire by name.

    Attributes:
        curves: Success against texts and edits.
        cells: Each language under each attack.
        languages: Over languages; None without an eligible query.
        seeds: Over seeds; None without an eligible query.
        recall_drop: Clean less attacked recall of all queries, each under the worst attack.
    """

    curves: Curves
    cells: tuple[LangAttack, ...]
    languages: Languages | None
    seeds: SeedSpread | None
    recall_drop: Estimate
