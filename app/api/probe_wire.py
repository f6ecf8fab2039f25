"""What is asked over the wire at ``/probe``; what is answered is in ``probe_reply``."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from app.api.wire import CollectionName, DocId, Lang, Wire
from app.retrieval.store import MAX_TOP_K
from app.robustness import request as asked
from app.robustness.request import ProbeQuery, ProbeRequest
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
Radius = Annotated[float, Field(gt=0, lt=1e6)]


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


class BudgetWire(Wire):
    """How hard to try; whichever is used up first ends the search."""

    edits: int = Field(default=2, ge=1, le=asked.MAX_EDITS, description="edits of a query, at most")
    queries: int = Field(
        default=64,
        ge=1,
        le=asked.MAX_ATTACK_QUERIES,
        description="texts tried for each query and attack",
    )
    seconds: float = Field(
        default=20.0,
        gt=0,
        le=asked.MAX_SECONDS,
        description="for all of it; above TYNTEGRA_PROBE_TIMEOUT_S (120) it becomes a job, of at "
        "most TYNTEGRA_PROBE_JOB_TIMEOUT_S (3600)",
    )
    total_queries: int | None = Field(
        default=None,
        ge=1,
        le=asked.MAX_TOTAL_QUERIES,
        description="texts sent to the encoder in all, checks and white box included",
    )


class GoalWire(Wire):
    """What an attack wants."""

    type: asked.GoalType = Field(
        default="demotion",
        description="`demotion`: relevant documents out of the top k; `promotion`: the target into "
        "it; `recall_drop`: recall in the top k lower; `disagreement`: other hits than before, by "
        "rank-biased overlap; `vector_shift`: the vector far from the query's",
    )
    target: DocId | None = Field(default=None, description="the document to promote")
    threshold: float | None = Field(
        default=None,
        gt=0,
        le=2,
        description="what counts as success: the drop (0.5), 1 - RBO (0.5), or 1 - cosine (0.3)",
    )


class SearchWire(Wire):
    """How texts are chosen."""

    method: asked.Method = "auto"
    width: int = Field(
        default=8,
        ge=2,
        le=asked.MAX_WIDTH,
        description="texts that beam and evolution go on with; proposals of a word for greedy",
    )
    after_success: bool = Field(
        default=True, description="search on for the worst text, not the first that suffices"
    )


class ConstraintsWire(Wire):
    """What an adversarial text must keep."""

    word_share: float | None = Field(
        default=None, gt=0, le=1, description="share of the words that may change"
    )
    same_script: bool = Field(default=False, description="no letters of other scripts")
    protect: list[asked.Protected] = Field(
        default=[], max_length=2, description="spans that stay as they are"
    )
    min_similarity: float | None = Field(
        default=None, ge=-1, le=1, description="least cosine with the query by a second encoder"
    )


class WhiteBoxWire(Wire):
    """What to try with gradients, if the artifact has them; the goal must be demotion."""

    attacks: list[asked.InnerAttack] = Field(
        default=["pgd", "noise", "hotflip"],
        min_length=1,
        max_length=4,
        description="`noise` is the control of `pgd`",
    )
    epsilon: list[Radius] = Field(
        default=[0.1, 0.2, 0.4], min_length=1, max_length=16, description="in mean token norms"
    )
    ball: asked.BallNorm = Field(default="text", description="what epsilon bounds")
    steps: int = Field(default=20, ge=1, le=1000)
    restarts: int = Field(default=2, ge=1, le=32)


class PoisonWire(Wire):
    """What to try from the corpus side, with gradients; the collection itself is never changed."""

    documents: int = Field(
        default=1, ge=1, le=asked.MAX_POISON, description="documents that the attacker adds"
    )
    promote: DocId | None = Field(
        default=None, description="rewrite this document instead, so that it comes up"
    )
    edits: int = Field(
        default=16, ge=1, le=asked.MAX_POISON_EDITS, description="tokens exchanged, at most"
    )
    calls: int = Field(
        default=512,
        ge=2,
        le=asked.MAX_POISON_CALLS,
        description="runs of each document through the graphs, at most",
    )
    chars: int = Field(
        default=400,
        ge=1,
        le=asked.MAX_POISON_CHARS,
        description="characters of the document to promote that are kept",
    )


class CertifyWire(Wire):
    """Certificates besides the output margin, which is always there; the goal must be demotion."""

    methods: list[asked.CertificateMethod] = Field(
        default=["gaussian_embedding"], min_length=1, max_length=3
    )
    sigma: list[Radius] = Field(
        default=[0.04, 0.08],
        min_length=1,
        max_length=16,
        description="for gaussian_embedding, in mean token norms",
    )
    samples: int = Field(default=200, ge=2, le=100_000, description="drawn for each query")
    alpha: float = Field(
        default=0.01, gt=0, lt=1, description="probability that a query's certificate is wrong"
    )


class StatsWire(Wire):
    """How numbers are bounded."""

    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    bootstrap: int = Field(default=2000, ge=200, le=100_000, description="resamples")


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
        constraints=asked.Constraints(**_fields(body.constraints)),
        white_box=body.white_box and asked.WhiteBoxChoice(**_fields(body.white_box)),
        certify=body.certify and asked.CertifyChoice(**_fields(body.certify)),
        poison=body.poison and asked.PoisonChoice(**_fields(body.poison)),
        stats=asked.StatsChoice(**_fields(body.stats)),
        seeds=body.seeds,
    )


def _fields(body: Wire) -> dict[str, Any]:
    """Fields by name, lists as tuples."""
    fields: dict[str, Any] = {}
    for name in type(body).model_fields:
        value = getattr(body, name)
        fields[name] = tuple(value) if isinstance(value, list) else value
    return fields


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
