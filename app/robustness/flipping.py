"""A text on its way through HotFlip: its budget, what was exchanged in it, what came of it."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.substitution import Spelled
from app.text.perturbations.edits import Edit


@dataclass(frozen=True, slots=True)
class Flips:
    """How hard to try.

    Attributes:
        edits: Most tokens exchanged in a text.
        calls: Most runs of each text through the graph, a gradient counting as one.
        candidates: Exchanges tried in a round.
        places: Places of a text looked at in a round, those with the largest gradients.
        same_script: Exchange a token only for one that is written in the same script.
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
        vector: Unit vector of the text, shape (dim,); (0,) for one that was stopped before it was
            looked at.
        calls: Texts encoded until the first success, or until the end.
        tried: Exchanges encoded.
        discarded: Exchanges that were written and not encoded: the tokenizer read other tokens.
        applicable: Whether there was anything to exchange: with ``same_script`` there is nothing
            for a script that no token is known to be written in.
        complete: Whether the budget was used, or no exchange is left that should help.
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
    applicable: bool = False
    complete: bool = True


@dataclass(slots=True)
class Flipping:
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

    def spend(self, calls: int) -> None:
        """Count calls; those after the first success are not part of what it took."""
        self.spent += calls
        if not self.result.success:
            self.result.calls += calls

    def allowed(self, edits: int) -> NDArray[np.bool_]:
        """Tell which tokens may be exchanged now, shape (seq,)."""
        places = np.zeros(len(self.current.ids), dtype=bool)
        for place in range(self.current.begin, self.current.end):
            left, right = self.current.spans[place - self.current.begin]
            free = len(self.changed) < edits or place in self.changed
            places[place] = free and left < right
        return places

    def piece(self, place: int) -> str:
        """What a token covers in the text."""
        left, right = self.current.spans[place - self.current.begin]
        return self.current.text[left:right]

    def written(self, place: int, token: int, surface: str) -> "Exchange":
        """Put a token in another's place."""
        left, right = self.current.spans[place - self.current.begin]
        text = self.current.text[:left] + surface + self.current.text[right:]
        ids = (*self.current.ids[:place], token, *self.current.ids[place + 1 :])
        return Exchange(text, ids, place)


class Exchange(NamedTuple):
    """A text to try: how it has to be read, and which token was exchanged."""

    text: str
    ids: tuple[int, ...]
    place: int


def unit(vector: NDArray[np.floating]) -> NDArray[np.float32]:
    """Bring a vector to length 1, as it is searched for."""
    return (vector / max(float(np.linalg.norm(vector)), 1e-12)).astype(np.float32)


def edits_of(one: Flipping) -> tuple[Edit, ...]:
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
