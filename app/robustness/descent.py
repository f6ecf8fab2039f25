"""The worst noise on token embeddings (PGD), and random noise of the same size to compare with.

An upper bound on what any attacker of texts could do within the same ball, not a text. A longer
run begins with a shorter one: step sizes depend on the step's number alone and the best point of
all is kept, so more steps or restarts never lower the success.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.aim import WON, Aim
from app.robustness.ball import Ball
from app.robustness.inside import Array, HaltedError, TokenRow, same_lengths
from app.robustness.smoothing import Lens, movable, normal_numbers, unit_rows


@dataclass(frozen=True, slots=True)
class Descent:
    """How hard to try.

    Attributes:
        steps: Gradient steps of each restart.
        restarts: Starts: the first from the text itself, the others from random noise.
        seed: Chooses the random noise.
        keep_going: Search on after a success, for the worst point rather than the first.
    """

    steps: int = 10
    restarts: int = 3
    seed: int = 0
    keep_going: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.restarts < 1:
            raise InvalidInputError(
                f"Got {self.steps} steps and {self.restarts} restarts; expected at least 1 each."
            )


@dataclass(slots=True)
class Pushed:
    """What became of one text.

    Attributes:
        success: Whether the aim was reached within the ball.
        loss: The least loss found; below 0 for a success.
        clean_loss: That of the text itself.
        vector: Unit vector at the least loss, to search for; shape (dim,), or (0,) for a text that
            was stopped before it was looked at.
        shift: How far it is from the clean vector: the unit of ``margin``.
        size: Frobenius norm of the noise there, in mean token norms.
        calls: Texts sent through the graph until the first success, or until the end.
        complete: Whether the whole budget was used, or a success ended the search.
    """

    success: bool
    loss: float
    clean_loss: float
    vector: NDArray[np.float32]
    shift: float
    size: float
    calls: int
    complete: bool = True


def push(
    lens: Lens,
    rows: Sequence[TokenRow],
    aim: Aim,
    ball: Ball,
    descent: Descent | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Pushed]:
    """Search for the worst noise on each text's embeddings by projected gradient descent.

    Each step asks for one gradient; the documents it pulls at are those of the step before.

    Args:
        lens: The encoder, plain or smoothed. Through a smoothed one the gradient is averaged over
            the noise that the search is served with.
        rows: The texts' tokens; only those between ``begin`` and ``end`` move.
        aim: What to reach, for the same texts.
        ball: Where the noise may be.
        descent: How hard to try.
        stop: Asked before each run of a graph; what is found until then is returned as not
            complete.

    Returns:
        A result for each text, in their order.

    References:
        Madry et al. 2018, https://arxiv.org/abs/1706.06083.
    """
    chosen = descent or Descent()

    def run(state: "_State") -> None:
        for restart in range(chosen.restarts):
            if not _descend(state, ball, chosen, restart):
                return

    return _run(lens, rows, aim, run, stop)


def _descend(state: "_State", ball: Ball, chosen: Descent, restart: int) -> bool:
    """Make one restart's steps; tells whether any text is left to go on with."""
    radius = np.float32(state.radius(ball))
    noise, cotangents = np.zeros_like(state.clean), state.cotangents.copy()
    if restart:
        raw = state.random(chosen.seed, f"restart {restart}")
        noise = ball.unit(raw) * radius * state.shares(chosen.seed, f"restart {restart}")
    for step in range(chosen.steps + 1):
        live = state.live(keep_going=chosen.keep_going)
        if not live.size:
            return False
        gradients = state.look(live, noise[live], cotangents)
        if step < chosen.steps:
            ahead = ball.unit(gradients) * np.float32(1.0 / math.sqrt(step + 1.0))
            noise[live] = ball.project(noise[live] - ahead * radius, state.radius(ball))
    return True


def scatter(
    lens: Lens,
    rows: Sequence[TokenRow],
    aim: Aim,
    ball: Ball,
    descent: Descent | None = None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Pushed]:
    """Try random noise on the surface of the ball, as often as ``push`` may look: its control.

    Args:
        lens: The encoder.
        rows: The texts' tokens.
        aim: What to reach.
        ball: Where the noise may be.
        descent: Gives the number of tries, restarts times (steps + 1), and the seed.
        stop: Asked before each run of a graph.
    """
    chosen = descent or Descent()

    def run(state: "_State") -> None:
        for number in range(chosen.restarts * (chosen.steps + 1)):
            live = state.live(keep_going=chosen.keep_going)
            if not live.size:
                return
            raw = state.random(chosen.seed, f"control {number}")[live]
            state.look(live, ball.unit(raw) * np.float32(state.radius(ball)), None)

    return _run(lens, rows, aim, run, stop)


