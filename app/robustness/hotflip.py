"""The worst text by exchanging tokens, led by the gradient (HotFlip).

Each round takes a gradient, asks which exchanges should help most, writes them into the text and
keeps those that the tokenizer reads as meant; these are encoded, and the best is built on. A text
that comes out can be sent to a search. More calls or edits never make it less bad: what a smaller
budget tries, a larger one tries first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.aim import WON, Aim
from app.robustness.inside import same_lengths
from app.robustness.smoothing import Lens
from app.robustness.substitution import (
    Spelled,
    Speller,
    best_tokens,
    row_of,
    steepest_places,
)
from app.text.perturbations.edits import Edit
from app.text.script import script_of

_DIGITS = 6
_SPARE = 4  # exchanges written for each one to be tried: most are read as something else


@dataclass(frozen=True, slots=True)
class Flips:
    """How hard to try.

    Attributes:
        edits: Most tokens exchanged in a text.
        calls: Most runs of each text through the graph, a gradient counting as one.
        candidates: Exchanges tried in a round.
        places: Places of a text looked at in a round, those with the largest gradients.
        same_script: Exchange a token only for one of the same script.
        keep_going: Search on after a success.
    """

    edits: int = 2
    calls: int = 64
    candidates: int = 12
    places: int = 4
    same_script: bool = True
    keep_going: bool = False

    def __post_init__(self) -> None:
        if min(self.edits, self.calls, self.candidates, self.places) < 1:
            raise InvalidInputError(
                f"Got {self.edits} edits, {self.calls} calls, {self.candidates} candidates and "
                f"{self.places} places; expected at least 1 of each."
            )


@dataclass(slots=True)
class Flipped:
    """What became of one text.

    Attributes:
        text: The worst text found, normalized; the text itself if none is worse.
        edits: What was exchanged, by offsets in the normalized text.
        success: Whether the aim was reached.
        loss: The text's loss; below 0 for a success.
        clean_loss: That of the text itself.
        vector: Unit vector of the text.
        calls: Texts encoded until the first success, or until the end.
        tried: Exchanges encoded.
        discarded: Exchanges that were written and not encoded: the tokenizer read other tokens.
        complete: Whether the budget was used, or no exchange made it worse.
    """

    text: str
    edits: tuple[Edit, ...]
    success: bool
    loss: float
    clean_loss: float
    vector: NDArray[np.float32]
    calls: int = 0
    tried: int = 0
    discarded: int = 0
    complete: bool = True


@dataclass(slots=True)
class _Flip:
    """A text on its way."""

    place: int
    original: Spelled
    current: Spelled
    result: Flipped
    cotangent: NDArray[np.float32]
    spent: int = 0
    finished: bool = False
    changed: set[int] = field(default_factory=set)
    seen: set[tuple[int, ...]] = field(default_factory=set)


def flip_tokens(
    lens: Lens,
    speller: Speller,
    texts: Sequence[str],
    aim: Aim,
    flips: Flips | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Flipped]:
    """Search for the worst text within some exchanged tokens.

    Args:
        lens: The encoder, plain or smoothed.
        speller: Its tokenizer.
        texts: Texts to attack.
        aim: What to reach, for the same texts.
        flips: How hard to try.
        stop: Asked before each round; what is found until then is returned as not complete.

    Returns:
        A result for each text, in their order.

    Raises:
        InvalidInputError: If a text is empty or shows nothing.

    References:
        Ebrahimi et al. 2018, https://arxiv.org/abs/1712.06751.
    """
    budget = flips or Flips()
    attacks = _begin(lens, speller.read(texts), aim)
    while live := [one for one in attacks if not one.finished]:
        if stop():
            for one in live:
                one.result.complete = False
            break
        _round(lens, speller, live, aim, budget)
    return [one.result for one in attacks]


def _begin(lens: Lens, spelled: Sequence[Spelled], aim: Aim) -> list[_Flip]:
    if not spelled:
        return []
    vectors = lens.texts([row_of(one) for one in spelled])
    losses, cotangents = aim.look(vectors, np.arange(len(spelled)))
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    attacks: list[_Flip] = []
    for place, one in enumerate(spelled):
        loss, won = float(losses[place]), bool(losses[place] < WON)
        result = Flipped(one.text, (), won, loss, loss, units[place].astype(np.float32))
        attacks.append(_Flip(place, one, one, result, cotangents[place], seen={one.ids}))
    return attacks


def _round(lens: Lens, speller: Speller, live: list[_Flip], aim: Aim, budget: Flips) -> None:
    """Let each text take its best exchange."""
    proposed: list[tuple[_Flip, str, tuple[int, ...], int]] = []
    rows = [row_of(one.current) for one in live]
    for group in same_lengths(rows, lens.inside.run_tokens):
        some = [live[place] for place in group]
        for one in some:
            one.finished = one.spent + 2 * lens.cost > budget.calls or (
                one.result.success and not budget.keep_going
            )
        some = [one for one in some if not one.finished]
        if some:
            proposed += _propose(lens, speller, some, budget)
    readings = speller.read([text for _, text, _, _ in proposed])
    valid: dict[int, list[tuple[Spelled, int]]] = {one.place: [] for one in live}
    for (one, _, ids, at), read in zip(proposed, readings, strict=True):
        tries = valid[one.place]
        room = min(budget.candidates, (budget.calls - one.spent) // lens.cost)
        if read.ids != ids:
            one.result.discarded += 1
        elif len(tries) < room and ids not in one.seen:
            one.seen.add(ids)
            tries.append((read, at))
    _take_best(lens, [one for one in live if not one.finished], valid, aim)


def _propose(
    lens: Lens, speller: Speller, some: list[_Flip], budget: Flips
) -> list[tuple[_Flip, str, tuple[int, ...], int]]:
    """Write the exchanges that should help most into texts of one length."""
    rows = [row_of(one.current) for one in some]
    cotangents = np.array([one.cotangent for one in some])
    embeddings = lens.inside.embed(rows)
    _, gradients = lens.gradients(rows, embeddings, cotangents)
    allowed = np.array([_allowed(one, budget) for one in some])
    places = steepest_places(gradients, allowed, budget.places)  # (texts, places)
    at = np.maximum(places, 0)[..., None]
    slopes = np.take_along_axis(gradients, at, axis=1)  # (texts, places, hidden)
    old = (np.take_along_axis(embeddings, at, axis=1) * slopes).sum(axis=-1)
    wanted = _SPARE * budget.candidates
    ids, new = best_tokens(lens.inside, slopes.reshape(-1, slopes.shape[-1]), wanted)
    ids, new = (part.reshape(*places.shape, -1) for part in (ids, new))
    gains = np.where(places[..., None] >= 0, new - old[..., None], np.inf)
    found: list[tuple[_Flip, str, tuple[int, ...], int]] = []
    for number, one in enumerate(some):
        one.spent += lens.cost
        if not one.result.success:
            one.result.calls += lens.cost
        order = np.argsort(gains[number], axis=None, kind="stable")
        written = 0
        for flat in order.tolist():
            which, column = divmod(flat, ids.shape[-1])
            place, token = int(places[number, which]), int(ids[number, which, column])
            if written == wanted or not gains[number, which, column] < 0.0:
                break
            text = _write(speller, one.current, place, token, same_script=budget.same_script)
            if text is not None:
                changed = (*one.current.ids[:place], token, *one.current.ids[place + 1 :])
                found.append((one, text, changed, place))
                written += 1
    return found


def _allowed(one: _Flip, budget: Flips) -> NDArray[np.bool_]:
    places = np.zeros(len(one.current.ids), dtype=bool)
    if len(one.changed) < budget.edits:
        places[one.current.begin : one.current.end] = True
    else:
        places[list(one.changed)] = True
    for place in range(one.current.begin, one.current.end):
        left, right = one.current.spans[place - one.current.begin]
        places[place] &= left < right
    return places


def _write(
    speller: Speller, spelled: Spelled, place: int, token: int, *, same_script: bool
) -> str | None:
    """Put a token in another's place; None if it cannot stand there."""
    old, surface = spelled.ids[place], speller.surface(token)
    if token == old or not surface or speller.sort(token) != speller.sort(old):
        return None
    left, right = spelled.spans[place - spelled.begin]
    if same_script and script_of(surface) != script_of(spelled.text[left:right]):
        return None
    return spelled.text[:left] + surface + spelled.text[right:]


