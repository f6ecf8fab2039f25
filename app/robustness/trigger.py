"""A few tokens that break any query they are put before (universal trigger).

The gradient at the trigger's tokens is averaged over queries, so what is found has no query of its
own: whether it works on others has to be measured on queries that were not used to find it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.aim import WON, Aim
from app.robustness.inside import Array, HaltedError, same_lengths
from app.robustness.smoothing import Lens
from app.robustness.substitution import Spelled, Speller, best_tokens, row_of

_DIGITS = 6
_TRIES = 64
_SPARE = 4


@dataclass(frozen=True, slots=True)
class Search:
    """How hard to look for a trigger.

    Attributes:
        tokens: Its length.
        rounds: Times that each of its tokens is looked at anew.
        candidates: Tokens tried for each place each time, all of them on all queries.
        seed: Chooses the first tokens.
    """

    tokens: int = 3
    rounds: int = 3
    candidates: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.tokens, self.rounds, self.candidates) < 1:
            raise InvalidInputError(
                f"Got {self.tokens} tokens, {self.rounds} rounds and {self.candidates} candidates; "
                "expected at least 1 of each."
            )


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger found.

    Attributes:
        text: What to put before a query, with a space between.
        successes: Queries of those it was made with that it breaks.
        queries: How many these were.
        loss: Mean loss over them.
        calls: Texts sent through the graph to find it.
        complete: Whether all rounds were made, or nothing more helped.
    """

    text: str
    successes: int
    queries: int
    loss: float
    calls: int
    complete: bool

    def on(self, text: str) -> str:
        """Put the trigger before a text."""
        return f"{self.text} {text}"


def find_trigger(
    lens: Lens,
    speller: Speller,
    queries: Sequence[str],
    aim: Aim,
    search: Search | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Trigger:
    """Search for a trigger that breaks as many queries as it can.

    Args:
        lens: The encoder, plain or smoothed.
        speller: Its tokenizer.
        queries: At least one, answered right without the trigger.
        aim: What to reach, for the same queries.
        search: How hard to look.
        stop: Asked before each run of a graph; what is found until then is returned.

    Raises:
        HaltedError: If it was stopped before the first trigger was measured.
        InvalidInputError: If there is no query, or no token stands for itself as a word.

    References:
        Wallace et al. 2019, https://arxiv.org/abs/1908.07125.
    """
    chosen = search or Search()
    if not queries:
        raise InvalidInputError("Got no queries; expected at least one to find a trigger with.")
    hunt = _Hunt(lens, speller, queries, aim)
    with lens.inside.until(stop):
        hunt.start(chosen)
        try:
            hunt.run(chosen)
        except HaltedError:
            return hunt.result(complete=False)
    return hunt.result(complete=True)


class _Hunt:
    """The trigger as far as it has come."""

    def __init__(self, lens: Lens, speller: Speller, queries: Sequence[str], aim: Aim) -> None:
        self._lens, self._speller, self._aim = lens, speller, aim
        self._queries = list(queries)
        self._tokens: list[int] = []
        self._calls_before = lens.inside.calls
        self._key = (0, 0.0)
        self._losses = np.zeros(0)
        self._cotangents = np.zeros((0, 0), dtype=np.float32)

    def start(self, search: Search) -> None:
        """Take tokens at random, each a word of its own."""
        vocabulary = self._lens.inside.vocabulary
        random = np.random.Generator(np.random.Philox(key=search.seed))
        order = random.permutation(len(vocabulary))[: _TRIES * search.tokens]
        drawn = [int(token) for token in vocabulary[order] if self._speller.surface(int(token))]
        readings = self._speller.read([self._speller.surface(token) for token in drawn])
        words = [
            token
            for token, read in zip(drawn, readings, strict=True)
            if read.ids[read.begin : read.end] == (token,)
        ]
        if len(words) < search.tokens:
            raise InvalidInputError(
                f"Of {len(drawn)} tokens tried only {len(words)} are words of their own; expected "
                f"{search.tokens}: ask for a shorter trigger."
            )
        self._tokens = words[: search.tokens]
        readings = self._speller.read(self._texts(self._tokens))
        self._losses, self._cotangents = self._measure(readings)
        self._key = _key(self._losses)

    def run(self, search: Search) -> None:
        """Look at all tokens anew, until no round finds a better one."""
        for _ in range(search.rounds):
            found = [self.improve(place, search.candidates) for place in range(search.tokens)]
            if not any(found):
                return

    def improve(self, place: int, candidates: int) -> bool:
        """Look at one token anew; tells whether a better one was found."""
        readings = self._speller.read(self._texts(self._tokens))
        gradient = self._gradient(readings, place)
        if gradient is None:
            return False
        ids, _ = best_tokens(self._lens.inside, gradient, _SPARE * candidates)
        best: tuple[list[int], NDArray[np.float64], NDArray[np.float32]] | None = None
        tried = 0
        for token in ids[0].tolist():
            tokens = [*self._tokens[:place], token, *self._tokens[place + 1 :]]
            if tried == candidates or token == self._tokens[place] or not self._stands(tokens):
                continue
            tried += 1
            losses, cotangents = self._measure(self._speller.read(self._texts(tokens)))
            if _key(losses) < self._key:
                self._key = _key(losses)
                best = tokens, losses, cotangents
        if best is None:
            return False
        self._tokens, self._losses, self._cotangents = best
        return True

    def result(self, *, complete: bool) -> Trigger:
        return Trigger(
            self._text(self._tokens),
            int((self._losses < WON).sum()),
            len(self._queries),
            float(self._losses.mean()),
            self._lens.inside.calls - self._calls_before,
            complete,
        )

    def _text(self, tokens: Sequence[int]) -> str:
        return " ".join(self._speller.surface(token) for token in tokens)

    def _texts(self, tokens: Sequence[int]) -> list[str]:
        text = self._text(tokens)
        return [f"{text} {query}" for query in self._queries]

    def _stands(self, tokens: Sequence[int]) -> bool:
        """Tell whether the trigger's text is read as its tokens."""
        if not all(self._speller.surface(token) for token in tokens):
            return False
        (read,) = self._speller.read([self._text(tokens)])
        return read.ids[read.begin : read.end] == tuple(tokens)

    def _measure(
        self, readings: Sequence[Spelled]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        vectors = self._lens.texts([row_of(read) for read in readings])
        return self._aim.look(vectors, np.arange(len(readings)))

    def _gradient(self, readings: Sequence[Spelled], place: int) -> Array | None:
        """Average the gradient at one token over the queries that still hold; (1, hidden)."""
        live = [
            number
            for number, read in enumerate(readings)
            if read.ids[read.begin : read.begin + len(self._tokens)] == tuple(self._tokens)
            and self._losses[number] >= WON
        ]
        rows = [row_of(readings[number]) for number in live]
        found: list[Array] = []
        for group in same_lengths(rows, self._lens.inside.run_tokens):
            some = [rows[at] for at in group]
            cotangents = self._cotangents[[live[at] for at in group]]
            embeddings = self._lens.inside.embed(some)
            _, gradients = self._lens.gradients(some, embeddings, cotangents)
            found += [one[row.begin + place] for one, row in zip(gradients, some, strict=True)]
        return np.mean(found, axis=0, keepdims=True) if found else None


def _key(losses: NDArray[np.float64]) -> tuple[int, float]:
    """What is minimized: queries that hold, then how far they are from breaking."""
    holding = np.maximum(losses, WON)
    return int((losses >= WON).sum()), round(float(holding.mean()), _DIGITS)
