"""The search ``auto``: the worst text within an edit budget and a query budget.

It tries single edits, then adds more to the texts that hurt most: by turns edits that hurt on
their own, and edits not tried yet.

What is tried next never depends on how much budget is left: level d (texts with d edits) sees its
own and lower levels only, and each round gives every level its share, whether the edit budget
allows that level or not. Hence a larger budget of queries or of edits tries all that a smaller one
tries and more, and can never report a better rank. The price is that a small edit budget leaves
part of the query budget unused: of 64 queries, one edit uses 34, two use 52 and three 57.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import product
from operator import itemgetter
from typing import NamedTuple

from app.robustness.attack import Attack, Tried
from app.robustness.goal import Goal, Standing
from app.robustness.space import Candidate, Space
from app.text.perturbations.edits import Edit

_FIRST_ROUND = 16
_SINGLES, _PAIRS, _DEEP = 6, 6, 4
_EXPLOITED = _SINGLES // 2
_PARENTS, _PARTNERS = 8, 32
_GROUND = 4
_IDLE_ROUNDS = 32


class _Known(NamedTuple):
    """What is known of a text that was tried."""

    climb: float
    edits: tuple[Edit, ...]
    words: frozenset[int]


class Climb(Attack):
    """One query under one family of perturbations, searched level by level."""

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
        self._charged = self._round = self._next = 0
        self._levels: dict[int, list[_Known]] = {}
        self._seen: dict[str, int] = {}
        self._combined: set[tuple[Edit, ...]] = set()
        self._used: set[int] = set()
        self._places: dict[int, int] = {}
        self._words: dict[Edit, int] = {}
        self._indexes: dict[int, list[int]] = {}
        for index, proposal in enumerate(space.pool):
            self._indexes.setdefault(proposal.word, []).append(index)

    def _choose(self) -> list[Candidate]:
        idle = 0
        while not self.finished:
            candidates = self._plan_round()
            self.finished = self._charged >= self.most_queries or idle >= _IDLE_ROUNDS
            if candidates:
                return candidates
            idle += 1
        return []

    def _take(self, tried: Sequence[Tried]) -> None:
        for candidate, standing in tried:
            words = frozenset(self._words[edit] for edit in candidate.edits)
            known = _Known(standing.climb, candidate.edits, words)
            self._levels.setdefault(candidate.level, []).append(known)
        for level in {entry.candidate.level for entry in tried}:
            # The margin leads on where the rank is flat or jumps; the rank decides who is worst.
            self._levels[level].sort(key=_climb)

    def _plan_round(self) -> list[Candidate]:
        candidates: list[Candidate] = []
        # Nothing is learned within a round, so each level's combinations are gone through once.
        sources = {1: self._singles()}
        for level in _levels_of(self._round):
            if self._charged >= self.most_queries:
                break
            if level > self.space.most_edits:
                self._charged += 1
                continue
            source = sources.setdefault(level, self._combinations(level))
            candidate = next(source, None)
            if candidate:
                self._charged += 1
                candidates.append(candidate)
        self._round += 1
        return candidates

    def _singles(self) -> Iterator[Candidate]:
        """Untried single edits: by turns from the words that mattered most, and in pool order."""
        turn = len(self._used)
        while True:
            source = self._promising() if turn % 2 else self._unused()
            candidate = next(source, None) or next(self._unused(), None)
            if candidate is None:
                return
            turn += 1
            yield candidate

    def _promising(self) -> Iterator[Candidate]:
        words = [word for known in self._levels.get(1, [])[:_EXPLOITED] for word in known.words]
        for word in dict.fromkeys(words):
            for index in self._indexes.get(word, ()):
                if index >= self._next:
                    yield from self._use(index)

    def _unused(self) -> Iterator[Candidate]:
        while self._next < len(self.space.pool):
            self._next += 1
            yield from self._use(self._next - 1)

    def _use(self, index: int) -> Iterator[Candidate]:
        if index in self._used:
            return
        self._used.add(index)
        candidate = self._build((self.space.pool[index].edit,))
        if candidate:
            self._words[self.space.pool[index].edit] = self.space.pool[index].word
            yield candidate

    def _combinations(self, level: int) -> Iterator[Candidate]:
        """By turns: the worst single edits, and edits not tried yet, on top of the worst texts."""
        known, fresh = self._known_pairs(level), self._fresh_pairs(level)
        while True:
            candidate = next(known, None)
            if candidate:
                yield candidate
            other = next(fresh, None)
            if other:
                yield other
            if not candidate and not other:
                return

    def _known_pairs(self, level: int) -> Iterator[Candidate]:
        parents = self._levels.get(level - 1, [])[:_PARENTS]
        partners = self._levels.get(1, [])[:_PARTNERS]
        # A second edit in a word that is broken already adds little; such pairs come last.
        for same_word in (False, True):
            for place, partner in _pairs(len(parents), len(partners)):
                parent, other = parents[place], partners[partner]
                if parent.words.isdisjoint(other.words) is not same_word:
                    yield from self._combine(parent.edits, other.edits[0])

    def _fresh_pairs(self, level: int) -> Iterator[Candidate]:
        parents = self._levels.get(level - 1, [])[:_GROUND]
        for place in range(self._places.get(level, 0), len(self.space.pool)):
            self._places[level] = place + 1
            proposal = self.space.pool[-1 - place]
            self._words[proposal.edit] = proposal.word
            for turn in range(len(parents)):
                parent = parents[(place + turn) % len(parents)]
                if proposal.word not in parent.words:
                    yield from self._combine(parent.edits, proposal.edit)
                    break

    def _combine(self, edits: tuple[Edit, ...], added: Edit) -> Iterator[Candidate]:
        combined = tuple(sorted((*edits, added)))
        if combined in self._combined or not self.space.fits(added, edits):
            return
        self._combined.add(combined)
        candidate = self._build(combined)
        if candidate:
            yield candidate

    def _build(self, edits: tuple[Edit, ...]) -> Candidate | None:
        candidate = self.space.build(edits)
        # A text that a higher level has tried is not known to this one: what a level tries must not
        # depend on levels that a smaller edit budget does not have.
        if not candidate or self._seen.get(candidate.text, candidate.level + 1) <= candidate.level:
            return None
        self._seen[candidate.text] = candidate.level
        return candidate


_climb = itemgetter(0)


@lru_cache(maxsize=_PARENTS * _PARTNERS)
def _pairs(parents: int, partners: int) -> tuple[tuple[int, int], ...]:
    """Pairs of places, those of the worst texts first."""
    return tuple(sorted(product(range(parents), range(partners)), key=sum))


def _levels_of(number: int) -> Iterator[int]:
    """The levels that a round gives a try to, in order."""
    if number == 0:
        yield from [1] * _FIRST_ROUND
        return
    for turn in range(max(_SINGLES, _PAIRS)):
        if turn < _SINGLES:
            yield 1
        if turn < _PAIRS:
            yield 2
    for turn in range(_DEEP):
        yield _deep_level((number - 1) * _DEEP + turn)


def _deep_level(turn: int) -> int:
    """3; 3, 4; 3, 4, 5; ...: every level comes up in the end, the lower ones more often."""
    length = 1
    while turn >= length:
        turn -= length
        length += 1
    return 3 + turn
