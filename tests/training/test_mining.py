"""Mined negatives: hard, true, and the same again after resuming."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from training.batches import HybridBatches
from training.collation import Batch, Side
from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext, Corpus, load_bitext, select_corpora
from training.meanings import Meanings
from training.mining import TOP, Mined, Ranker, encode_sorted, encoder_rows
from training.tokens import TokenTable

PAIRS, EVERY = 8, 3
DIM = 16
LAST = 1000  # step of the run


@pytest.fixture(scope="module")
def bitext(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bitext:
    rows = [
        {
            "query": f"question {lang} {answer} {number}",
            "document": f"answer {answer} {number // 2}",
            "lang_query": lang,
            "lang_document": answer,
        }
        for lang, answer in (("fra_Latn",) * 2, ("spa_Latn",) * 2, ("fra_Latn", "eng_Latn"))
        for number in range(40)
    ]
    path = tmp_path_factory.mktemp("own") / "faq.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    mine = Corpus("faq", "mine", shippable=False, path=str(path))
    return load_bitext(data, [*select_corpora(["nllb-seed"], shippable=True), mine])


def make(bitext: Bitext, **batches: Any) -> HybridBatches:
    """Each text is one token, its index and one."""
    count = len(bitext.texts)
    tokens = TokenTable(np.arange(1, count + 1, dtype=np.int32), np.arange(count + 1), pad_id=0)
    section = BatchesSection(
        pairs=PAIRS, hard_negatives=2, mine_every=EVERY, mine_pool=60, **batches
    )
    weights = {corpus.name: 1.0 for corpus in bitext.corpora}
    return HybridBatches(
        bitext, tokens, CorporaSection(weights=weights), section, max_tokens=8, seed=4
    )


def encode_at(step: int, count: int) -> Any:
    """An encoder whose weights depend on the step, as those under training do."""
    table = np.random.default_rng(step).normal(size=(count + 1, DIM)).astype(np.float32)
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    return lambda side: table[side.input_ids[:, 0]]


def batches_of(made: HybridBatches, bitext: Bitext, start: int, stop: int) -> list[Batch]:
    """Go through steps as the loop does."""
    found = []
    for step in range(start, stop):
        if made.must_mine(step):
            made.mine(step, LAST, encode_at(step, len(bitext.texts)))
        found.append(made.batch(step))
    return found


def same(left: Batch, right: Batch) -> bool:
    assert left.negatives is not None
    assert right.negatives is not None
    return np.array_equal(left.negatives.input_ids, right.negatives.input_ids) and all(
        np.array_equal(a, b) for a, b in zip(left.masked, right.masked, strict=True)
    )


def test_find_takes_top_ranked_texts_clearly_below_the_positive() -> None:
    # The query is the first axis; the positive has cosine 0.8 with it.
    scores = np.array([0.99, 0.79, 0.77, 0.7, 0.6, 0.5, 0.1, -0.5])
    vectors = np.stack([scores, np.sqrt(1 - scores**2)], axis=1).astype(np.float32)
    pool = np.arange(10, 18)
    meanings = Meanings(np.array([13]), np.array([0]), 20)  # the query translates text 13
    ranker = Ranker(meanings, pool, vectors, count=1)
    query = np.array([[1.0, 0.0]], np.float32)
    document = np.array([[0.8, 0.6]], np.float32)
    found = {
        int(ranker.find((np.array([0]), np.array([1])), (query, document), rng)[0, 0])
        for rng in map(np.random.default_rng, range(200))
    }
    # Above 0.95 * 0.8 = 0.76 they may be positives; of the rest the TOP best, without text 13.
    assert TOP == 4
    assert found == {14, 15, 16, 17}


def test_find_without_enough_in_the_pool_leaves_places_free() -> None:
    ranker = Ranker(
        Meanings(np.array([5]), np.array([0]), 9), np.array([5, 6]), np.eye(2, dtype=np.float32), 3
    )
    query = np.array([[0.6, 0.2]], np.float32)
    document = np.array([[0.9, 0.9]], np.float32)
    found = ranker.find((np.array([0]), np.array([1])), (query, document), np.random.default_rng(0))
    assert found.tolist() == [[6, -1, -1]]


def test_find_of_many_queries_is_that_of_each_alone() -> None:
    rng = np.random.default_rng(0)
    vectors, queries, documents = (
        rng.normal(size=(n, DIM)).astype(np.float32) for n in (300, 700, 700)
    )
    pool = np.arange(1000, 1300)
    ranker = Ranker(Meanings(np.array([0]), np.array([1]), 1300), pool, vectors, count=4)
    texts = np.arange(700)
    found = ranker.find((texts, texts), (queries, documents), rng)
    scores = queries @ vectors.T
    positive = (queries * documents).sum(axis=1, keepdims=True)
    scores[scores > positive - 0.05 * np.abs(positive)] = -np.inf
    best = np.argsort(-scores, axis=1)[:, : TOP * 4]
    for row in range(700):
        allowed = {int(pool[place]) for place in best[row] if np.isfinite(scores[row, place])}
        taken = [text for text in found[row].tolist() if text >= 0]
        assert set(taken) <= allowed
        assert len(taken) == len(set(taken)) == min(4, len(allowed))


def test_mine_negatives_are_of_the_pools_language_and_never_say_the_same(bitext: Bitext) -> None:
    made = make(bitext, cross_probability=0.5)
    meanings = Meanings(bitext.text_a, bitext.text_b, len(bitext.texts))
    langs = np.zeros(len(bitext.texts), np.int64)
    langs[bitext.text_a], langs[bitext.text_b] = bitext.lang_a, bitext.lang_b
    kinds = set()
    for batch in batches_of(made, bitext, 0, 30):
        if batch.negatives is None:
            continue
        kinds.add(batch.kind)
        queries, documents = batch.query_texts.repeat(2), batch.document_texts.repeat(2)
        negatives = batch.negatives.input_ids[:, 0] - 1
        masked = set(zip(batch.masked[0].tolist(), batch.masked[1].tolist(), strict=True))
        own = meanings.same(queries, negatives) | meanings.same(documents, negatives)
        for place in np.flatnonzero(own):  # a random one, where the pool had none
            assert (place // 2, PAIRS + place) in masked
        if batch.kind == "mono":
            assert len({*langs[negatives].tolist(), *langs[documents].tolist()}) == 1
    assert kinds == {"cross", "mono"}


def test_mine_again_with_the_same_weights_gives_the_same(bitext: Bitext) -> None:
    first = batches_of(make(bitext, cross_probability=1.0), bitext, 0, 7)
    second = batches_of(make(bitext, cross_probability=1.0), bitext, 0, 7)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))


def test_mine_resumed_within_a_window_goes_on_as_if_nothing_had_been(bitext: Bitext) -> None:
    whole = batches_of(make(bitext, cross_probability=1.0), bitext, 0, 9)
    before = make(bitext, cross_probability=1.0)
    batches_of(before, bitext, 0, 4)  # mined at 0 and at 3
    after = make(bitext, cross_probability=1.0)
    after.load_mined(before.mined_state())
    assert not after.must_mine(5)
    # What was mined before the kill, not anew by the weights of step 4, which would differ.
    assert all(same(a, b) for a, b in zip(batches_of(after, bitext, 4, 9), whole[4:], strict=True))
    anew = make(bitext, cross_probability=1.0)
    assert not same(batches_of(anew, bitext, 4, 5)[0], whole[4])


def test_mine_covers_the_steps_to_the_next_multiple_and_no_step_beyond_the_last(
    bitext: Bitext,
) -> None:
    made = make(bitext, cross_probability=1.0)
    assert made.must_mine(4)
    made.mine(4, 100, encode_at(4, len(bitext.texts)))
    assert [made.must_mine(step) for step in (3, 4, 5, 6)] == [True, False, False, True]
    assert (made.ready_until(4, 100), made.ready_until(6, 100), made.ready_until(6, 8)) == (6, 9, 8)
    made.mine(6, 7, encode_at(6, len(bitext.texts)))
    assert made.mined_state()["texts"].shape == (1, PAIRS, 2)


def test_batch_before_mining_is_refused(bitext: Bitext) -> None:
    with pytest.raises(RuntimeError, match="call mine first"):
        make(bitext, cross_probability=1.0).batch(0)


def test_mined_state_comes_back_as_it_was() -> None:
    mined = Mined(6, np.arange(12, dtype=np.int32).reshape(2, 3, 2))
    again = Mined.of_state(mined.state())
    assert again.first == 6
    assert np.array_equal(again.texts, mined.texts)
    found = again.at(7)
    assert found is not None
    assert np.array_equal(found, mined.texts[1])
    assert again.at(5) is again.at(8) is None


def test_encode_sorted_keeps_the_order_of_the_texts() -> None:
    lengths = np.random.default_rng(0).integers(1, 9, 700)
    widths = []

    def collate(places: np.ndarray) -> Side:
        widths.append(lengths[places].max())
        ids = np.repeat(places[:, None], lengths[places].max(), axis=1)
        return Side(ids, np.ones_like(ids))

    found = encode_sorted(collate, lengths, lambda side: side.input_ids[:, :1].astype(np.float32))
    assert np.array_equal(found[:, 0], np.arange(700))
    assert widths == sorted(widths)


def test_encoder_rows_encodes_without_dropout_and_leaves_the_mode_alone() -> None:
    class Dropping(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(20, DIM)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return torch.dropout(self.table(ids[:, 0]), 0.5, self.training)

    encoder = Dropping().train()
    side = Side(np.array([[3, 0], [7, 1]]), np.ones((2, 2), np.int64))
    found = encoder_rows(encoder)(side)
    assert np.array_equal(found, encoder.table.weight[[3, 7]].detach().numpy())
    assert encoder.training
