"""Which pairs are classified: the standard and the generalized setting of Huang et al. 2021.

Standard: both sentences in one language. Generalized: the first sentence in any language and the
second in any, all ordered pairs of languages (49 for PAWS-X, 225 for XNLI), for which the test sets
must be translations of one another. A pair of languages is measured on the pairs that are usable in
both, so the diagonal is the standard setting to the last bit.

    https://arxiv.org/abs/2104.08645
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from training.classification.pairs import PairsError, PairSet
from training.classification.prediction import Classify

LEAST_SHARED = 0.9  # of the larger of two sets
MOST_DIFFERING = 0.01  # of the shared pairs: labels

Languages = tuple[str, str]
"""Of the first and of the second sentence."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What classifiers make of the pairs of two languages.

    Attributes:
        rows: Index of each pair in the order of all ids, shape (pairs,).
        right: Whether each classifier is right, shape (classifiers, pairs).
    """

    rows: NDArray[np.int64]
    right: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measured:
    """All cells of a measurement.

    Attributes:
        cells: By languages, in order.
        pairs: Number of distinct ids, which all ``rows`` are below.
    """

    cells: Mapping[Languages, Cell]
    pairs: int


def standard_cells(sets: Mapping[str, PairSet]) -> list[Languages]:
    """List the languages, each with itself."""
    return [(lang, lang) for lang in sets]


def generalized_cells(sets: Mapping[str, PairSet]) -> list[Languages]:
    """List all ordered pairs of languages.

    Raises:
        PairsError: If two sets are not translations of one another.
    """
    for first, second in combinations(sets.values(), 2):
        _require_aligned(first, second)
    return list(product(sets, sets))


def measure(
    classifiers: Sequence[Classify], sets: Mapping[str, PairSet], cells: Iterable[Languages]
) -> Measured:
    """Classify the pairs of each cell with each classifier."""
    places: dict[str, int] = {}
    for pairs in sets.values():
        for pair_id in pairs.ids:
            places.setdefault(pair_id, len(places))
    found: dict[Languages, Cell] = {}
    for lang_first, lang_second in tqdm(list(cells), unit="cell", disable=None):
        one, other = sets[lang_first], sets[lang_second]
        left, right = _shared(one, other)
        first = [one.first[row] for row in left]
        second = [other.second[row] for row in right]
        labels = one.labels[left]
        found[lang_first, lang_second] = Cell(
            rows=np.array([places[one.ids[row]] for row in left], np.int64),
            right=np.stack([classify(first, second) == labels for classify in classifiers]),
        )
    return Measured(found, len(places))


def diagonal(measured: Measured) -> Measured:
    """Keep the cells of one language."""
    cells = {names: cell for names, cell in measured.cells.items() if names[0] == names[1]}
    return Measured(cells, measured.pairs)


def _shared(one: PairSet, other: PairSet) -> tuple[list[int], list[int]]:
    """Find the pairs that both have, with one label: their rows in each."""
    rows = {pair_id: row for row, pair_id in enumerate(other.ids)}
    both = [(row, rows[pair_id]) for row, pair_id in enumerate(one.ids) if pair_id in rows]
    alike = [(a, b) for a, b in both if one.labels[a] == other.labels[b]]
    return [a for a, _ in alike], [b for _, b in alike]


def _require_aligned(one: PairSet, other: PairSet) -> None:
    names = f"the sets of {one.lang} and {other.lang} are not translations of one another"
    if one.numbered and other.numbered and one.rows != other.rows:
        raise PairsError(
            f"{names}: {one.rows} and {other.rows} rows without ids; expected as many in each, "
            "line by line the same pairs"
        )
    shared = len(set(one.ids) & set(other.ids))
    if shared < LEAST_SHARED * max(len(one), len(other)):
        raise PairsError(
            f"{names}: {shared} ids in both, of {len(one)} and {len(other)}; expected at least "
            f"{LEAST_SHARED:.0%}: take both from one release"
        )
    differing = shared - len(_shared(one, other)[0])
    if differing > MOST_DIFFERING * shared:
        raise PairsError(
            f"{names}: of {shared} pairs with one id, {differing} have two labels; expected at "
            f"most {MOST_DIFFERING:.0%}: take both from one release"
        )
