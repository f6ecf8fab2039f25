"""Metrics by query agree with ir-measures, which wraps NIST's trec_eval."""

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, P, R, nDCG
from numpy.typing import NDArray

from training.xtyntegra.measure import METRICS, rank_cell
from training.xtyntegra.task import Cell, Pool

SAME = {"accuracy@1": P @ 1, "recall@10": R @ 10, "mrr": RR, "ndcg@10": nDCG @ 10, "map": AP}
DOCUMENTS = 300
QUERIES = 40


def spread_scores(seed: int) -> NDArray[np.float32]:
    """Scores far enough apart that none are a tie, which both libraries break their own way."""
    generator = np.random.default_rng(seed)
    orders = np.stack([generator.permutation(DOCUMENTS) for _ in range(QUERIES)])
    return np.array(orders / 512, dtype=np.float32)


def random_cell(most_relevant: int, excluded: int, seed: int) -> Cell:
    """A cell whose queries have 1 to ``most_relevant`` right documents."""
    generator = np.random.default_rng(seed)
    ids = [f"d{row}" for row in range(DOCUMENTS)]
    relevant, out = [], []
    for _ in range(QUERIES):
        rows = generator.permutation(DOCUMENTS)
        relevant.append(rows[: generator.integers(1, most_relevant, endpoint=True)])
        out.append(rows[DOCUMENTS - excluded :])
    names = [f"q{row}" for row in range(QUERIES)]
    pool = Pool("p", ids, ["eng_Latn"] * DOCUMENTS, ids)
    return Cell("own", "mono", "eng_Latn", "eng_Latn", names, names, pool, relevant, out)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("most_relevant", "excluded"), [(1, 0), (1, 5), (11, 0), (40, 7)])
def test_rank_cell_agrees_with_ir_measures(most_relevant: int, excluded: int, seed: int) -> None:
    scores = spread_scores(seed)
    cell = random_cell(most_relevant, excluded, seed)
    assert cell.excluded is not None
    found = rank_cell(scores, np.eye(DOCUMENTS, dtype=np.float32), cell)
    run = {
        name: {f"d{row}": float(scores[q, row]) for row in range(DOCUMENTS) if row not in out}
        for q, (name, out) in enumerate(zip(cell.query_ids, map(set, cell.excluded), strict=True))
    }
    qrels = {
        name: {f"d{row}": 1 for row in rows}
        for name, rows in zip(cell.query_ids, cell.relevant, strict=True)
    }
    theirs = {
        (result.measure, result.query_id): result.value
        for result in ir_measures.iter_calc(list(SAME.values()), qrels, run)
    }
    assert set(METRICS) == set(SAME)
    for name, measure in SAME.items():
        expected = [theirs[measure, query] for query in cell.query_ids]
        assert np.abs(found.values[name] - expected).max() <= 1e-9, name
    assert 0 < found.values["ndcg@10"].mean() < 1  # Not the same by being nothing at all
