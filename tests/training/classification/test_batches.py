from collections.abc import Callable

import numpy as np
import pytest
import torch

from training.classification.batches import PairBatches
from training.classification.config import BackboneSection
from training.classification.pairs import PairSet
from training.classification.tokenization import PairTokenizer, learned_tokenizer

ROWS = 7


@pytest.fixture(scope="module")
def tokenizer() -> PairTokenizer:
    section = BackboneSection(max_tokens=16, vocab_size=256, romanize=False)
    return learned_tokenizer(section, [f"big {number}" for number in range(ROWS)] * 3)


@pytest.fixture
def make(tokenizer: PairTokenizer) -> Callable[..., PairBatches]:
    def build(pairs: int = 3, seed: int = 0, copies: int = 0) -> PairBatches:
        texts = tuple(f"big {number}" for number in range(ROWS))
        labels = np.arange(ROWS) % 2
        pair_set = PairSet(
            "eng_Latn", texts, texts, texts, labels, ROWS, numbered=False, skipped={}
        )
        neighbors = {"eng_Latn": lambda word: ["large"] if word == "big" else []}
        return PairBatches(
            [pair_set], tokenizer, pairs, seed=seed, neighbors=neighbors, copies=copies
        )

    return build


def test_batches_an_epoch_has_every_pair_once(make: Callable[..., PairBatches]) -> None:
    batches = make(pairs=3)
    assert len(batches) == 3
    sizes = [len(batches.batch(step).labels) for step in range(6)]
    assert sizes == [3, 3, 1, 3, 3, 1]
    ids = [row for step in range(3) for row in batches.batch(step).block.input_ids.tolist()]
    assert len({tuple(row) for row in ids}) == ROWS


def test_batches_order_differs_by_epoch_and_seed(make: Callable[..., PairBatches]) -> None:
    first = make().batch(0).block.input_ids
    assert torch.equal(first, make().batch(0).block.input_ids)
    assert not torch.equal(first, make().batch(3).block.input_ids)
    assert not torch.equal(first, make(seed=1).batch(0).block.input_ids)


def test_batches_a_step_depends_on_no_step_before(make: Callable[..., PairBatches]) -> None:
    whole, resumed = make(), make()
    for step in range(5):
        whole.batch(step)
    assert torch.equal(whole.batch(5).block.input_ids, resumed.batch(5).block.input_ids)


def test_batches_without_copies_leave_words(make: Callable[..., PairBatches]) -> None:
    assert [make().pair(row) for row in range(2)] == [("big 0", "big 0", 0), ("big 1", "big 1", 1)]


def test_batches_copies_replace_pairs_and_keep_labels(make: Callable[..., PairBatches]) -> None:
    batches = make(copies=60)
    assert len(batches) == -(-ROWS * 60 // 3)
    copies = [batches.pair(number) for number in range(60, 120)]
    assert {label for _, _, label in copies} == {1}
    # Both sentences are drawn for themselves.
    assert {(first, second) for first, second, _ in copies} == {
        (first, second) for first in ("big 1", "large 1") for second in ("big 1", "large 1")
    }
    assert [batches.pair(number) for number in range(60, 120)] == copies
