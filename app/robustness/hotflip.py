"""The worst text by exchanging tokens, led by the gradient (HotFlip).

Each round takes a gradient, asks which exchanges should help most, writes them into the text and
keeps those that the tokenizer reads as meant; these are encoded, and the best is built on. A text
that comes out can be sent to a search. More calls or edits never make it less bad: what a smaller
budget tries, a larger one tries first.
"""

import contextlib
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.robustness.aim import WON, Aim
from app.robustness.flipping import Exchange, Flipped, Flipping, Flips, edits_of, unit
from app.robustness.inside import HaltedError, same_lengths
from app.robustness.smoothing import Lens
from app.robustness.substitution import (
    Exchanges,
    Spelled,
    Speller,
    best_tokens,
    row_of,
    steepest_places,
)
from app.text.normalize import normalize

__all__ = ["Flipped", "Flips", "flip_tokens"]

_DIGITS = 6
_SPARE = 4  # exchanges written for each one to be tried: most are read as something else


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
        stop: Asked before each run of a graph; what is found until then is returned as not
            complete.

    Returns:
        A result for each text, in their order.

    Raises:
        InvalidInputError: If a text is empty or shows nothing.

    References:
        Ebrahimi et al. 2018, https://arxiv.org/abs/1712.06751.
    """
    if not texts:
        return []
    search = _Search(lens, speller, aim, flips or Flips())
    attacks: list[Flipping] = []
    with lens.inside.until(stop), contextlib.suppress(HaltedError):
        attacks = search.begin(speller.read(texts))
        while live := [one for one in attacks if not one.finished]:
            search.round(live)
    for one in attacks:
        one.result.complete = one.finished
    return [one.result for one in attacks] or [_unreached(text) for text in texts]


def _unreached(text: str) -> Flipped:
    """What is said of a text that was not even looked at."""
    nowhere = np.zeros(0, dtype=np.float32)
    return Flipped(normalize(text), (), False, math.inf, math.inf, nowhere, complete=False)


class _Search:
    """What all texts share."""

    def __init__(self, lens: Lens, speller: Speller, aim: Aim, flips: Flips) -> None:
        self._lens, self._speller, self._aim, self._flips = lens, speller, aim, flips
        self._exchanges = Exchanges(lens.inside, speller, same_script=flips.same_script)

    def begin(self, spelled: Sequence[Spelled]) -> list[Flipping]:
        vectors = self._lens.texts([row_of(one) for one in spelled])
        losses, cotangents = self._aim.look(vectors, np.arange(len(spelled)))
        attacks: list[Flipping] = []
        for place, one in enumerate(spelled):
            loss, won = float(losses[place]), bool(losses[place] < WON)
            result = Flipped(one.text, (), won, loss, loss, unit(vectors[place]))
            attacks.append(Flipping(place, one, one, result, cotangents[place], seen={one.ids}))
        return attacks

    def round(self, live: list[Flipping]) -> None:
        """Let each text try its most promising exchanges, and take the best."""
        queues: dict[int, list[Exchange]] = {}
        rows = [row_of(one.current) for one in live]
        for group in same_lengths(rows, self._lens.inside.run_tokens):
            some = [live[place] for place in group]
            for one in some:
                over = one.spent + 2 * self._lens.cost > self._flips.calls
                one.finished = over or (one.result.success and not self._flips.keep_going)
            some = [one for one in some if not one.finished]
            if some:
                queues |= self._propose(some)
        self._take_best([one for one in live if not one.finished], queues)

    def _propose(self, some: list[Flipping]) -> dict[int, list[Exchange]]:
        """Write the exchanges that should help most, for texts of one length."""
        rows = [row_of(one.current) for one in some]
        embeddings = self._lens.inside.embed(rows)
        cotangents = np.array([one.cotangent for one in some])
        _, gradients = self._lens.gradients(rows, embeddings, cotangents)
        allowed = np.array([one.allowed(self._flips.edits) for one in some])
        places = steepest_places(gradients, allowed, self._flips.places)  # (texts, places)
        at = np.maximum(places, 0)[..., None]
        slopes = np.take_along_axis(gradients, at, axis=1)  # (texts, places, hidden)
        old = (np.take_along_axis(embeddings, at, axis=1) * slopes).sum(axis=-1)
        wanted = _SPARE * self._flips.candidates
        flat = slopes.reshape(-1, slopes.shape[-1])
        fitting = np.array(
            [self._fitting(one, at) for one, row in zip(some, places, strict=True) for at in row]
        )
        found = best_tokens(self._lens.inside, flat, wanted, fitting)
        ids, new = (part.reshape(*places.shape, -1) for part in found)
        gains = np.where(places[..., None] >= 0, new - old[..., None], np.inf)
        queues: dict[int, list[Exchange]] = {}
        for number, one in enumerate(some):
            one.spend(self._lens.cost)
            one.result.applicable |= bool(np.isfinite(gains[number]).any())
            order = np.argsort(gains[number], axis=None, kind="stable")[:wanted]
            helpful = [n for n in order.tolist() if gains[number].flat[n] < 0.0]
            pairs = [
                (int(places[number, n // ids.shape[-1]]), int(ids[number].flat[n])) for n in helpful
            ]
            queues[one.place] = [
                one.written(place, token, self._exchanges.surface(token, one.piece(place)))
                for place, token in pairs
            ]
        return queues

    def _fitting(self, one: Flipping, place: int) -> NDArray[np.bool_]:
        """Tell which tokens can stand in a place; none in one that is not there."""
        if place < 0:
            return self._exchanges.nothing()
        return self._exchanges.allowed(one.current.ids[place], one.piece(place))

    def _valid(
        self, live: list[Flipping], queues: dict[int, list[Exchange]]
    ) -> list[tuple[Flipping, Spelled, int]]:
        """Read exchanges until each text has as many as it may try, or no more are left."""
        found: list[tuple[Flipping, Spelled, int]] = []
        rooms = {
            one.place: min(
                self._flips.candidates, (self._flips.calls - one.spent) // self._lens.cost
            )
            for one in live
        }
        while True:
            self._lens.inside.go_on()
            asked: list[tuple[Flipping, Exchange]] = []
            for one in live:
                queue = [exchange for exchange in queues[one.place] if exchange.ids not in one.seen]
                room = rooms[one.place]
                asked += [(one, exchange) for exchange in queue[:room]]
                queues[one.place] = queue[room:]
            if not asked:
                return found
            readings = self._speller.read([exchange.text for _, exchange in asked])
            for (one, exchange), read in zip(asked, readings, strict=True):
                one.seen.add(exchange.ids)
                if read.ids == exchange.ids:
                    rooms[one.place] -= 1
                    found.append((one, read, exchange.place))
                else:
                    one.result.discarded += 1

    def _take_best(self, live: list[Flipping], queues: dict[int, list[Exchange]]) -> None:
        """Encode all exchanges together; go on from the best of each text that is worse."""
        asked = self._valid(live, queues)
        reached = {one.place for one, _, _ in asked}
        for one in live:
            one.finished = one.place not in reached
        if not asked:
            return
        vectors = self._lens.texts([row_of(read) for _, read, _ in asked])
        losses, cotangents = self._aim.look(vectors, np.array([one.place for one, _, _ in asked]))
        keys = np.round(losses, _DIGITS)
        best: dict[int, int] = {}
        for number, (one, _, _) in enumerate(asked):
            one.spend(self._lens.cost)
            one.result.tried += 1
            one.result.success = one.result.success or bool(losses[number] < WON)
            if one.place not in best or keys[number] < keys[best[one.place]]:
                best[one.place] = number
        for number in best.values():
            one, read, at = asked[number]
            if keys[number] < round(one.result.loss, _DIGITS):
                one.current, one.cotangent = read, cotangents[number]
                one.changed.add(at)
                one.result.text, one.result.loss = read.text, float(losses[number])
                one.result.edits, one.result.vector = edits_of(one), unit(vectors[number])
