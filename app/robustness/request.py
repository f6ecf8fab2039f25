"""What a probe is asked: queries, attacks, goal, search, constraints and budget.

That it can be done as asked is checked by ``checks``.
"""

from dataclasses import dataclass, field
from typing import Literal

from app.robustness.smoothing import Noise
from app.text.perturbations.registry import FAMILIES

MAX_QUERIES = 1000
MAX_EDITS = 16
MAX_ATTACK_QUERIES = 4096
MAX_SECONDS = 3600.0
MAX_TOTAL_QUERIES = 100_000_000
MAX_SEEDS = 32
MAX_WIDTH = 64
MAX_POISON = 10
MAX_POISON_EDITS = 128
MAX_POISON_CALLS = 100_000
MAX_POISON_CHARS = 4_096
MAX_ATTACK_SAMPLES = 512
"""Of the noise that an attack on smoothed search averages over, all in memory at once."""

GoalType = Literal["demotion", "promotion", "recall_drop", "disagreement", "vector_shift"]
Method = Literal["auto", "random", "greedy", "beam", "evolution"]
Protected = Literal["numbers", "urls"]
InnerAttack = Literal["pgd", "noise", "hotflip", "trigger"]
CertificateMethod = Literal["gaussian_embedding", "word_deletion", "word_substitution"]
BallNorm = Literal["text", "token"]

THRESHOLDS: dict[GoalType, float] = {"recall_drop": 0.5, "disagreement": 0.5, "vector_shift": 0.3}
"""What counts as success where the request does not say."""

DEFAULT_ATTACKS = tuple(
    family.name for family in FAMILIES.values() if "token_neighbors" not in family.needs
)
"""Tried where the request names none: all but those for which a vocabulary has to be encoded."""


@dataclass(frozen=True, slots=True)
class ProbeQuery:
    """A query to attack.

    Attributes:
        query_id: The caller's name for it, unique in the request.
        text: The query.
        lang: Its language, such as ``yor_Latn``: for the summary by language, and for attacks that
            need to know it (keyboards, dictionaries, scripts).
        relevant: Documents that answer it; empty: its own clean top hit.
    """

    query_id: str
    text: str
    lang: str | None = None
    relevant: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Budget:
    """How hard to try; whichever is used up first ends the search.

    Attributes:
        edits: Most edits in one text, 1 to ``MAX_EDITS``.
        queries: Most texts tried for each query under each attack, 1 to ``MAX_ATTACK_QUERIES``.
            The clean query and the last check of the worst text come on top.
        seconds: Time for all of it, above 0 and at most ``MAX_SECONDS``.
        total_queries: Most texts sent to the encoder in all, clean queries, last checks and the
            white box included; None for any number.
    """

    edits: int = 2
    queries: int = 64
    seconds: float = 20.0
    total_queries: int | None = None


@dataclass(frozen=True, slots=True)
class GoalChoice:
    """What an attack wants; see ``goal``.

    Attributes:
        type: Which goal.
        target: The document to promote; for promotion alone.
        threshold: What counts as success: the drop of recall, 1 - RBO, or 1 - cosine; None for
            that of ``THRESHOLDS``. For the last three goals alone.
    """

    type: GoalType = "demotion"
    target: str | None = None
    threshold: float | None = None

    @property
    def least(self) -> float:
        """The threshold asked for, or the usual one."""
        return THRESHOLDS.get(self.type, 0.0) if self.threshold is None else self.threshold


@dataclass(frozen=True, slots=True)
class SearchChoice:
    """How texts are chosen.

    Attributes:
        method: See ``climb`` for ``auto`` and ``strategies`` for the others.
        width: Texts that beam and evolution go on with, 2 to ``MAX_WIDTH``; proposals that greedy
            tries in a word.
        after_success: Search on after a success, for the worst text and not the first that
            suffices.
    """

    method: Method = "auto"
    width: int = 8
    after_success: bool = True


@dataclass(frozen=True, slots=True)
class SecondEncoder:
    """Another service's encoder.

    Attributes:
        endpoint: A service with /v1/embeddings.
        model: Which of its models.
    """

    endpoint: str
    model: str


@dataclass(frozen=True, slots=True)
class Constraints:
    """What an adversarial text must keep.

    Attributes:
        word_share: Share of the query's words that may be changed, above 0 up to 1; None for all.
        same_script: Bring in no letters of a script that the query does not have.
        protect: Spans that stay as they are.
        min_similarity: Least cosine with the query by a second encoder, -1 to 1; None for any.
        similarity_by: Names that encoder for whoever opens it; with ``min_similarity`` alone.
        min_language: Least probability that the text is in the query's language, above 0 up to 1;
            None for any.
    """

    word_share: float | None = None
    same_script: bool = False
    protect: tuple[Protected, ...] = ()
    min_similarity: float | None = None
    similarity_by: SecondEncoder | None = None
    min_language: float | None = None

    @property
    def judged(self) -> tuple[str, ...]:
        """Those that are looked at once a text is written (``judges``)."""
        return tuple(
            name for name in ("min_similarity", "min_language") if getattr(self, name) is not None
        )


