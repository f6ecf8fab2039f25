"""The stage of a probe that looks inside the encoder: white-box attacks on the eligible queries."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache

from app.retrieval.store import Encode, VectorStore
from app.robustness.ball import Ball
from app.robustness.cells import share_of
from app.robustness.descent import Descent
from app.robustness.findings import InnerReport, InnerResult
from app.robustness.flipping import Flips
from app.robustness.goal import Demotion
from app.robustness.inside import HaltedError
from app.robustness.pool import Pool, collect
from app.robustness.request import InnerAttack, ProbeRequest, WhiteBoxChoice
from app.robustness.resources import Access
from app.robustness.smoothing import Lens, Noise
from app.robustness.substitution import Speller
from app.robustness.trigger import Search
from app.robustness.victims import Victim
from app.robustness.white_box import Case, Finding, WhiteBoxProbe

Stop = Callable[[], bool]
Pair = tuple[Victim, Case]

_AT_ONCE = 32
_LEAST_FOR_TRIGGER = 2
_LEARNT = 1000
_NOTES = {
    "pgd": "Noise on embeddings is no text: a bound on what any text in the ball can do.",
    "noise": "Random noise of the same size, drawn as often: the control of pgd.",
    "hotflip": "Tokens exchanged along the gradient; a text may tear a word apart.",
    "trigger": "Found with one half of the eligible queries and measured on the other half.",
}

_SMOOTHED = (
    " Against a search served with this noise, which the attacker knows and averages its gradient "
    "over."
)


class Inner:
    """A white box beside the collection that it is tried on; read into memory once."""

    def __init__(self, access: Access, store: VectorStore, collection: str, encode: Encode) -> None:
        self.access, self.store = access, store
        self._collection, self._encode = collection, encode

    @cached_property
    def plain(self) -> WhiteBoxProbe:
        """Attacks on the encoder as it is."""
        return self._through(Lens(self.access.inside))

    def smoothed(self, noise: Noise) -> WhiteBoxProbe:
        """The same through noise."""
        return self._through(Lens(self.access.inside, noise))

    @cached_property
    def documents(self) -> Speller:
        """The tokenizer of documents."""
        return self.access.documents() if self.access.documents else self.access.speller

    def attacked(self, choice: WhiteBoxChoice) -> WhiteBoxProbe:
        """What is attacked: the plain search, or one that is served with noise."""
        return self.plain if choice.smoothing is None else self._served_with(choice.smoothing)

    def learn(self, stop: Stop) -> None:
        """Let the tokenizer see how the collection's documents are written."""
        if not self.access.learn or stop():
            return
        page = self.store.scan(self._collection, limit=_LEARNT)
        with self.access.inside.until(stop), suppress(HaltedError):
            texts = [document.text for document in page.documents]
            self.access.learn(texts, self.access.inside.go_on)

    def _through(self, lens: Lens) -> WhiteBoxProbe:
        speller = self.access.speller
        # Through noise the white box itself serves, as POST /search with `smoothing` does.
        encode = None if lens.noise else self._encode
        return WhiteBoxProbe(lens, speller, self.store, self._collection, encode, self._pool)

    @lru_cache(maxsize=1)  # noqa: B019 - lives as long as the probe
    def _served_with(self, noise: Noise) -> WhiteBoxProbe:
        return self.smoothed(noise)

    @cached_property
    def _pool(self) -> Pool:
        return collect(self.store, self._collection)


def look_inside(
    request: ProbeRequest, victims: Sequence[Victim], inner: Inner, stop: Stop
) -> list[InnerReport]:
    """Run the white-box attacks that were asked for.

    Args:
        request: The probe; its goal is demotion.
        victims: Its queries; those eligible are attacked.
        inner: The white box.
        stop: Tells that time or texts are over; what was found until then is returned.
    """
    choice = request.white_box
    pairs = pairs_of(victims)
    found: list[InnerReport] = []
    for attack in choice.attacks if choice else ():
        if not choice:
            continue
        if attack in ("pgd", "noise"):
            found += [
                _noise(attack, epsilon, request, choice, (pairs, inner, stop))
                for epsilon in sorted(choice.epsilon)
            ]
        elif attack == "hotflip":
            found.append(_hotflip(request, choice, (pairs, inner, stop)))
        elif attack == "trigger":
            found.append(_trigger(request, choice, (pairs, inner, stop)))
    return found


