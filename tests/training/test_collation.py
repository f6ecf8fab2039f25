import numpy as np
import pytest

from training.collation import Batch, Side, equal_pairs, false_negatives


def side(rows: int, first: int) -> Side:
    ids = first + np.arange(rows * 3).reshape(rows, 3)
    return Side(ids, (ids % 3 < 2).astype(np.int64))


def batch(pairs: int, negatives: int) -> Batch:
    return Batch(
        kind="cross",
        query=side(pairs, 0),
        document=side(pairs, 1000),
        pivots=np.arange(pairs),
        masked=(np.array([0, 3]), np.array([3, pairs + 1])),
        negatives=side(pairs * negatives, 2000),
        noisy=side(pairs, 3000),
        query_texts=np.arange(pairs) + 7,
        document_texts=np.arange(pairs) - 1,
    )


@pytest.mark.parametrize("world", [1, 2, 4, 7])
def test_shard_parts_of_all_processes_join_to_the_batch(world: int) -> None:
    whole = batch(10, 2)
    parts = [whole.shard(rank, world) for rank in range(world)]
    for name in ("query", "document", "negatives", "noisy"):
        for array in ("input_ids", "attention_mask"):
            joined = np.concatenate([getattr(getattr(part, name), array) for part in parts])
            assert np.array_equal(joined, getattr(getattr(whole, name), array))
    for name in ("query_texts", "document_texts"):
        joined = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(joined, getattr(whole, name))
    for part in parts:
        assert part.pivots is whole.pivots
        assert part.masked is whole.masked
        # Each query keeps its own negatives.
        assert part.negatives is not None
        assert len(part.negatives.input_ids) == 2 * len(part.query.input_ids)
    sizes = [len(part.query.input_ids) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("rank", "world"), [(-1, 2), (2, 2), (0, 11)])
def test_shard_process_that_cannot_be_is_refused(rank: int, world: int) -> None:
    with pytest.raises(ValueError, match="expected a rank"):
        batch(10, 1).shard(rank, world)


def test_equal_pairs_are_those_of_the_full_comparison() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 8, 30), rng.integers(0, 8, 20)
    found = set(zip(*(part.tolist() for part in equal_pairs(left, right)), strict=True))
    expected = np.nonzero(left[:, None] == right[None, :])
    assert found == set(zip(*(part.tolist() for part in expected), strict=True))


def test_false_negatives_hand_computed() -> None:
    query_texts = np.array([1, 2, 3, 1])
    document_texts = np.array([5, 6, 5, 8])
    query_pivots = np.array([10, 20, 30, 40])
    document_pivots = np.array([10, 30, 50, 40])
    rows, columns = false_negatives(query_texts, document_texts, query_pivots, document_pivots)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [
        (0, 2),  # documents 0 and 2 are one text
        (0, 3),  # queries 0 and 3 are one text
        (2, 0),
        (2, 1),  # query 2 and document 1 translate one text
        (3, 0),
    ]
