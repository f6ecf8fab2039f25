"""All live attacks step together, so that their texts share the encoder's batches."""

import time
from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from app.robustness.attack import Attack
from app.robustness.judges import Judge
from app.robustness.ranking import Question, Ranker

# The share of the time that the last checks may be given.
_MOST_RESERVED = 0.5


class Clock:
    """Tells when to stop: time over, canceled, or all texts spent; keeps back what checks need."""

    def __init__(self, deadline: float, cancelled: Callable[[], bool]) -> None:
        self._deadline = self._end = deadline
        self._asked = cancelled
        self.cancelled = False
        self.spent_all = False

    def stopped(self) -> bool:
        """Whether the caller has canceled."""
        self.cancelled = self.cancelled or self._asked()
        return self.cancelled

    def over(self) -> bool:
        """Whether the time is over, or the caller has canceled."""
        return self.stopped() or time.monotonic() >= self._deadline

    def reserve(self, seconds: float) -> None:
        """Keep time back for the last checks."""
        left = max(0.0, self._deadline - time.monotonic())
        self._deadline -= min(seconds, _MOST_RESERVED * left)

    def allow(self, share: float) -> None:
        """Give a later stage this share of all the time that is left."""
        now = time.monotonic()
        self._deadline = now + share * max(0.0, self._end - now)

    def reason(self, seconds: float, total: int | None) -> str:
        """Say why not everything was done."""
        if self.cancelled:
            return "The caller canceled."
        if self.spent_all:
            return f"All {total} texts of budget.total_queries were spent."
        return f"The {seconds:g} seconds were over."


def advance(
    attacks: Sequence[Attack],
    ranker: Ranker,
    clock: Clock,
    cleans: Sequence[NDArray[np.float32]],
    *,
    most_texts: int | None = None,
    judge: Judge | None = None,
) -> None:
    """Let all attacks take their rounds together until none has anything more to try.

    Args:
        attacks: In an order that does not depend on that of the request.
        ranker: Ranks their texts.
        clock: Tells when to stop.
        cleans: The vector of each attack's clean query.
        most_texts: Texts that may be tried in all; None for any number.
        judge: Refuses texts, if one was asked for.
    """
    vector_of = {id(attack): clean for attack, clean in zip(attacks, cleans, strict=True)}
    left = most_texts
    while not clock.over():
        planned = [(a, a.plan()) for a in attacks if not a.finished and not clock.over()]
        if clock.over():
            for attack, candidates in planned:
                attack.learn([(candidate, None) for candidate in candidates])
            return
        # First candidates of all attacks first, so that a deadline cuts all of them alike.
        turns = zip_longest(*([(attack, c) for c in candidates] for attack, candidates in planned))
        entries = [entry for turn in turns for entry in turn if entry]
        if not entries:
            return
        refused = judge.refused(entries) if judge else set[int]()
        asked = [entry for n, entry in enumerate(entries) if n not in refused]
        if left is not None and len(asked) > left:
            clock.spent_all = True
        some = asked if left is None else asked[:left]
        standings = ranker.rank(
            [Question(candidate.text, attack.goal) for attack, candidate in some],
            [vector_of[id(attack)] for attack, _ in some],
        )
        ranked = {(id(attack), c.text): s for (attack, c), s in zip(some, standings, strict=True)}
        out = {(id(entries[n][0]), entries[n][1].text) for n in refused}
        for attack, candidates in planned:
            kept = [c for c in candidates if (id(attack), c.text) not in out]
            attack.learn(
                [(c, ranked.get((id(attack), c.text))) for c in kept],
                [c for c in candidates if (id(attack), c.text) in out],
            )
        if left is not None:
            left -= len(some)
            if clock.spent_all:
                return
