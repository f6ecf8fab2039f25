"""Distillation from a frozen English teacher: of pooled vectors and of token states.

Pooled: both sides of a pair are drawn to the teacher's vector of the English. The teacher knows
what is similar in English; bitext carries that to other languages, so that a query lands near
documents that are about the same and not only near its own translation. Of token states: both sides
are drawn to the teacher's states of the English, token by token, along a transport plan.

What both trade away: the student can be no better than the teacher on English, and only pairs with
an English side count. Whatever is in another language, the teacher never sees.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that all torch code uses
from numpy.typing import NDArray
from torch import Tensor

from training import distributed
from training.batches import Batch
from training.config import DistillationSection
from training.corpus import Bitext, CorpusError
from training.model import Encoder, StaticEncoder
from training.transport import PlanOf, plan_solver, transport_costs

ENGLISH = "eng_Latn"
StatesOf = Callable[[Sequence[str]], tuple[Tensor, Tensor]]
"""From English texts to token states (texts, seq, dim) and the mask of real tokens (texts, seq)."""


@dataclass(frozen=True, slots=True)
class TeacherVectors:
    """The teacher's vectors of some texts.

    Attributes:
        vectors: Unit rows, shape (encoded, dim).
        row_of: Row of each text of the corpora, or -1, shape (texts,).
    """

    vectors: Tensor
    row_of: NDArray[np.int64]

    def find(self, texts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Look texts up.

        Returns:
            Positions in ``texts`` of those that were encoded, shape (found,), and their vectors,
            shape (found, dim).
        """
        rows = self.row_of[texts]
        positions = np.flatnonzero(rows >= 0)
        return torch.from_numpy(positions), self.vectors[torch.from_numpy(rows[positions])]


def pooled_distillation(sides: Sequence[Tensor], positions: Tensor, targets: Tensor) -> Tensor:
    """Sum over the sides of the mean of 1 - cos(student, teacher).

    For unit vectors this is half the squared distance that the source minimizes.

    Args:
        sides: Unit rows of each side of the batch, shape (pairs, dim) each.
        positions: Pairs whose English side the teacher has encoded, shape (found,).
        targets: The teacher's unit rows of them, shape (found, dim).

    Returns:
        A scalar; 0 if there are no targets.

    References:
        Reimers and Gurevych 2020, equation 1, https://arxiv.org/abs/2004.09813.
    """
    if not len(positions):
        return sides[0].new_zeros(())
    losses = [1.0 - (side[positions] * targets).sum(dim=1).mean() for side in sides]
    return torch.stack(losses).sum()