@dataclass(frozen=True, slots=True)
class WhiteBoxChoice:
    """What to try with gradients.

    Attributes:
        attacks: Which; ``noise`` is the control of ``pgd``.
        epsilon: Radii of the noise, in mean token norms, 1 to 16 of them.
        ball: Whether a radius bounds the noise of each token or of the whole text.
        steps: Gradient steps of each restart.
        restarts: Starts of each text.
        smoothing: Attack a search that is served with this noise, the gradient averaged over it;
            None: the plain search.
    """

    attacks: tuple[InnerAttack, ...] = ("pgd", "noise", "hotflip")
    epsilon: tuple[float, ...] = (0.1, 0.2, 0.4)
    ball: BallNorm = "text"
    steps: int = 20
    restarts: int = 2
    smoothing: Noise | None = None


@dataclass(frozen=True, slots=True)
class PoisonChoice:
    """What to try from the corpus side, on a scratch overlay.

    Attributes:
        documents: How many documents the attacker adds, 1 to ``MAX_POISON``.
        promote: Rewrite this document instead, so that it comes up; None: add documents.
        edits: Most tokens exchanged in a document, 1 to ``MAX_POISON_EDITS``.
        calls: Most runs of each document through the graphs, 2 to ``MAX_POISON_CALLS``.
        chars: Characters of the document to promote that are kept; the rest is cut.
    """

    documents: int = 1
    promote: str | None = None
    edits: int = 16
    calls: int = 512
    chars: int = 400


@dataclass(frozen=True, slots=True)
class CertifyChoice:
    """Which certificates to compute.

    Attributes:
        methods: Which; the output margin is always computed.
        sigma: Sizes of the noise in mean token norms, for ``gaussian_embedding``.
        samples: Texts or noises drawn for each query and certificate.
        alpha: Probability that one query's certificate is wrong.
    """

    methods: tuple[CertificateMethod, ...] = ("gaussian_embedding",)
    sigma: tuple[float, ...] = (0.04, 0.08)
    samples: int = 200
    alpha: float = 0.01


@dataclass(frozen=True, slots=True)
class StatsChoice:
    """How numbers are bounded.

    Attributes:
        confidence: Of the intervals, in (0, 1).
        bootstrap: Resamples, 200 to 100,000.
    """

    confidence: float = 0.95
    bootstrap: int = 2000


@dataclass(frozen=True, slots=True)
class ProbeRequest:
    """A probe of one collection.

    Attributes:
        collection: Where the queries are searched.
        queries: At least one.
        attacks: Names of families of perturbations; None for ``DEFAULT_ATTACKS``.
        budget: How hard to try.
        top_k: How many hits the user of the search sees.
        seed: Chooses among perturbations; same seed, same adversarial texts.
        switch_to: Languages that words may be replaced with; None for all of the dictionaries'.
        max_chars: Characters that a text may have to be searched for; None for any number.
        goal: What an attack wants.
        search: How texts are chosen.
        constraints: What they must keep.
        white_box: What to try with gradients; None for nothing.
        certify: Which certificates to compute besides the output margin; None for no other.
        stats: How numbers are bounded.
        poison: What to try from the corpus side; None for nothing.
        seeds: How many seeds every attack is run with: ``seed`` and those that follow it.
    """

    collection: str
    queries: tuple[ProbeQuery, ...]
    attacks: tuple[str, ...] | None = None
    budget: Budget = field(default_factory=Budget)
    top_k: int = 10
    seed: int = 0
    switch_to: tuple[str, ...] | None = None
    max_chars: int | None = None
    goal: GoalChoice = field(default_factory=GoalChoice)
    search: SearchChoice = field(default_factory=SearchChoice)
    constraints: Constraints = field(default_factory=Constraints)
    white_box: WhiteBoxChoice | None = None
    certify: CertifyChoice | None = None
    stats: StatsChoice = field(default_factory=StatsChoice)
    seeds: int = 1
    poison: PoisonChoice | None = None

    @property
    def attack_names(self) -> tuple[str, ...]:
        """The attacks asked for, or the usual ones."""
        return DEFAULT_ATTACKS if self.attacks is None else self.attacks

    @property
    def looks_inside(self) -> bool:
        """Whether anything needs the encoder's white box."""
        methods = self.certify.methods if self.certify else ()
        return bool(self.white_box or self.poison) or "gaussian_embedding" in methods

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that every attack is run with."""
        return tuple(range(self.seed, self.seed + self.seeds))
