"""What each edit of a query is believed to do: seen, or guessed from the word that it is in.

Effects of edits in different words are taken to add up. That is rough, but it orders what to try
next well enough, and it costs nothing beside a text that has to be encoded.
"""

from bisect import insort
from collections.abc import Sequence

from app.text.perturbations.family import Proposal

_PRIOR = 0.5
_PER_WORD = 2
_KNOWN = 8


class Beliefs:
    """Effects of a pool's edits: by how much each brings a text nearer to the goal.

    Args:
        pool: The edits, in the order in which those of a word are tried.
    """

    def __init__(self, pool: Sequence[Proposal]) -> None:
        self.words = [proposal.word for proposal in pool]
        self._waiting: dict[int, list[int]] = {}
        for place in range(len(pool) - 1, -1, -1):
            self._waiting.setdefault(self.words[place], []).append(place)
        self._effects: dict[int, float] = {}
        self._best: list[tuple[float, int]] = []
        self._sums: dict[int, float] = {}
        self._counts: dict[int, int] = {}
        self._total = self._squares = self._means = 0.0

    def firsts(self, most: int) -> list[int]:
        """Name the first edit of each word, for ``most`` words."""
        firsts = sorted(waiting[-1] for waiting in self._waiting.values() if waiting)
        return firsts[:most]

    def ordered(self) -> list[int]:
        """List all edits, those of the largest effect first, those not seen after all others."""
        unseen = float("-inf")
        places = range(len(self.words))
        return sorted(places, key=lambda place: (-self._effects.get(place, unseen), place))

    def effect(self, place: int) -> float:
        """What an edit is known to do; 0 where it is not known."""
        return self._effects.get(place, 0.0)

    def used(self, place: int) -> None:
        """Take an edit from those that wait to be tried."""
        waiting = self._waiting[self.words[place]]
        if place in waiting[-_PER_WORD:]:
            waiting.remove(place)

    def waits(self, place: int) -> bool:
        """Tell whether an edit is about to be tried for the first time."""
        return place in self._waiting[self.words[place]][-_PER_WORD:]

    def learn(self, place: int, effect: float) -> None:
        """Take in what an edit did, when it is seen for the first time."""
        if place in self._effects:
            return
        self._effects[place] = effect
        insort(self._best, (-effect, place))
        del self._best[_KNOWN:]
        word = self.words[place]
        total, count = self._sums.get(word, 0.0), self._counts.get(word, 0)
        before = total * total / count if count else 0.0
        self._sums[word], self._counts[word] = total + effect, count + 1
        self._means += (total + effect) ** 2 / (count + 1) - before
        self._total += effect
        self._squares += effect * effect

    def promising(self) -> list[tuple[float, int, bool]]:
        """List edits worth adding: what each may do, its place, and whether it is a new one.

        A new edit is valued at the mean of its word, drawn to the mean of all, and the spread: the
        best of many draws lies above their mean.
        """
        seen = len(self._effects)
        mean = self._total / seen if seen else 0.0
        freedom = seen - len(self._counts)
        total = max(0.0, self._squares - self._total * mean) / max(1, seen - 1)
        within = max(0.0, self._squares - self._means) / freedom if freedom > 1 else total / 4
        between = max(0.0, total - within)
        found = [(-effect, place, False) for effect, place in self._best]
        for word, waiting in self._waiting.items():
            count = self._counts.get(word, 0)
            guess = (self._sums.get(word, 0.0) + _PRIOR * mean) / (count + _PRIOR)
            spread = (within + between / (1 + count)) ** 0.5
            found += [
                (guess + spread / (1 + turn / 2), place, True)
                for turn, place in enumerate(reversed(waiting[-_PER_WORD:]))
            ]
        return found
