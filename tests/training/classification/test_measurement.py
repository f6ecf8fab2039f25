from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from training.classification.measurement import (
    diagonal,
    generalized_cells,
    measure,
    standard_cells,
)
from training.classification.pairs import PairsError, PairSet

LANGS = ("eng_Latn", "deu_Latn", "fra_Latn")
COUNT = 200


def pair_set(lang: str, ids: Sequence[int] = range(COUNT), **changes: Any) -> PairSet:
    """Pairs whose sentences name language and number; the label is whether that is odd."""
    fields: dict[str, Any] = {
        "lang": lang,
        "ids": tuple(map(str, ids)),
        "first": tuple(f"{lang} {number}" for number in ids),
        "second": tuple(f"{lang} {number}" for number in ids),
        "labels": np.array([number % 2 for number in ids]),
        "rows": len(ids),
        "numbered": False,
        "skipped": {},
    }
    return PairSet(**(fields | changes))


def sets_of(*others: PairSet) -> dict[str, PairSet]:
    return {pairs.lang: pairs for pairs in (pair_set("eng_Latn"), *others)}


def number_of(text: str) -> int:
    return int(text.split()[1])


def right_in_english(first: Sequence[str], second: Sequence[str]) -> NDArray[np.int64]:
    """Knows the numbers of English sentences alone; 0 for all else."""
    assert [number_of(a) for a in first] == [number_of(b) for b in second]
    return np.array(
        [number_of(text) % 2 if text.startswith("eng") else 0 for text in first], np.int64
    )


def test_generalized_cells_are_all_ordered_pairs_of_languages() -> None:
    sets = {lang: pair_set(lang) for lang in LANGS}
    assert len(generalized_cells(sets)) == 9
    assert ("fra_Latn", "deu_Latn") in generalized_cells(sets)


def test_measure_generalized_diagonal_is_the_standard_setting() -> None:
    sets = {lang: pair_set(lang) for lang in LANGS}
    standard = measure([right_in_english], sets, standard_cells(sets))
    found = diagonal(measure([right_in_english], sets, generalized_cells(sets)))
    assert list(found.cells) == list(standard.cells) == [(lang, lang) for lang in LANGS]
    for names, cell in standard.cells.items():
        assert np.array_equal(found.cells[names].right, cell.right)
        assert np.array_equal(found.cells[names].rows, cell.rows)


def test_measure_pairs_first_and_second_sentence_by_id() -> None:
    other = pair_set("deu_Latn", range(COUNT - 1, -1, -1))  # the same pairs, in another order
    sets = sets_of(other)
    cells = measure([right_in_english], sets, generalized_cells(sets)).cells
    assert cells["eng_Latn", "deu_Latn"].right.all()
    assert cells["deu_Latn", "eng_Latn"].right.mean() == 0.5


def test_measure_a_pair_unusable_in_one_language_counts_where_it_is_usable() -> None:
    sets = sets_of(pair_set("deu_Latn", range(10, COUNT)))
    measured = measure([right_in_english], sets, generalized_cells(sets))
    sizes = {names: cell.right.shape for names, cell in measured.cells.items()}
    assert sizes["eng_Latn", "eng_Latn"] == (1, COUNT)
    assert {sizes[names] for names in sizes if "deu_Latn" in names} == {(1, COUNT - 10)}
    assert measured.cells["deu_Latn", "deu_Latn"].rows.tolist() == list(range(10, COUNT))


def test_measure_pairs_with_two_labels_are_left_out_of_mixed_cells() -> None:
    labels = np.array([number % 2 for number in range(COUNT)])
    labels[7] = 0
    sets = sets_of(pair_set("deu_Latn", labels=labels))
    cells = measure([right_in_english], sets, generalized_cells(sets)).cells
    assert 7 not in cells["eng_Latn", "deu_Latn"].rows
    assert 7 in cells["deu_Latn", "deu_Latn"].rows


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (pair_set("deu_Latn", range(1000, 1000 + COUNT)), "0 ids in both"),
        (pair_set("deu_Latn", range(COUNT // 2)), "100 ids in both, of 200 and 100"),
        (pair_set("deu_Latn", labels=np.zeros(COUNT, np.int64)), "100 have two labels"),
    ],
)
def test_generalized_cells_of_sets_that_are_not_aligned_are_refused(
    other: PairSet, message: str
) -> None:
    with pytest.raises(PairsError, match=message):
        generalized_cells(sets_of(other))
    assert len(standard_cells(sets_of(other))) == 2


def test_generalized_cells_of_numbered_sets_of_two_lengths_are_refused() -> None:
    sets = {
        lang: pair_set(lang, numbered=True, rows=rows)
        for lang, rows in (("eng_Latn", COUNT), ("deu_Latn", COUNT + 1))
    }
    with pytest.raises(PairsError, match="200 and 201 rows without ids"):
        generalized_cells(sets)
