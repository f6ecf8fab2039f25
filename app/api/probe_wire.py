"""What is asked over the wire at ``/probe``; what is answered is in ``probe_reply``."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.probe_choices import (
    BudgetWire,
    CertifyWire,
    ConstraintsWire,
    GoalWire,
    PoisonWire,
    SearchWire,
    StatsWire,
    WhiteBoxWire,
)
from app.api.wire import CollectionName, DocId, Lang, Wire
from app.retrieval.store import MAX_TOP_K
from app.robustness import request as asked
from app.robustness.request import ProbeQuery, ProbeRequest
from app.robustness.smoothing import Noise
from app.settings import MAX_ITEMS
from app.text.perturbations.registry import FAMILIES


def _known_attack(name: str) -> str:
    if name not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise PydanticCustomError("unknown_attack", "should be one of {known}", {"known": known})
    return name


AttackName = Annotated[
    str,
    AfterValidator(_known_attack),
    WithJsonSchema({"type": "string", "enum": list(FAMILIES)}),
]


class QueryWire(Wire):
    """A query to attack."""

    query_id: str = Field(min_length=1, max_length=128, description="its name in the answer")
    text: str
    lang: Lang | None = Field(
        default=None,
        description="its language: for the summary, and for attacks that need to know it",
    )
    relevant: list[DocId] = Field(
        default=[], max_length=256, description="documents that answer it; none: its own top hit"
    )


class ProbeWire(Wire):
    """A probe of one collection."""

    collection: CollectionName = Field(description="where to search", examples=["demo"])
    queries: list[QueryWire] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="above TYNTEGRA_MAX_QUERIES (64) it becomes a job, of at most 1000",
        examples=[[{"query_id": "q1", "text": "Maji ya kunywa", "lang": "swh_Latn"}]],
    )
    attacks: list[AttackName] | None = Field(
        default=None,
        min_length=1,
        max_length=len(FAMILIES),
        description="null: all but those that need the neighbors of words, which take long",
        examples=[["typo"]],
    )
    budget: BudgetWire = Field(default=BudgetWire())
    top_k: int = Field(default=10, ge=1, le=MAX_TOP_K, description="how many hits a user sees")
    switch_to: list[Lang] | None = Field(
        default=None,
        min_length=1,
        max_length=256,
        description="languages that code_switch may use; null: all that the dictionaries have",
    )
    seed: int = Field(
        default=0, ge=0, le=2**63 - 1, description="same seed, same adversarial texts"
    )
    seeds: int = Field(
        default=1, ge=1, le=asked.MAX_SEEDS, description="how many seeds, from `seed` on"
    )
    goal: GoalWire = Field(default=GoalWire())
    search: SearchWire = Field(default=SearchWire())
    constraints: ConstraintsWire = Field(default=ConstraintsWire())
    white_box: WhiteBoxWire | None = Field(default=None, description="null: none")
    poison: PoisonWire | None = Field(default=None, description="null: none")
    certify: CertifyWire | None = Field(default=None, description="null: the output margin alone")
    stats: StatsWire = Field(default=StatsWire())
    background: bool = Field(
        default=False, description="answer at once with a job; a large probe becomes one anyway"
    )


def as_request(body: ProbeWire, max_chars: int) -> ProbeRequest:
    """Take over what was sent.

    Args:
        body: The request, checked.
        max_chars: Characters that a text may have to be searched for.
    """
    return ProbeRequest(
        collection=body.collection,
        queries=tuple(
            ProbeQuery(query.query_id, query.text, query.lang, tuple(query.relevant))
            for query in body.queries
        ),
        attacks=_tuple(body.attacks),
        budget=asked.Budget(**_fields(body.budget)),
        top_k=body.top_k,
        seed=body.seed,
        switch_to=_tuple(body.switch_to),
        max_chars=max_chars,
        goal=asked.GoalChoice(**_fields(body.goal)),
        search=asked.SearchChoice(**_fields(body.search)),
        constraints=_constraints(body.constraints),
        white_box=body.white_box and _white_box(body.white_box),
        certify=body.certify and asked.CertifyChoice(**_fields(body.certify)),
        poison=body.poison and asked.PoisonChoice(**_fields(body.poison)),
        stats=asked.StatsChoice(**_fields(body.stats)),
        seeds=body.seeds,
    )


def _white_box(body: WhiteBoxWire) -> asked.WhiteBoxChoice:
    fields = _fields(body)
    if body.smoothing is not None:
        fields["smoothing"] = Noise(**_fields(body.smoothing))
    return asked.WhiteBoxChoice(**fields)


def _constraints(body: ConstraintsWire) -> asked.Constraints:
    fields = _fields(body)
    if body.similarity_by is not None:
        fields["similarity_by"] = asked.SecondEncoder(**_fields(body.similarity_by))
    return asked.Constraints(**fields)


def _fields(body: Wire) -> dict[str, Any]:
    """Fields by name, lists as tuples."""
    fields: dict[str, Any] = {}
    for name in type(body).model_fields:
        value = getattr(body, name)
        fields[name] = tuple(value) if isinstance(value, list) else value
    return fields


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
