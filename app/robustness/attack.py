"""One query under one family of perturbations, as far as a search has come with it.

A search plans what to try next and learns how it stands; ``scheduler`` ranks what all attacks
planned together. What is planned never depends on how much budget is left, so that a larger budget
of queries tries all that a smaller one tries and more, and is never weaker.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from app.robustness.goal import Goal, Standing
from app.robustness.space import Candidate, Space


class Tried(NamedTuple):
    """A candidate that has been ranked."""

    candidate: Candidate
    standing: Standing


class Attack(ABC):
    """An attack, whatever its search.

    Attributes:
        space: The texts that may be tried.
        goal: What the attack wants.
        clean: Where the unperturbed query stands.
        most_queries: Candidates that may be tried.
        queries: Candidates tried so far.
        finished: Whether nothing more will be planned.
        worst: The worst candidate so far, the first one of equals; None if none is worse than
            the clean query.
        calls_to_success: How many candidates the first success took; None without one.
        edits_to_success: Fewest edits of those that succeeded; None without one.
        rejected: Candidates that a second encoder found too far from the query.
    """

    def __init__(
        self,
        space: Space,
        goal: Goal,
        clean: Standing,
        most_queries: int,
        *,
        after_success: bool = True,
    ) -> None:
        self.space = space
        self.goal = goal
        self.clean = clean
        self.most_queries = most_queries
        self.queries = self.rejected = 0
        self.finished = False
        self.worst: Tried | None = None
        self.calls_to_success: int | None = None
        self.edits_to_success: int | None = None
        self._after_success = after_success
        self._unsent = False
        self._ranked = 0

    @property
    def complete(self) -> bool:
        """Whether the whole budget was used, or all there is was tried."""
        return self.finished and not self._unsent

    def plan(self) -> list[Candidate]:
        """Choose what to try next; empty, and ``finished`` set, when there is nothing more."""
        candidates = [] if self.finished else self._choose()
        self.queries += len(candidates)
        return candidates

    def learn(
        self,
        tried: Sequence[tuple[Candidate, Standing | None]],
        rejected: Sequence[Candidate] = (),
    ) -> None:
        """Take in the standings of planned candidates; those without one were not reached.

        Args:
            tried: What was planned, in that order.
            rejected: Those of the plan that must not be tried; they count as queries.
        """
        ranked: list[Tried] = []
        self.rejected += len(rejected)
        self._ranked += len(rejected)
        for candidate, standing in tried:
            if standing is None:
                self.queries -= 1
                self._unsent = True
            else:
                self._ranked += 1
                ranked.append(Tried(candidate, standing))
                if candidate.level:
                    self._judge(candidate, standing)
        if self.calls_to_success is not None and not self._after_success:
            self.finished = True
        self._take(ranked)

    def _judge(self, candidate: Candidate, standing: Standing) -> None:
        worst = self.worst.standing if self.worst else self.clean
        if standing.badness > worst.badness:
            self.worst = Tried(candidate, standing)
        if self.goal.reached(standing):
            if self.calls_to_success is None:
                self.calls_to_success = self._ranked
            fewest = self.edits_to_success
            self.edits_to_success = min(candidate.level, fewest or candidate.level)

    @abstractmethod
    def _choose(self) -> list[Candidate]:
        """Plan a round; sets ``finished`` when there will be no other."""

    @abstractmethod
    def _take(self, tried: Sequence[Tried]) -> None:
        """Learn from a round."""
