"""Which pairs a step sees: each epoch all copies of all pairs once, in an order of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from training.classification.pairs import PairSet
from training.classification.synonyms import Neighbors, replace_words
from training.classification.tokenization import PairTokenizer
from training.passes import Block


@dataclass(frozen=True, slots=True)
class PairBatch:
    """The pairs of a step and their classes, shape (pairs,)."""

    block: Block
    labels: Tensor


class PairBatches:
    """The batches of a run; a batch is a function of seed and step alone."""

    def __init__(
        self,
        sets: Sequence[PairSet],
        tokenizer: PairTokenizer,
        pairs: int,
        *,
        seed: int,
        neighbors: Mapping[str, Neighbors] | None = None,
        copies: int = 0,
    ) -> None:
        """Take the training set.

        Args:
            sets: Pairs of each language.
            tokenizer: For pairs.
            pairs: In a batch; the last one of an epoch may have fewer.
            seed: Of order and words.
            neighbors: Of the words of each language whose words are to be replaced.
            copies: That replace each pair; 0: pairs are left as they are.
        """
        self._rows = [
            (pairs.lang, first, second, int(label))
            for pairs in sets
            for first, second, label in zip(pairs.first, pairs.second, pairs.labels, strict=True)
        ]
        self._tokenizer = tokenizer
        self._pairs = pairs
        self._seed = seed
        self._neighbors = dict(neighbors or {}) if copies else {}
        self._copies = max(1, copies)
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return -(-len(self._rows) * self._copies // self._pairs)

    def batch(self, step: int) -> PairBatch:
        """Make the batch of a step, from 0."""
        epoch, place = divmod(step, len(self))
        if epoch != self._epoch:
            rng = np.random.default_rng((self._seed, 0, epoch))
            self._epoch = epoch
            self._order = rng.permutation(len(self._rows) * self._copies)
        chosen = self._order[place * self._pairs : (place + 1) * self._pairs].tolist()
        drawn = [self.pair(number) for number in chosen]
        first, second, labels = zip(*drawn, strict=True)
        return PairBatch(self._tokenizer.encode(first, second), torch.tensor(labels))

    def pair(self, number: int) -> tuple[str, str, int]:
        """Return a copy of a pair; copies of one pair follow one another."""
        row, copy = divmod(number, self._copies)
        lang, first, second, label = self._rows[row]
        if neighbors := self._neighbors.get(lang):
            rng = np.random.default_rng((self._seed, 1, row, copy))
            first, second = (replace_words(text, neighbors, rng) for text in (first, second))
        return first, second, label