def _run(
    lens: Lens,
    rows: Sequence[TokenRow],
    aim: Aim,
    search: Callable[["_State"], None],
    stop: Callable[[], bool],
) -> list[Pushed]:
    """Search for texts of one length at a time, so that none is padded, until told to stop."""
    states: list[_State] = []
    with lens.inside.until(stop), contextlib.suppress(HaltedError):
        for group in same_lengths(rows, lens.inside.run_tokens):
            states.append(_State(lens, [rows[place] for place in group], aim, group))
            search(states[-1])
            states[-1].whole = True
    found = {place: one for state in states for place, one in state.told()}
    return [found.get(place) or _unreached() for place in range(len(rows))]


def _unreached() -> Pushed:
    """What is said of a text that was not even looked at."""
    nowhere = np.zeros(0, dtype=np.float32)
    return Pushed(False, math.inf, math.inf, nowhere, 0.0, 0.0, 0, complete=False)


class _State:
    """Texts of one length on their way.

    Attributes:
        clean: Their embeddings, shape (texts, seq, hidden).
        cotangents: Gradients of the loss at their clean vectors, shape (texts, dim).
        results: What was found so far.
        whole: Whether the search came to its end.
    """

    def __init__(
        self, lens: Lens, rows: list[TokenRow], aim: Aim, which: NDArray[np.int64]
    ) -> None:
        self._lens, self._rows, self._aim, self._which = lens, rows, aim, which
        self.whole = False
        self.clean = lens.inside.embed(rows)
        self._may = movable(rows)
        vectors = lens.vectors(rows, self.clean)
        self._vectors = unit_rows(vectors)
        losses, self.cotangents = aim.look(vectors, which)
        self.results = [
            Pushed(bool(loss < WON), float(loss), float(loss), vector, 0.0, 0.0, 0)
            for loss, vector in zip(losses, self._vectors, strict=True)
        ]

    def radius(self, ball: Ball) -> float:
        """The ball's radius in units of the embeddings."""
        return ball.epsilon * self._lens.inside.mean_norm

    def live(self, *, keep_going: bool) -> NDArray[np.intp]:
        """Places of the texts to go on with."""
        return np.flatnonzero([keep_going or not result.success for result in self.results])

    def told(self) -> Iterator[tuple[int, Pushed]]:
        """Results by their places; those not done are marked so."""
        for place, result in zip(self._which.tolist(), self.results, strict=True):
            result.complete = self.whole or result.success
            yield place, result

    def random(self, seed: int, purpose: str) -> Array:
        """Normal numbers for each text's own tokens, shape (texts, seq, hidden)."""
        shape = self.clean.shape[1:]
        drawn = [
            normal_numbers(seed, purpose, row).standard_normal(shape, np.float32)
            for row in self._rows
        ]
        return np.array(drawn) * self._may

    def shares(self, seed: int, purpose: str) -> Array:
        """A number from 0 to 1 for each text, shape (texts, 1, 1)."""
        drawn = [normal_numbers(seed, f"{purpose} size", row).random() for row in self._rows]
        return np.array(drawn, dtype=np.float32)[:, None, None]

    def look(
        self, live: NDArray[np.intp], noise: Array, cotangents: NDArray[np.float32] | None
    ) -> Array:
        """Measure texts with noise; with cotangents, renew them and return the gradients."""
        rows = [self._rows[place] for place in live]
        noisy = self.clean[live] + noise
        gradients = noise
        if cotangents is None:
            vectors = self._lens.vectors(rows, noisy)
            losses, _ = self._aim.look(vectors, self._which[live])
        else:
            vectors, gradients = self._lens.gradients(rows, noisy, cotangents[live])
            losses, cotangents[live] = self._aim.look(vectors, self._which[live])
        sizes = np.sqrt((noise.astype(np.float64) ** 2).sum(axis=(1, 2)))
        for at, (place, unit) in enumerate(zip(live, unit_rows(vectors), strict=True)):
            result = self.results[place]
            result.calls += 0 if result.success else self._lens.cost
            if losses[at] < result.loss:
                result.loss, result.vector = float(losses[at]), unit
                result.size = float(sizes[at] / self._lens.inside.mean_norm)
                result.shift = float(np.linalg.norm(unit - self._vectors[place]))
                result.success = result.success or result.loss < WON
        return gradients
