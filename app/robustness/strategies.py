"""Other searches than ``auto``, each a generator: yields texts to try, gets back how they stand.

None of them knows how much budget is left, so more queries try more texts and never fewer. Random
choices come from a counter keyed by seed, query, family and step (``Draw``).
"""

from collections.abc import Callable, Generator, Iterator, Sequence

from app.robustness.attack import Attack, Tried
from app.robustness.goal import Goal, Standing
from app.robustness.request import Method, SearchChoice
from app.robustness.space import Candidate, Space
from app.text.normalize import normalize
from app.text.perturbations.edits import Draw, Edit, apply_edits

Search = Generator[list[Candidate], list[Tried], None]

_BATCH = 16
_IDLE = 16
_PARTNERS = 4
_TOURNAMENT = 2
_DRAWS = 64


class Guided(Attack):
    """An attack that a generator leads."""

    def __init__(
        self,
        space: Space,
        goal: Goal,
        clean: Standing,
        most_queries: int,
        *,
        search: Search,
        after_success: bool = True,
    ) -> None:
        super().__init__(space, goal, clean, most_queries, after_success=after_success)
        self._search = search
        self._results: list[Tried] | None = None

    def _choose(self) -> list[Candidate]:
        left = self.most_queries - self.queries
        try:
            planned = (
                next(self._search) if self._results is None else self._search.send(self._results)
            )
        except StopIteration:
            self.finished = True
            return []
        self.finished = len(planned) >= left
        return planned[:left]

    def _take(self, tried: Sequence[Tried]) -> None:
        self._results = list(tried)


def search_for(choice: SearchChoice, space: Space, draw: Draw) -> Search:
    """Start the search that was asked for; ``auto`` is not one of them."""
    searches: dict[Method, Callable[[_Walk, int], Search]] = {
        "random": _random,
        "greedy": _greedy,
        "beam": _beam,
        "evolution": _evolution,
    }
    return searches[choice.method](_Walk(space, draw), choice.width)


class _Walk:
    """A space with what was tried in it, and with dice."""

    def __init__(self, space: Space, draw: Draw) -> None:
        self.space = space
        self._draw = draw
        self._seen: set[str] = set()

    def build(self, edits: Sequence[Edit]) -> Candidate | None:
        """Write a text if it is a new one."""
        candidate = self.space.build(tuple(sorted(edits)))
        if candidate is None or candidate.text in self._seen:
            return None
        self._seen.add(candidate.text)
        return candidate

    def dice(self, purpose: str, step: int) -> Iterator[float]:
        """Numbers from 0 to 1 for one step, as many as are asked for."""
        part = 0
        while True:
            numbers = self._draw.numbers(f"{purpose} {step} {part}", _DRAWS)
            yield from (numbers / 2.0**32).tolist()
            part += 1

    def some(self, dice: Iterator[float]) -> list[Edit]:
        """Draw 1 to most edits that can stand beside one another."""
        wanted = 1 + int(next(dice) * self.space.most_edits)
        chosen: list[Edit] = []
        for _ in range(2 * wanted):
            edit = self.one(dice)
            if self.space.fits(edit, chosen):
                chosen.append(edit)
            if len(chosen) == wanted:
                break
        return chosen

    def one(self, dice: Iterator[float]) -> Edit:
        """Draw an edit."""
        return self.space.pool[int(next(dice) * len(self.space.pool))].edit


def _random(walk: _Walk, width: int) -> Search:
    """Random edits, as many as may be: what any search has to beat."""
    idle = step = 0
    while walk.space.pool and idle < _IDLE:
        dice = walk.dice("random", step)
        drawn = [walk.build(walk.some(dice)) for _ in range(_BATCH)]
        candidates = [one for one in drawn if one]
        step += 1
        idle = 0 if candidates else idle + 1
        if candidates:
            yield candidates