@dataclass(frozen=True, slots=True)
class TransportLoss:
    """The transport cost of one batch; ``Passes`` takes it as ``states_loss``.

    Summed over the sides of a pair, averaged over the pairs that take part (those of all processes)
    and weighted. Hard negatives and queries with typos do not take part.

    Attributes:
        states: The teacher's token states, shape (own, m, dim).
        mask: Its real tokens, shape (own, m).
        places: Row of ``states`` of each pair of this process, or -1, shape (pairs,).
        input_ids: Of each of the two sides, shape (pairs, seq).
        real: Tokens of each side that are neither padding nor special, shape (pairs, seq).
        factor: Weight of a pair's cost.
        plan_of: The solver.
        table: A static encoder's rows, which are its token states; None: states are handed over.
    """

    states: Tensor
    mask: Tensor
    places: Tensor
    input_ids: Sequence[Tensor]
    real: Sequence[Tensor]
    factor: float
    plan_of: PlanOf
    table: Tensor | None = None

    def __call__(self, block: int, rows: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """Return the share of some rows of a block, a scalar."""
        if block >= len(self.real):
            return states.new_zeros(())
        places = self.places[rows]
        taught = (places >= 0).nonzero()[:, 0]
        if not len(taught):
            return states.new_zeros(())
        places, rows = places[taught], rows[taught]
        real = self.real[block][rows]  # (taught, seq)
        if self.table is None:
            own = states[taught]
            real = real[:, : own.shape[1]] * mask[taught]
        else:
            width = int(real.any(dim=0).nonzero().amax()) + 1 if bool(real.any()) else 1
            real = real[:, :width]
            # Sparse, as the gradient of a table is; a dense one is as large as the vocabulary.
            own = F.embedding(self.input_ids[block][rows, :width], self.table, sparse=True)
        costs = transport_costs(
            self.states[places], self.mask[places], own, real, self.plan_of
        )  # (taught,)
        return self.factor * costs.sum()


class TransportDistillation:
    """Asks the teacher about each batch; ``Trainer`` takes it as ``states_loss_of``.

    The teacher runs at each step, on ``distillation.transport_pairs`` of the pairs: token states of
    all texts would not fit into memory, and a cache of some would make a step depend on those
    before it.

    Args:
        states_of: The teacher.
        bitext: What the batches are drawn from.
        section: Of the run.
        encoder: The student.
        special_ids: Tokens of the student's that stand for no text.

    Raises:
        CorpusError: If no text of the corpora is English.
    """

    def __init__(
        self,
        states_of: StatesOf,
        bitext: Bitext,
        section: DistillationSection,
        encoder: Encoder,
        special_ids: Sequence[int] = (),
    ) -> None:
        self._states_of = states_of
        self._texts = bitext.texts
        self._english = english_texts(bitext)
        self._section = section
        self._encoder = encoder
        self._special_ids = torch.tensor(list(special_ids), dtype=torch.int64)
        self._plan_of = plan_solver(section.solver, section.regularization, section.iterations)
        if not self._english.any():
            raise CorpusError(
                "distillation.transport: no text of the corpora is in eng_Latn, the teacher's "
                "language; expected pairs with English, or set it to 0"
            )

    def __call__(self, batch: Batch) -> TransportLoss | None:
        """Ask the teacher about this process' part of a batch; None if no pair takes part."""
        if batch.kind != "cross":
            return None
        english = english_sides(batch, self._english)  # (pairs of all processes,)
        taught = spread(np.flatnonzero(english >= 0), self._section.transport_pairs)
        if not len(taught):
            return None
        device = next(self._encoder.parameters()).device
        pairs = len(english)
        start = pairs * distributed.rank() // distributed.world()
        own = taught[(taught >= start) & (taught < start + len(batch.query.input_ids))]
        places = torch.full((len(batch.query.input_ids),), -1)
        places[torch.from_numpy(own - start)] = torch.arange(len(own))
        states, mask = self._ask(english[own])
        sides = (batch.query, batch.document)
        ids = [torch.from_numpy(np.ascontiguousarray(side.input_ids)) for side in sides]
        real = [
            torch.from_numpy(np.ascontiguousarray(side.attention_mask)).bool()
            & ~torch.isin(block, self._special_ids)
            for side, block in zip(sides, ids, strict=True)
        ]
        encoder = self._encoder
        return TransportLoss(
            states=states.to(device),
            mask=mask.to(device),
            places=places.to(device),
            input_ids=[block.to(device) for block in ids],
            real=[block.to(device) for block in real],
            factor=self._section.transport / len(taught),
            plan_of=self._plan_of,
            table=encoder.embeddings.weight if isinstance(encoder, StaticEncoder) else None,
        )

    def _ask(self, texts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        if not len(texts):
            return torch.zeros(0, 1, self._encoder.state_dim), torch.zeros(0, 1)
        return self._states_of(self._texts.take(texts).to_pylist())


def english_texts(bitext: Bitext) -> NDArray[np.bool_]:
    """Mark the texts that stand as English in some pair, shape (texts,)."""
    english = np.zeros(len(bitext.texts), bool)
    if ENGLISH in bitext.langs:
        index = bitext.langs.index(ENGLISH)
        english[bitext.text_a[bitext.lang_a == index]] = True
        english[bitext.text_b[bitext.lang_b == index]] = True
    return english


def english_sides(batch: Batch, english: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Find the English of each pair: its pivot, else one of its sides.

    Args:
        batch: Whole or part; its pivots are those of the whole.
        english: Which texts are, shape (texts,).

    Returns:
        Index of the text, or -1, shape (pairs of all processes,).
    """
    found = np.full(len(batch.pivots), -1, np.int64)
    for texts in (batch.pivots, *batch.sources):
        if len(texts):
            usable = (found < 0) & (texts >= 0)
            usable &= english[np.maximum(texts, 0)]
            found = np.where(usable, texts, found)
    return found


def spread(positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Choose ``count`` of the positions at even distances, so that all processes get some."""
    if len(positions) <= count:
        return positions
    return positions[np.arange(count) * len(positions) // count]
