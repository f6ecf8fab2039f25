"""Hard negatives by the encoder under training: the pairs of the next steps -> texts to add.

Every ``mine_every`` steps the queries of the steps that follow are compared with a pool of
documents, drawn as the batches' own are; in a batch of one language the pool is of that language.
Of the top-ranked ones that are no positives, do not translate one, and score clearly below it (else
they may be positives that nobody noted), each query gets a few at random. What it trades away:
queries and documents of all those steps are encoded once more, without gradient, and the pool.
Several processes share the encoding; each ranks for itself.

What was mined is state: it depends on the weights of the step that mined it, so a checkpoint holds
it, and a resumed run goes on with it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import nn

from training import distributed
from training.collation import Ints, Side
from training.meanings import Meanings

MARGIN = 0.05  # a negative scores at most 95% of the positive
TOP = 4  # times as many are drawn from as are wanted
SPARE = 16  # more are looked at, as some of the top ones are no negatives
TEXTS = 256  # encoded at a time
QUERIES = 512  # ranked at a time

Floats = NDArray[np.float32]
EncodeSide = Callable[[Side], Floats]
"""From padded token ids of texts to their unit rows, shape (rows, dim)."""


@dataclass(frozen=True, slots=True)
class Mined:
    """What was mined for some steps.

    Attributes:
        first: The first of the steps.
        texts: Texts for each pair of each step, -1 for none, shape (steps, pairs, n).
    """

    first: int
    texts: NDArray[np.int32]

    def at(self, step: int) -> Ints | None:
        """Return what was mined for a step, shape (pairs, n); None: it was not looked at."""
        place = step - self.first
        return self.texts[place].astype(np.int64) if 0 <= place < len(self.texts) else None

    def state(self) -> dict[str, NDArray[np.integer]]:
        """Return what a checkpoint keeps."""
        return {"first": np.array([self.first]), "texts": self.texts}

    @classmethod
    def of_state(cls, state: Mapping[str, NDArray[np.integer]]) -> "Mined":
        """Take it back out of a checkpoint."""
        return cls(int(state["first"][0]), state["texts"].astype(np.int32))


def encoder_rows(encoder: nn.Module) -> EncodeSide:
    """Make a function of sides out of an encoder; it is not in training mode meanwhile.

    Several processes share the work: all of them must encode the same sides in the same order, each
    encodes a part of the rows, and each gets all of them.
    """
    device = next(encoder.parameters()).device

    def encode(side: Side) -> Floats:
        own, world = slice(None), distributed.world()
        if 1 < world <= (rows := len(side.input_ids)):
            rank = distributed.rank()
            own = slice(rows * rank // world, rows * (rank + 1) // world)
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            ids, mask = (
                torch.from_numpy(np.ascontiguousarray(values[own])).to(device)
                for values in (side.input_ids, side.attention_mask)
            )
            vectors = encoder(ids, mask).float()  # (own rows, dim)
        encoder.train(training)
        shared = vectors if own == slice(None) else distributed.gather_rows(vectors)
        return shared.cpu().numpy()  # (rows, dim)

    return encode


def encode_sorted(collate: Callable[[Ints], Side], lengths: Ints, encode: EncodeSide) -> Floats:
    """Encode texts, those of about one length together.

    Args:
        collate: Makes the padded side of some places.
        lengths: Tokens at each place, shape (n,).
        encode: Encodes a side.

    Returns:
        Unit rows in the order of the places, shape (n, dim).
    """
    order = np.argsort(lengths, kind="stable")
    chunks = [order[start : start + TEXTS] for start in range(0, len(order), TEXTS)]
    vectors = np.concatenate([encode(collate(chunk)) for chunk in chunks])
    found = np.empty_like(vectors)
    found[order] = vectors
    return found


@dataclass(frozen=True, slots=True)
class Ranker:
    """Finds hard negatives of queries in a pool.

    Attributes:
        meanings: Which texts say the same.
        pool: Texts of the pool, each once, shape (pool,).
        vectors: Their unit rows, shape (pool, dim).
        count: Negatives of each query.
    """

    meanings: Meanings
    pool: Ints
    vectors: Floats
    count: int

    def find(
        self, sides: tuple[Ints, Ints], vectors: tuple[Floats, Floats], rng: Generator
    ) -> Ints:
        """Find negatives of pairs.

        Args:
            sides: Text of each query and of each document, each of shape (pairs,).
            vectors: Unit rows of both, each of shape (pairs, dim).
            rng: Draws among the top ones.

        Returns:
            Texts of shape (pairs, count), -1 where there are not as many.

        References:
            Moreira et al. 2024, https://arxiv.org/abs/2407.15831 (a share of the positive's score
            as the limit); Xiong et al. 2020, https://arxiv.org/abs/2007.00808 (by the encoder
            under training, at random among the top).
        """
        found = [
            self._find([side[start : start + QUERIES] for side in sides], queries, documents, rng)
            for start in range(0, len(sides[0]), QUERIES)
            for queries, documents in [[rows[start : start + QUERIES] for rows in vectors]]
        ]
        return np.concatenate(found)

    def _find(self, sides: list[Ints], queries: Floats, documents: Floats, rng: Generator) -> Ints:
        scores = queries @ self.vectors.T  # (queries, pool)
        positive = (queries * documents).sum(axis=1, keepdims=True)  # (queries, 1)
        scores[scores > positive - MARGIN * np.abs(positive)] = -np.inf
        wide = min(TOP * self.count + SPARE, len(self.pool))
        best = np.argpartition(-scores, wide - 1, axis=1)[:, :wide]
        # By score, and by place where two are alike, so that the outcome is one.
        order = np.lexsort((best, -np.take_along_axis(scores, best, axis=1)), axis=1)
        best = np.take_along_axis(best, order, axis=1)  # (queries, wide)
        texts = self.pool[best]
        allowed = np.isfinite(np.take_along_axis(scores, best, axis=1))
        for side in sides:
            said = self.meanings.same(np.repeat(side, wide), texts.ravel())
            allowed &= ~said.reshape(texts.shape)
        allowed &= np.cumsum(allowed, axis=1) <= TOP * self.count
        chances = np.where(allowed, rng.random(allowed.shape), np.inf)
        chosen = np.argsort(chances, axis=1, kind="stable")[:, : self.count]
        drawn = np.full((len(queries), self.count), -1, np.int64)
        drawn[:, : chosen.shape[1]] = np.where(
            np.isfinite(np.take_along_axis(chances, chosen, axis=1)),
            np.take_along_axis(texts, chosen, axis=1),
            -1,
        )
        return drawn
