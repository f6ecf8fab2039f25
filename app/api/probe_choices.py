"""How a probe is to be made: budget, goal, search, constraints, and what else to try."""

from typing import Annotated

from pydantic import Field

from app.api.smoothing import SmoothingWire
from app.api.wire import DocId, Wire
from app.robustness import request as asked

Radius = Annotated[float, Field(gt=0, lt=1e6)]


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


class SecondWire(Wire):
    """Another service's encoder."""

    endpoint: str = Field(
        max_length=512, description="a service with /v1/embeddings, of TYNTEGRA_PROBE_ENDPOINTS"
    )
    model: str = Field(min_length=1, max_length=256, description="its model")


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
    similarity_by: SecondWire | None = Field(
        default=None, description="that encoder; with min_similarity, and needed for it"
    )
    min_language: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="least probability that a text is in the query's `lang` (without one: in what "
        "the query most likely is), by the identifier of 222 languages that comes along",
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
    smoothing: SmoothingWire | None = Field(
        default=None,
        description="attack the search that `POST /search` serves with this smoothing, the "
        "gradient averaged over its noise; at most 512 samples; null: the plain search",
    )


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
