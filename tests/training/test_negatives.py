"""Hard negatives given in files: which are drawn, and which must not count."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.batches import Batch, HybridBatches
from training.config import BatchesSection, CorporaSection
from training.corpus import Bitext, Corpus, CorpusError, load_bitext, select_corpora
from training.negatives import HardNegatives
from training.tokens import TokenTable

PAIRS = 12


def own(path: Path) -> Corpus:
    """Thirty questions; the negatives of each are documents of others, and texts of their own."""
    rows = [
        {
            "query": f"q{number}",
            "document": f"d{number}",
            "lang_query": "fra_Latn",
            "lang_document": "eng_Latn",
            "negatives": [f"d{(number + 1) % 30}", f"n{number}a", f"n{number}b"][: number % 4],
        }
        for number in range(30)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return Corpus(path.stem, "mine", shippable=False, path=str(path))


@pytest.fixture
def bitext(tmp_path: Path) -> Bitext:
    return load_bitext(tmp_path, [own(tmp_path / "faq.parquet")])


def batches_of(bitext: Bitext, **batches: Any) -> HybridBatches:
    """Each text is one token, its index and one."""
    count = len(bitext.texts)
    tokens = TokenTable(np.arange(1, count + 1, dtype=np.int32), np.arange(count + 1), pad_id=0)
    weights = {corpus.name: 1.0 for corpus in bitext.corpora}
    section = BatchesSection(pairs=PAIRS, **{"cross_probability": 1.0, **batches})
    return HybridBatches(
        bitext, tokens, CorporaSection(weights=weights), section, max_tokens=8, seed=1
    )


def texts_of(bitext: Bitext, batch: Batch) -> tuple[list[str], list[str], list[list[str]]]:
    texts = np.array(bitext.texts.to_pylist(), dtype=object)
    assert batch.negatives is not None
    sides = (batch.query, batch.document, batch.negatives)
    query, document, negatives = (texts[side.input_ids[:, 0] - 1].tolist() for side in sides)
    each = len(negatives) // len(query)
    return query, document, [negatives[i * each : (i + 1) * each] for i in range(len(query))]


def test_draw_takes_each_given_negative_once_and_all_in_turn(bitext: Bitext) -> None:
    negatives = HardNegatives(bitext, 2)
    rows = np.array([3, 0, 1, 2])
    texts = bitext.texts.to_pylist()
    seen: set[str] = set()
    for seed in range(30):
        drawn = negatives.draw(rows, None, np.random.default_rng(seed))
        assert drawn.shape == (4, 2)
        assert len(set(drawn[0].tolist())) == 2
        seen |= {texts[index] for index in drawn[0]}
        assert drawn[1].tolist() == [-1, -1]
        assert [texts[drawn[2, 0]], drawn[2, 1]] == ["d2", -1]
        assert {texts[index] for index in drawn[3]} == {"d3", "n2a"}
    assert seen == {"d4", "n3a", "n3b"}


def test_draw_fills_up_with_mined_ones_that_are_not_given_already(bitext: Bitext) -> None:
    negatives = HardNegatives(bitext, 3)
    texts = bitext.texts.to_pylist()
    rows, given = np.array([2, 0]), [texts.index("d3"), texts.index("n2a")]
    mined = np.array([[given[0], 50, 51], [52, -1, 53]])
    drawn = negatives.draw(rows, mined, np.random.default_rng(0))
    assert set(drawn[0, :2].tolist()) == set(given)
    assert drawn[0, 2] == 50
    assert drawn[1].tolist() == [52, 53, -1]


def test_batch_negatives_are_the_given_ones_and_never_a_positive(bitext: Bitext) -> None:
    made = batches_of(bitext, hard_negatives=2)
    for step in range(20):
        batch = made.batch(step)
        queries, documents, negatives = texts_of(bitext, batch)
        masked = set(zip(batch.masked[0].tolist(), batch.masked[1].tolist(), strict=True))
        for row, (query, own_negatives) in enumerate(zip(queries, negatives, strict=True)):
            number = int(query[1:])
            given = {f"d{(number + 1) % 30}", f"n{number}a", f"n{number}b"}
            count = min(2, number % 4)
            # What is given comes first, a random document fills the rest.
            assert set(own_negatives[:count]) <= given
            assert len(set(own_negatives[:count])) == count
            assert all(text.startswith("d") for text in own_negatives[count:])
            # Of all negatives of the batch just those that are the query's document are masked.
            for other, texts in enumerate(negatives):
                for place, text in enumerate(texts):
                    column = PAIRS + other * 2 + place
                    assert ((row, column) in masked) == (text == documents[row])


def test_batch_translation_of_a_positive_counts_nowhere(data: Path, tmp_path: Path) -> None:
    registry = load_bitext(data, select_corpora(["nllb-seed"], shippable=True))
    texts = registry.texts.to_pylist()
    english = [texts[index] for index in registry.text_a[:60]]
    french = [texts[index] for index in registry.text_b[:60]]
    rows = [
        # The negatives are translations of the documents of the next questions.
        {
            "query": f"q{number}",
            "document": english[number],
            "lang_query": "rus_Cyrl",
            "lang_document": "eng_Latn",
            "negatives": [french[(number + 1) % 4], french[number]],
        }
        for number in range(4)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "faq.parquet")
    mine = Corpus("faq", "mine", shippable=False, path=str(tmp_path / "faq.parquet"))
    bitext = load_bitext(data, [*select_corpora(["nllb-seed"], shippable=True), mine])
    assert bitext.skipped["faq"] == {"negative that is a positive": 4}
    made = batches_of(bitext, hard_negatives=1)
    pivot_of = {int(b): int(a) for a, b in zip(bitext.text_a, bitext.text_b, strict=True)}
    hits = 0
    for step in range(30):
        batch = made.batch(step)
        if batch.negatives is None:
            continue
        masked = set(zip(batch.masked[0].tolist(), batch.masked[1].tolist(), strict=True))
        for row, document in enumerate((batch.document.input_ids[:, 0] - 1).tolist()):
            said = pivot_of.get(document, document)
            for place, text in enumerate((batch.negatives.input_ids[:, 0] - 1).tolist()):
                same = pivot_of.get(text, text) == said
                hits += same
                assert not same or (row, PAIRS + place) in masked
    assert hits > 20


def test_batch_pairs_stay_the_same_with_and_without_negatives(bitext: Bitext) -> None:
    with_negatives, plain = batches_of(bitext, hard_negatives=2), batches_of(bitext)
    for step in range(5):
        batch, other = with_negatives.batch(step), plain.batch(step)
        assert other.negatives is None
        assert np.array_equal(batch.query.input_ids, other.query.input_ids)
        assert np.array_equal(batch.document.input_ids, other.document.input_ids)


def test_batch_shards_of_a_real_batch_join_to_it(bitext: Bitext) -> None:
    whole = batches_of(bitext, hard_negatives=2).batch(3)
    for world in (1, 2, 4):
        parts = [
            batches_of(bitext, hard_negatives=2).batch(3).shard(rank, world)
            for rank in range(world)
        ]
        for name in ("query", "document", "negatives"):
            joined = np.concatenate([getattr(part, name).input_ids for part in parts])
            assert np.array_equal(joined, getattr(whole, name).input_ids)


def test_batches_without_anything_to_draw_negatives_from_are_refused(
    data: Path, bitext: Bitext
) -> None:
    plain = load_bitext(data, select_corpora(["nllb-seed"], shippable=True))
    with pytest.raises(CorpusError, match="no file gives any: add a column negatives"):
        batches_of(plain, hard_negatives=2)
    count = len(plain.texts)
    tokens = TokenTable(np.zeros(9 * count, np.int32), np.arange(0, 9 * count + 1, 9), pad_id=0)
    section = BatchesSection(pairs=4, cross_probability=0.0, hard_negatives=2, mine_every=5)
    with pytest.raises(CorpusError, match="crops and neighboring sentences alone"):
        HybridBatches(
            plain,
            tokens,
            CorporaSection(weights={"nllb-seed": 1.0}),
            section,
            max_tokens=8,
            seed=1,
        )
