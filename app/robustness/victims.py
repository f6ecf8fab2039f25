"""The queries of a probe: where each stands without attack, its attacks, and what came of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from app.retrieval.store import Hit
from app.robustness.attack import Attack
from app.robustness.climb import Climb
from app.robustness.goal import SEARCH_DEPTH, Demotion, Distance, Goal, Standing, chord, goal_for
from app.robustness.judges import language_for
from app.robustness.ranking import Alone, Ranker, first_depth
from app.robustness.report import Outcome, ProbeResult
from app.robustness.request import ProbeQuery, ProbeRequest
from app.robustness.scheduler import Clock
from app.robustness.space import Space
from app.robustness.statistics import Row
from app.robustness.strategies import Guided, search_for
from app.text.normalize import normalize
from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit, apply_edits
from app.text.perturbations.family import why_not
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import FAMILIES, Family, proposals

Vector = NDArray[np.float32]
Key = tuple[str, int]


@dataclass
class Victim:
    """A query on its way.

    Attributes:
        sent: The query.
        context: What is known of it.
        goal: What its attacks want; None until it was searched.
        clean: Where it stands without attack; None until it was searched.
        vector: Its vector; likewise.
        hits: Its first hits.
        attacks: Its attacks by family and seed.
        unfit: Why no attack can keep the constraints, or None.
    """

    sent: ProbeQuery
    context: Context
    goal: Goal | None = None
    clean: Standing | None = None
    vector: Vector | None = None
    hits: list[Hit] = field(default_factory=list)
    attacks: dict[Key, Attack] = field(default_factory=dict)
    unfit: str | None = None

    @property
    def text(self) -> str:
        """The query as it is searched for."""
        return normalize(self.sent.text)

    @property
    def eligible(self) -> bool:
        """Whether it is attacked."""
        return self.clean is not None and self.goal is not None and not self.barred

    @property
    def barred(self) -> str | None:
        """Why it is not eligible, or None; also None before it was searched."""
        return self.goal.barred(self.clean) if self.goal and self.clean else None


def search_clean(victims: Sequence[Victim], request: ProbeRequest, ranker: Ranker) -> None:
    """Search for the queries as they came; without relevant documents the top hit becomes that."""
    depths = [
        min(SEARCH_DEPTH, request.top_k + max(1, len(v.sent.relevant)) + _targets(request))
        for v in victims
    ]
    for victim, found in zip(
        victims, ranker.alone([v.text for v in victims], depths), strict=False
    ):
        relevant = frozenset(victim.sent.relevant)
        if not relevant:
            relevant = frozenset(hit.document.doc_id for hit in found.hits[:1])
        victim.goal = goal_for(request.goal, relevant, found.hits, request.top_k)
        victim.vector, victim.hits = found.vector, found.hits
        victim.clean = ranker.stand(victim.goal, found, found.vector)


def arm(victim: Victim, request: ProbeRequest, clock: Clock) -> None:
    """Set up the attacks on a query that is eligible."""
    if victim.clean is None or victim.goal is None or victim.barred:
        return
    passage, limits = Passage.of(victim.sent.text), request.constraints
    budget, search = request.budget, request.search
    lang = victim.sent.lang
    if limits.min_language is not None:
        lang, victim.unfit = language_for(victim.text, lang, limits.min_language)
        if victim.unfit:
            return
    for name in request.attack_names:
        family = FAMILIES[name]
        for seed in request.all_seeds:
            if clock.over():
                return
            pool = proposals(family, passage, seed, victim.context)
            most = budget.edits // family.cost
            space = Space(victim.sent.text, pool, most, passage, limits, lang)
            common = (space, victim.goal, victim.clean, budget.queries)
            if search.method == "auto":
                attack = Climb(*common, after_success=search.after_success)
            else:
                draw = Draw(seed, victim.sent.text, f"{name} search")
                led = search_for(search, space, draw)
                attack = Guided(*common, search=led, after_success=search.after_success)
            victim.attacks[name, seed] = attack


def in_order(victims: Sequence[Victim]) -> list[tuple[Attack, Vector]]:
    """List all attacks in an order that does not depend on that of the request.

    Where a budget for all of them ends in the middle of a round, the same ones get the rest.
    """
    keyed = [
        (_key(victim, *key), attack, victim.vector)
        for victim in victims
        for key, attack in victim.attacks.items()
        if victim.vector is not None
    ]
    keyed.sort(key=lambda entry: entry[0])
    return [(attack, vector) for _, attack, vector in keyed]


def check(
    victims: Sequence[Victim], request: ProbeRequest, ranker: Ranker, clock: Clock
) -> list[Row]:
    """Search for the worst text of each attack once more, alone; that is what is reported.

    Time does not end this, for it was kept back; a caller who cancels does, and then what is
    reported of the others is what the search for them saw.

    Returns:
        A row for each query, attack and seed, in the order asked for.
    """
    worst = [
        (victim, attack) for victim in victims for attack in victim.attacks.values() if attack.worst
    ]
    found: dict[int, tuple[Standing, Vector]] = {}
    texts = [attack.worst.candidate.text for _, attack in worst if attack.worst]
    depths = [first_depth(attack.goal) for _, attack in worst]
    shown = ranker.alone(texts, depths, clock.stopped)
    for (victim, attack), one in zip(worst, shown, strict=False):
        found[id(attack)] = _checked(victim, attack, one, ranker), one.vector
    return [
        _row(victim, name, seed, found)
        for victim in victims
        for name in request.attack_names
        for seed in request.all_seeds
    ]


def _checked(victim: Victim, attack: Attack, one: Alone, ranker: Ranker) -> Standing:
    guess = attack.worst.standing if attack.worst else None
    place = guess and (guess.value if isinstance(guess.value, int) else guess.rank)
    clean = one.vector if victim.vector is None else victim.vector
    return ranker.stand(attack.goal, one, clean, place)


def _targets(request: ProbeRequest) -> int:
    return int(request.goal.type == "promotion")


def _key(victim: Victim, name: str, seed: int) -> bytes:
    text = f"{seed}\x1f{name}\x1f{victim.sent.query_id}\x1f{victim.sent.text}"
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _row(victim: Victim, name: str, seed: int, found: dict[int, tuple[Standing, Vector]]) -> Row:
    attack = victim.attacks.get((name, seed))
    standing, text, vector = victim.clean, victim.sent.text, victim.vector
    edits: tuple[Edit, ...] = ()
    worst = attack.worst if attack else None
    if victim.clean and attack and worst:
        checked, moved = found.get(id(attack), (worst.standing, None))
        if checked.badness > victim.clean.badness:
            standing, edits, vector = checked, worst.candidate.edits, moved
            text = apply_edits(text, edits)
    outcome, reason = _outcome(victim, FAMILIES[name], attack, standing)
    won = outcome == "success"
    shift = None
    if vector is not None and victim.vector is not None:
        shift = 0.0 if vector is victim.vector else chord(vector, victim.vector)
    result = ProbeResult(
        query_id=victim.sent.query_id,
        attack=name,
        lang=victim.sent.lang,
        outcome=outcome,
        reason=reason,
        relevant=tuple(sorted(victim.goal.relevant if victim.goal else victim.sent.relevant)),
        clean_rank=victim.clean.rank if victim.clean else None,
        worst_rank=standing.rank if standing else None,
        beyond_depth=standing is not None and standing.rank is None,
        success=won,
        adversarial_text=text,
        edits=edits,
        queries=attack.queries if attack else 0,
        complete=attack.complete if attack else outcome not in ("not_reached",),
        seed=seed,
        clean_value=_value(victim.goal, victim.clean),
        worst_value=_value(victim.goal, standing),
        margin=_left(victim.goal, standing),
        shift=shift,
        calls_to_success=attack.calls_to_success if attack and won else None,
        edits_to_success=attack.edits_to_success if attack and won else None,
        rejected=attack.rejected if attack else 0,
    )
    return Row(result, victim.clean, standing)


def _value(goal: Goal | None, standing: Standing | None) -> float | None:
    if goal is None or standing is None:
        return None
    plain = isinstance(goal, Demotion) and goal.kept is None
    return standing.rank if plain else standing.value


def _left(goal: Goal | None, standing: Standing | None) -> float | None:
    if goal is None or standing is None:
        return None
    if isinstance(goal, Distance) and standing.value is not None:
        return goal.threshold - standing.value
    return standing.margin


def _outcome(
    victim: Victim, family: Family, attack: Attack | None, standing: Standing | None
) -> tuple[Outcome, str | None]:
    if victim.clean is None or victim.goal is None or standing is None:
        return "not_reached", "Time or texts ran out before the query was searched."
    if barred := victim.barred:
        return "not_eligible", barred
    if victim.unfit:
        return "not_applicable", victim.unfit
    if attack is None or (not attack.queries and not attack.complete):
        return "not_reached", "Time or texts ran out before anything was tried."
    if attack.space.most_edits < 1:
        return "not_applicable", f"One edit of {family.name} costs more than budget.edits allows."
    if not attack.queries or (attack.complete and attack.rejected == attack.queries):
        constraint = attack.space.why_empty()
        if attack.rejected:
            names = " or ".join(attack.space.limits.judged)
            constraint = f"All {attack.rejected} texts tried were below constraints.{names}."
        return "not_applicable", constraint or why_not(
            family, victim.context, len(attack.space.pool)
        )
    return ("success" if victim.goal.reached(standing) else "held"), None
