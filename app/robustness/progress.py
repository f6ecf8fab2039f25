"""How far a probe is, told to whoever waits for it while it runs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.robustness.ranking import Ranker
from app.robustness.victims import Victim

EVERY_S = 0.5
Stage = Literal["clean", "search", "check", "inside", "certify"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a probe is.

    Attributes:
        stage: What is being done.
        elapsed_s: Seconds since it began.
        texts: Texts encoded.
        attacks: Attacks set up so far: one a query, family and seed.
        finished: Those that have nothing more to try.
        tried: Perturbed texts ranked.
        eligible: Queries that are attacked.
        broken: Those that an attack has broken so far. They only become more.
    """

    stage: Stage
    elapsed_s: float
    texts: int
    attacks: int
    finished: int
    tried: int
    eligible: int
    broken: int


Tell = Callable[[Progress], None]


class Reporter:
    """Tells twice a second; called by whatever asks whether to stop.

    Attributes:
        stage: What is being done.
        victims: The queries, once they are known.
        ranker: Counts the texts.
    """

    def __init__(self, tell: Tell | None, began: float) -> None:
        self._tell, self._began = tell, began
        self._told = began
        self.stage: Stage = "clean"
        self.victims: Sequence[Victim] = ()
        self.ranker: Ranker | None = None

    def tick(self) -> None:
        """Tell, if it is time to."""
        if self._tell is None or time.monotonic() < self._told + EVERY_S:
            return
        self._tell(self._now())
        self._told = time.monotonic()

    def _now(self) -> Progress:
        attacked = [victim.attacks.values() for victim in self.victims if victim.attacks]
        attacks = [attack for some in attacked for attack in some]
        return Progress(
            stage=self.stage,
            elapsed_s=time.monotonic() - self._began,
            texts=self.ranker.texts if self.ranker else 0,
            attacks=len(attacks),
            finished=sum(attack.finished for attack in attacks),
            tried=sum(attack.queries for attack in attacks),
            eligible=len(attacked),
            broken=sum(
                any(attack.calls_to_success is not None for attack in some) for some in attacked
            ),
        )