def _greedy(walk: _Walk, width: int) -> Search:
    """Word by word, the most important first: that without which the query fares worst.

    References:
        Gao et al. 2018 (DeepWordBug), https://arxiv.org/abs/1801.04354, with deletion as saliency.
    """
    space = walk.space
    by_word: dict[int, list[Edit]] = {}
    for proposal in space.pool:
        by_word.setdefault(proposal.word, []).append(proposal.edit)
    missing = _without_each(space, sorted(by_word))
    tried = (yield [one for _, one in missing]) if missing else []
    stands = {entry.candidate.text: entry.standing.climb for entry in tried}
    harm = {word: stands[one.text] for word, one in missing if one.text in stands}
    order = sorted(by_word, key=lambda word: (harm.get(word, float("inf")), word))
    for start in range(0, max(map(len, by_word.values()), default=0), width):
        chosen: list[Edit] = []
        least = float("inf")
        for word in order:
            if len(chosen) == space.most_edits:
                break
            fitting = [e for e in by_word[word][start : start + width] if space.fits(e, chosen)]
            built = [walk.build((*chosen, edit)) for edit in fitting]
            candidates = [one for one in built if one]
            if not candidates:
                continue
            found = yield candidates
            best = min(found, key=_climb, default=None)
            if best and best.standing.climb < least:
                least, chosen = best.standing.climb, list(best.candidate.edits)


def _beam(walk: _Walk, width: int) -> Search:
    """The ``width`` best texts of each number of edits, each extended by further proposals."""
    space = walk.space
    best: dict[int, list[Tried]] = {}
    for start in range(0, len(space.pool), _PARTNERS * width):
        fresh = [one.edit for one in space.pool[start : start + _PARTNERS * width]]
        for level in range(1, space.most_edits + 1):
            singles = [entry.candidate.edits[0] for entry in best.get(1, [])]
            partners = list(dict.fromkeys(singles[:_PARTNERS] + fresh[:_PARTNERS]))
            parents = [entry.candidate.edits for entry in best.get(level - 1, [])]
            pairs = [((), edit) for edit in fresh]
            if level > 1:
                pairs = [(edits, edit) for edits in parents for edit in partners]
            built = [walk.build((*edits, edit)) for edits, edit in pairs if space.fits(edit, edits)]
            candidates = [one for one in built if one]
            if candidates:
                found = yield candidates
                ranked = sorted([*best.get(level, []), *found], key=_climb)
                best[level] = ranked[:width]


def _evolution(walk: _Walk, width: int) -> Search:
    """A population of texts that mate and mutate; the best of parents and children live on.

    References:
        Alzantot et al. 2018, https://arxiv.org/abs/1804.07998.
    """
    population: list[Tried] = []
    idle = step = 0
    while walk.space.pool and idle < _IDLE:
        dice = walk.dice("evolution", step)
        candidates: list[Candidate] = []
        for _ in range(2 * width):
            edits = _child(walk, population, dice) if population else walk.some(dice)
            one = walk.build(edits) if edits else None
            if one:
                candidates.append(one)
        step += 1
        idle = 0 if candidates else idle + 1
        if candidates:
            found = yield candidates
            population = sorted([*population, *found], key=_climb)[:width]


def _child(walk: _Walk, population: Sequence[Tried], dice: Iterator[float]) -> list[Edit]:
    """Mix two parents, each the better of some; then drop, add or exchange an edit."""
    parents = [
        population[min(int(next(dice) * len(population)) for _ in range(_TOURNAMENT))]
        for _ in range(2)
    ]
    edits: list[Edit] = []
    both = dict.fromkeys(edit for parent in parents for edit in parent.candidate.edits)
    for edit in sorted(both):
        room = len(edits) < walk.space.most_edits
        if room and next(dice) < 0.5 and walk.space.fits(edit, edits):
            edits.append(edit)
    if edits and next(dice) < 0.5:
        edits.pop(int(next(dice) * len(edits)))
    added = walk.one(dice)
    if len(edits) < walk.space.most_edits and walk.space.fits(added, edits):
        edits.append(added)
    return edits


def _without_each(space: Space, words: Sequence[int]) -> list[tuple[int, Candidate]]:
    """Write the query without each word, to learn how much it matters."""
    found: list[tuple[int, Candidate]] = []
    passage = space.passage
    for word in words if passage else ():
        if passage and 0 <= word < len(passage.words):
            start, end = passage.words[word][0].start, passage.words[word][-1].end
            text = normalize(apply_edits(space.text, [Edit(start, end, space.text[start:end], "")]))
            if text:
                found.append((word, Candidate((), text, 0)))
    return found


def _climb(entry: Tried) -> float:
    return entry.standing.climb
