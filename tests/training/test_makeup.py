import numpy as np
import pyarrow as pa
import pytest

from training.collation import Batch, Side
from training.corpus import CORPORA, Bitext
from training.makeup import count_makeup, epoch_lines
from training.pairing import Use


@pytest.fixture
def bitext() -> Bitext:
    """An English text with a Swahili and a French translation, in two corpora."""
    return Bitext(
        texts=pa.array(["one", "moja", "un"], pa.large_string()),
        langs=("eng_Latn", "swh_Latn", "fra_Latn"),
        corpora=(CORPORA["nllb-seed"], CORPORA["ntrex128"]),
        text_a=np.array([0, 0], np.int32),
        text_b=np.array([1, 2], np.int32),
        lang_a=np.array([0, 0], np.int16),
        lang_b=np.array([1, 2], np.int16),
        corpus=np.array([0, 1], np.int8),
    )


def side(*lengths: int) -> Side:
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return Side(mask * 7, mask)


def batch(kind, queries, documents, masked=((), ()), **more) -> Batch:
    return Batch(
        kind=kind,
        query=side(*[2] * len(queries)),
        document=side(*range(1, len(documents) + 1)),
        pivots=np.zeros(len(queries), np.int64),
        masked=(np.array(masked[0], np.int64), np.array(masked[1], np.int64)),
        sources=(np.array(queries), np.array(documents)),
        **more,
    )


def test_count_makeup_hand_computed(bitext: Bitext) -> None:
    batches = [
        batch("cross", [1, 0, 2, 1], [0, 2, 0, 0], masked=((0, 3), (3, 0))),
        batch("mono", [1, 1, 1, 1], [1, 1, 1, 1]),
    ]
    found = count_makeup(batches, bitext)
    assert found.kinds == {"cross": 1, "mono": 1}
    assert found.corpora == {"nllb-seed": 6, "ntrex128": 2}
    assert found.languages == {
        ("swh_Latn", "eng_Latn"): 2,
        ("eng_Latn", "fra_Latn"): 1,
        ("fra_Latn", "eng_Latn"): 1,
        ("swh_Latn", "swh_Latn"): 4,
    }
    # Queries of 2, 2, 2, 2 and documents of 1, 2, 3, 4 tokens in a block of 4 columns.
    assert found.lengths.tolist() == [2, 2, 2, 2, 1, 2, 3, 4] * 2
    assert found.widths.tolist() == [4, 4]
    assert found.padding == pytest.approx(6 / 24)
    assert found.masked == pytest.approx(2 / 24)
    assert found.negatives == 0


def test_count_makeup_hard_negatives_of_a_query(bitext: Bitext) -> None:
    masked = ((0, 1, 1), (1, 2, 5))  # but the first of these are hard negatives
    one = batch("cross", [1, 2], [0, 0], masked=masked, negatives=side(1, 1, 1, 5))
    found = count_makeup([one], bitext)
    assert found.negatives == 2
    assert found.masked == 0.5
    assert found.lengths.max() == found.widths.max() == 5
    assert "negatives     2 hard ones a query\n" in "\n".join(found.lines({}))
    stood_in = (
        "negatives     2 hard ones a query; texts drawn at random stand for those to be mined"
    )
    assert stood_in in found.lines({}, mined=False)[-2]


def test_lines_tell_shares_and_skipped_rows(bitext: Bitext) -> None:
    found = count_makeup([batch("cross", [1, 0, 2, 1], [0, 2, 0, 0])], bitext)
    text = "\n".join(found.lines({"nllb-seed": {"empty side": 1200, "null": 2}}))
    assert "cross-lingual 100.0%, in one language 0.0%" in text
    assert "nllb-seed 50.0%, ntrex128 50.0%" in text
    assert "swh_Latn>eng_Latn 50.0%" in text
    assert "mean 2.2, p95 4, max 4" in text
    assert "nllb-seed: 1,200 empty side, 2 null" in text
    assert "skipped rows  none" in "\n".join(found.lines({}))


def test_epoch_lines_tell_each_corpus_with_its_largest_and_smallest_bucket() -> None:
    uses = [
        Use("cross", "nllb-seed", "eng_Latn-ban_Latn", 1200, 300),
        Use("cross", "nllb-seed", "eng_Latn-swh_Latn", 10, 430),
        Use("cross", "nllb-seed", "eng_Latn-grn_Latn", 90, 80),
        Use("cross", "faq", "eng_Latn-fra_Latn", 8, 20),
        Use("mono", "faq", "fra_Latn", 8, 0),
    ]
    assert epoch_lines(uses) == [
        "  cross-lingual batches",
        "    nllb-seed  0.62; largest eng_Latn-ban_Latn (1,200) 0.25; "
        "smallest eng_Latn-swh_Latn (10) 43",
        "    faq        2.50",
    ]
