"""What became of one query under one attack from the inside."""

from dataclasses import dataclass
from typing import Literal

from app.robustness.descent import Pushed
from app.robustness.flipping import Flipped
from app.robustness.goal import Demotion, Standing
from app.robustness.report import Outcome
from app.text.perturbations.edits import Edit

InsideAttack = Literal["embedding_pgd", "embedding_noise", "token_exchange", "universal_trigger"]


@dataclass(frozen=True, slots=True)
class Case:
    """A query with its goal; all cases of a call have one ``top_k``."""

    text: str
    goal: Demotion


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of one query under one attack.

    Attributes:
        attack: Which one.
        outcome: As in ``report.ProbeResult``.
        clean: Where the query stands.
        worst: Where the worst that was found stands, by a search of the live store.
        text: The worst text, normalized; None for noise on embeddings.
        edits: What was exchanged in the normalized query.
        size: Frobenius norm of the noise in mean token norms, the unit of certificates; 0 for
            texts.
        shift: How far the vector moved, the unit of output margins.
        calls: Texts through the graph until the first success, or until the end.
        complete: Whether the budget was used.
    """

    attack: InsideAttack
    outcome: Outcome
    clean: Standing
    worst: Standing
    text: str | None
    edits: tuple[Edit, ...]
    size: float
    shift: float
    calls: int
    complete: bool


def of_noise(
    attack: InsideAttack, case: Case, one: Pushed, clean: Standing, worst: Standing
) -> Finding:
    """Tell what noise did to one query."""
    # A text all of whose tokens are special has nothing that may move.
    tried = one.calls > 0 or one.success
    outcome = outcome_of(case, clean, worst, tried=tried)
    return Finding(
        attack, outcome, clean, worst, None, (), one.size, one.shift, one.calls, one.complete
    )


def of_text(case: Case, one: Flipped, clean: Standing, worst: Standing, shift: float) -> Finding:
    """Tell what exchanged tokens did to one query."""
    outcome = outcome_of(case, clean, worst, tried=one.calls > 0 or one.success)
    if outcome == "held" and one.complete and not one.applicable:
        outcome = "not_applicable"
    return Finding(
        "token_exchange",
        outcome,
        clean,
        worst,
        one.text,
        one.edits,
        0.0,
        shift,
        one.calls,
        one.complete,
    )


def outcome_of(case: Case, clean: Standing, worst: Standing, *, tried: bool) -> Outcome:
    """Judge an attack by where its query stands before and after."""
    if case.goal.reached(clean):
        return "not_eligible"
    if not tried:
        return "not_reached"
    return "success" if case.goal.reached(worst) else "held"
