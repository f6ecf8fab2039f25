"""What ``POST /probe/adversarial`` answers: the report's fields by name."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from app.api.wire import Reply
from app.robustness.bootstrap import Estimate
from app.robustness.findings import (
    CertificateReport,
    Curves,
    Digest,
    Findings,
    InnerReport,
    LangAttack,
    SeedSpread,
)
from app.robustness.macro import Languages
from app.robustness.poisoned import PoisonReport
from app.robustness.report import Cell, ProbeReport, ProbeResult, Quality, Rate, Spent
from app.robustness.request import Budget, GoalChoice, StatsChoice


class SummaryReply(Reply):
    """The probe in numbers: all queries, each by the worst of its attacks; then by cell."""

    clean: Quality
    attacked: Quality
    attack_success_rate: Rate
    overall: Cell
    by_attack: dict[str, Cell]
    by_lang: dict[str, Cell]


class ProbeReply(Reply):
    """What broke, and what the numbers do not show."""

    model: str
    collection: str
    seed: int
    top_k: int
    search_depth: int = Field(description="ranks beyond are not told apart")
    status: Literal["complete", "partial"]
    reason: str | None = Field(description="why it is partial")
    elapsed_s: float
    spent: Spent
    goal: GoalChoice
    budget: Budget = Field(description="as asked")
    stats: StatsChoice = Field(description="as asked: `confidence` is that of all intervals")
    summary: SummaryReply
    curves: Curves = Field(description="success against texts tried and against edits")
    cells: list[LangAttack] = Field(description="each language under each attack")
    languages: Languages | None = Field(description="their mean, and the worst of them")
    seeds: SeedSpread | None = Field(description="success rates under the seeds that were run")
    recall_drop: Estimate = Field(description="clean less attacked recall, with its interval")
    white_box: list[InnerReport]
    poisoning: list[PoisonReport] = Field(description="from the corpus side, on an overlay")
    certificates: list[CertificateReport]
    digest: Digest
    limits: list[str] = Field(description="what the numbers do not show")
    results: list[ProbeResult]


def describe_report(report: ProbeReport) -> Mapping[str, Any]:
    """Write a report as it goes on the wire."""
    summary, findings = report.summary, report.findings
    own = set(Findings.__slots__)
    return {
        name: getattr(findings if name in own else report, name) for name in ProbeReply.model_fields
    } | {"summary": {name: getattr(summary, name) for name in SummaryReply.model_fields}}