def _take_best(
    lens: Lens, live: list[_Flip], valid: dict[int, list[tuple[Spelled, int]]], aim: Aim
) -> None:
    """Encode all candidates together; go on from the best of each text that is worse."""
    asked = [(one, read, at) for one in live for read, at in valid[one.place]]
    for one in live:
        one.finished = not valid[one.place]
    if not asked:
        return
    vectors = lens.texts([row_of(read) for _, read, _ in asked])
    which = np.array([one.place for one, _, _ in asked])
    losses, cotangents = aim.look(vectors, which)
    best: dict[int, int] = {}
    for number, (one, _, _) in enumerate(asked):
        one.spent += lens.cost
        one.result.tried += 1
        if not one.result.success:
            one.result.calls += lens.cost
            one.result.success = bool(losses[number] < WON)
        key = round(float(losses[number]), _DIGITS)
        if one.place not in best or key < round(float(losses[best[one.place]]), _DIGITS):
            best[one.place] = number
    for number in best.values():
        one, read, at = asked[number]
        if round(float(losses[number]), _DIGITS) >= round(one.result.loss, _DIGITS):
            one.finished = True
            continue
        one.current, one.cotangent = read, cotangents[number]
        one.changed.add(at)
        one.result.text, one.result.loss = read.text, float(losses[number])
        one.result.edits = _edits(one)
        length = max(float(np.linalg.norm(vectors[number])), 1e-12)
        one.result.vector = (vectors[number] / length).astype(np.float32)


def _edits(one: _Flip) -> tuple[Edit, ...]:
    """What stands differently in the text now; tokens stand one for one."""
    edits: list[Edit] = []
    for place in sorted(one.changed):
        number = place - one.original.begin
        start, end = one.original.spans[number]
        left, right = one.current.spans[number]
        before, after = one.original.text[start:end], one.current.text[left:right]
        if before != after:
            edits.append(Edit(start, end, before, after))
    return tuple(edits)
