"""What the numbers of a probe do not show, in plain sentences."""

from collections.abc import Sequence

from app.robustness.macro import LEAST_SEEDS
from app.robustness.report import Cell, Summary
from app.robustness.request import Constraints, ProbeRequest

_FEW = 30
_MEANINGS = {
    "promotion": "the target to be brought into the top {k}",
    "recall_drop": "the recall in the top {k} to fall by {t:g}",
    "disagreement": "1 - rank-biased overlap with the clean top {k} to reach {t:g}",
    "vector_shift": "1 - cosine with the clean query to reach {t:g}",
}


def limits_of(
    summary: Summary, request: ProbeRequest, documents: int, notes: Sequence[str] = ()
) -> tuple[str, ...]:
    """Say in plain sentences what the numbers do not show.

    Args:
        summary: The numbers.
        request: What was asked.
        documents: How many the collection has.
        notes: Sentences of the stages of the probe, without a full stop.
    """
    overall, top_k = summary.overall, request.top_k
    eligible = overall.attack_success_rate.n
    sentences = [
        "The attacks are the worst texts that a search within the budget found: a query that held "
        "is not proven safe, and only these attacks were tried: " + ", ".join(summary.by_attack),
    ]
    meaning = _MEANINGS.get(request.goal.type)
    if meaning:
        means = meaning.format(k=top_k, t=request.goal.least)
        sentences.append(f"Success means {means}; it says nothing of other goals")
    if eligible < _FEW:
        sentences.append(f"Only {eligible} eligible queries: the interval is wide")
    if 0 < request.seeds < LEAST_SEEDS:
        sentences.append(
            f"The attacks were drawn with {request.seeds} of the {LEAST_SEEDS} seeds that tell how "
            "far the rates depend on chance"
        )
    else:
        sentences.append(
            f"A query counts as broken if any of {request.seeds} seeds broke it; for one seed see "
            "the mean over seeds"
        )
    inside = {"hotflip", "trigger"} & set(request.white_box.attacks if request.white_box else ())
    if inside and request.constraints != Constraints():
        sentences.append(
            f"The constraints hold for the attacks on texts, not for {' and '.join(sorted(inside))}"
        )
    sentences += _left_out(overall, request, documents)
    return tuple(sentence + "." for sentence in (*sentences, *notes))


def _left_out(overall: Cell, request: ProbeRequest, documents: int) -> list[str]:
    """What did not count, or could not succeed."""
    top_k = request.top_k
    sentences: list[str] = []
    if overall.not_eligible:
        sentences.append(
            f"{overall.not_eligible} of {overall.all} queries "
            + _not_eligible(request)
            + "; they count in the quality, not in the success rate"
        )
    if overall.not_applicable:
        sentences.append(
            f"For {overall.not_applicable} of {overall.all} queries no attack was applicable"
        )
    if documents <= top_k and request.goal.type in ("demotion", "recall_drop"):
        sentences.append(
            f"The collection has {documents} documents, so none can leave the top {top_k} and no "
            "attack can succeed: lower top_k"
        )
    if overall.incomplete or overall.not_reached:
        sentences.append(
            f"Time ran out, or texts did: {overall.incomplete} of {overall.all} queries were "
            f"attacked with less than the budget and {overall.not_reached} not at all, so rates "
            "are lower bounds"
        )
    return sentences


def _not_eligible(request: ProbeRequest) -> str:
    if request.goal.type == "promotion":
        return f"had the target in the top {request.top_k} to begin with"
    if request.goal.type == "recall_drop":
        return f"had too few relevant documents in the top {request.top_k} to begin with"
    return f"had no relevant document in the top {request.top_k} to begin with"