def pairs_of(victims: Sequence[Victim]) -> list[Pair]:
    """The eligible queries with their cases."""
    return [
        (victim, Case(victim.text, victim.goal))
        for victim in victims
        if victim.eligible and isinstance(victim.goal, Demotion)
    ]


def _noise(
    attack: InnerAttack,
    epsilon: float,
    request: ProbeRequest,
    choice: WhiteBoxChoice,
    means: tuple[Sequence[Pair], Inner, Stop],
) -> InnerReport:
    pairs, inner, stop = means
    descent = Descent(choice.steps, choice.restarts, request.seed)
    ball = Ball(epsilon, choice.ball)
    results: list[InnerResult] = []
    with suppress(HaltedError):
        for some in _parts(pairs, stop):
            probe = inner.attacked(choice)
            search = probe.push if attack == "pgd" else probe.scatter
            found = search([case for _, case in some], ball, descent, stop=stop)
            results += _results(some, found)
    return _report(attack, results, pairs, request, ball=ball)


def _hotflip(
    request: ProbeRequest, choice: WhiteBoxChoice, means: tuple[Sequence[Pair], Inner, Stop]
) -> InnerReport:
    pairs, inner, stop = means
    inner.learn(stop)
    cost = choice.smoothing.samples if choice.smoothing else 1
    flips = Flips(edits=request.budget.edits, calls=max(2, request.budget.queries) * cost)
    results: list[InnerResult] = []
    with suppress(HaltedError):
        for some in _parts(pairs, stop):
            found = inner.attacked(choice).exchange([case for _, case in some], flips, stop=stop)
            results += _results(some, found)
    return _report("hotflip", results, pairs, request)


def _trigger(
    request: ProbeRequest, choice: WhiteBoxChoice, means: tuple[Sequence[Pair], Inner, Stop]
) -> InnerReport:
    pairs, inner, stop = means
    known = [case for _, case in pairs[::2]]
    others = list(pairs[1::2])
    if len(pairs) < _LEAST_FOR_TRIGGER or stop():
        return _report("trigger", [], others, request, cut=stop())
    search = Search(seed=request.seed)
    try:
        probe = inner.attacked(choice)
        trigger, found = probe.trigger(known, [case for _, case in others], search, stop=stop)
    except HaltedError:
        return _report("trigger", [], others, request, cut=True)
    results = _results(others, found)
    return _report("trigger", results, others, request, trigger=trigger.text)


def _parts(pairs: Sequence[Pair], stop: Stop) -> Iterator[Sequence[Pair]]:
    for start in range(0, len(pairs), _AT_ONCE):
        if stop():
            return
        yield pairs[start : start + _AT_ONCE]


def _results(pairs: Sequence[Pair], found: Sequence[Finding]) -> list[InnerResult]:
    return [
        InnerResult(
            query_id=victim.sent.query_id,
            lang=victim.sent.lang,
            outcome=one.outcome,
            success=one.outcome == "success",
            margin=one.worst.margin,
            clean_margin=one.clean.margin,
            size=one.size if one.text is None else None,
            shift=one.shift,
            calls=one.calls,
            worst_rank=one.worst.rank,
            adversarial_text=one.text,
            edits=one.edits,
            complete=one.complete,
        )
        for (victim, _), one in zip(pairs, found, strict=True)
    ]


def _report(
    attack: InnerAttack,
    results: Sequence[InnerResult],
    pairs: Sequence[Pair],
    request: ProbeRequest,
    *,
    ball: Ball | None = None,
    trigger: str | None = None,
    cut: bool = False,
) -> InnerReport:
    smoothing = request.white_box.smoothing if request.white_box else None
    counted = [one for one in results if one.outcome in ("success", "held")]
    wins = sum(one.success for one in counted)
    return InnerReport(
        attack=attack,
        epsilon=ball.epsilon if ball else None,
        ball=ball.norm if ball else None,
        success=share_of(wins, len(counted), request.stats.confidence),
        calls=sum(one.calls for one in results),
        trigger=trigger,
        note=_NOTES[attack] + (_SMOOTHED if smoothing else ""),
        complete=not cut and len(results) == len(pairs) and all(r.complete for r in results),
        results=tuple(results),
        smoothing=smoothing,
    )
