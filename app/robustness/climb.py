"""The search ``auto``: the worst text within an edit budget and a query budget.

It tries one edit in each word, and from then on whatever promises most: the texts that hurt most so
far, less one edit where there is no room, and one more edit on top, be it one that is known to
hurt or a new one in a word that matters (``beliefs``). So a new edit is tried together with what
hurts already, and every text may be the first success. When nothing is left beside the worst texts
it goes through all others, so that the whole budget of queries is used while there are texts.

What is tried next never depends on how many queries are left: a larger budget of queries tries all
that a smaller one tries and more, and can never report a better rank. With more edits it tries
others, of more edits; that is stronger in all that was measured, but nothing forces it to be.
"""

from bisect import bisect
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import combinations, islice
from operator import itemgetter

from app.robustness.attack import Attack, Tried
from app.robustness.beliefs import Beliefs
from app.robustness.goal import Goal, Standing
from app.robustness.space import Candidate, Space

_FIRST_ROUND = 12
_SIZES = (2, 2, 2, 4, 4, 8)
_STEMS = 4
_PARENTS = 8
# What a second edit in a word that is broken already is taken to add.
_SAME_WORD = 0.1
# Combinations looked at for one more text before the search gives up.
_LOOKED_AT = 2_000

Places = tuple[int, ...]


class Climb(Attack):
    """One query under one family of perturbations."""

    def __init__(
        self,
        space: Space,
        goal: Goal,
        clean: Standing,
        most_queries: int,
        *,
        after_success: bool = True,
    ) -> None:
        super().__init__(space, goal, clean, most_queries, after_success=after_success)
        self._beliefs = Beliefs(space.pool)
        self._round = 0
        self._harms: dict[Places, float] = {(): 0.0}
        self._worst: list[tuple[float, Places]] = []
        self._texts: set[str] = {space.normalized}
        self._planned: set[Places] = {()}
        self._added: dict[str, tuple[Places, int]] = {}
        self._smaller: deque[Places] = deque()
        self._others = self._all_others()

    def _choose(self) -> list[Candidate]:
        left = self.most_queries - self.queries
        size = _SIZES[min(self._round, len(_SIZES)) - 1] if self._round else _FIRST_ROUND
        source = self._more() if self._round else self._first()
        self._round += 1
        candidates = list(islice(source, min(size, left)))
        if not candidates and left > 0:
            candidates = list(islice(self._others, min(size, left)))
        self.finished = len(candidates) in (0, left)
        return candidates

    def _take(self, tried: Sequence[Tried]) -> None:
        for candidate, standing in tried:
            stem, added = self._added.pop(candidate.text)
            places = _with(stem, added)
            # The margin leads on where the rank is flat or jumps; the rank decides who is worst.
            harm = self.clean.climb - standing.climb
            self._harms[places] = harm
            self._beliefs.learn(added, harm - self._harm(stem))
            self._worst.append((harm, places))
            if len(places) == self.edits_to_success and self.goal.reached(standing):
                self._smaller += combinations(places, len(places) - 1)
        self._worst.sort(key=_harm_of, reverse=True)
        del self._worst[_PARENTS:]

    def _first(self) -> Iterator[Candidate]:
        """One edit in each word."""
        for place in self._beliefs.firsts(_FIRST_ROUND) if self.space.most_edits else ():
            candidate = self._write((), place)
            self._beliefs.used(place)
            if candidate:
                yield candidate

    def _more(self) -> Iterator[Candidate]:
        """What a success can do without, then what promises most."""
        while self._smaller:
            places = self._smaller.popleft()
            candidate = self._write(places[:-1], places[-1]) if places else None
            if candidate:
                yield candidate
        beliefs = self._beliefs
        for _, stem, place, fresh in self._moves():
            if fresh and not beliefs.waits(place):
                continue
            candidate = self._write(stem, place)
            if fresh and (candidate or not stem):
                beliefs.used(place)
            if candidate:
                yield candidate

    def _moves(self) -> list[tuple[float, Places, int, bool]]:
        """Rank one more edit on top of the texts that hurt most, by what they should do."""
        words = self._beliefs.words
        edits = self._beliefs.promising() if self.space.most_edits else []
        moves: list[tuple[float, Places, int, bool]] = []
        for stem, harm in self._stems():
            broken = {words[place] for place in stem}
            moves += [
                (harm + (_SAME_WORD * gain if words[place] in broken else gain), stem, place, fresh)
                for gain, place, fresh in edits
                if place not in stem
            ]
        # Stable: equal ones stay in the order of stems and of edits.
        moves.sort(key=_harm_of, reverse=True)
        return moves

    def _stems(self) -> list[tuple[Places, float]]:
        """Choose what to build on: the worst texts with room for an edit, or made to have it."""
        stems: dict[Places, float] = {}
        for harm, places in self._worst:
            if len(places) < self.space.most_edits:
                stems[places] = harm
            if len(places) > 1:
                for stem in combinations(places, len(places) - 1):
                    stems.setdefault(stem, self._harm(stem))
        stems.pop((), None)
        chosen = sorted(stems.items(), key=itemgetter(1), reverse=True)[:_STEMS]
        return [*chosen, ((), 0.0)]

    def _harm(self, places: Places) -> float:
        """What edits do together: measured, or the sum of their effects."""
        known = self._harms.get(places)
        return sum(map(self._beliefs.effect, places)) if known is None else known

    def _all_others(self) -> Iterator[Candidate]:
        """All texts that are left, those with edits that hurt on their own first."""
        order = self._beliefs.ordered()
        for level in range(1, self.space.most_edits + 1):
            misses = 0
            for places in combinations(order, level):
                stem = tuple(sorted(places[:-1]))
                candidate = self._write(stem, places[-1]) if self._stands(stem) else None
                misses = 0 if candidate else misses + 1
                if misses > _LOOKED_AT:
                    break
                if candidate:
                    yield candidate

    def _stands(self, places: Places) -> bool:
        """Tell whether edits can stand beside one another."""
        edits = [self.space.pool[place].edit for place in places]
        return all(self.space.fits(edit, edits[:n]) for n, edit in enumerate(edits))

    def _write(self, stem: Places, added: int) -> Candidate | None:
        """Write a text if it is a new one and its last edit can stand beside the others."""
        places = _with(stem, added)
        if places in self._planned:
            return None
        self._planned.add(places)
        edit = self.space.pool[added].edit
        edits = [self.space.pool[place].edit for place in stem]
        if not self.space.fits(edit, edits):
            return None
        candidate = self.space.build(tuple(sorted((*edits, edit))))
        if candidate is None or candidate.text in self._texts:
            return None
        self._texts.add(candidate.text)
        self._added[candidate.text] = (stem, added)
        return candidate


_harm_of = itemgetter(0)


def _with(stem: Places, added: int) -> Places:
    at = bisect(stem, added)
    return (*stem[:at], added, *stem[at:])
