"""Balanced rankings: calibration by hand, rounds, and deepening that changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError, NotFoundError
from app.retrieval.balance import (
    MAX_LANGUAGES,
    REFERENCE_HITS,
    Method,
    Scope,
    balance,
    biases,
    list_languages,
    reference_hits,
)
from app.retrieval.documents import Document
from app.retrieval.filters import All, In, Not, Range
from app.retrieval.fusion import Found

from .reference_store import ReferenceStore

QUERY = np.array([[1, 0]], np.float32)


def at(cosine: float) -> list[float]:
    return [cosine, (1 - cosine**2) ** 0.5]


def store_of(cosines: dict[str | None, list[float]]) -> ReferenceStore:
    """Documents named by language and number, with their cosines to ``QUERY``."""
    store = ReferenceStore()
    store.create("a", 2, "m")
    documents, rows = [], []
    for lang, values in cosines.items():
        for number, value in enumerate(values):
            name = f"{(lang or 'none')[:3]}{number}"
            documents.append(Document(name, "text", lang, {"n": number}))
            rows.append(at(value))
    store.upsert("a", documents, np.array(rows, np.float32))
    return store


def ranked(store: ReferenceStore, scope: Scope, method: Method) -> list[Found]:
    (found,) = balance(store, scope, list_languages(store, scope), QUERY, method)
    return found


def names(found: list[Found]) -> list[str]:
    return [one.hit.document.doc_id for one in found]


BIASED: dict[str | None, list[float]] = {
    "eng_Latn": [0.9, 0.8, 0.66, 0.6],
    "swh_Latn": [0.5, 0.3],
    None: [0.4],
}


def test_reference_hits_are_a_share_of_each_language_bounded_in_all() -> None:
    assert reference_hits([1000, 250, 20, 1]) == [10, 2, 1, 1]
    assert reference_hits([900_000, 100_000]) == [900, 100]
    assert sum(reference_hits([10**7, 10**6])) == REFERENCE_HITS
    assert reference_hits([]) == []


def test_biases_are_the_formula_by_hand() -> None:
    # Means 0.8 and 0.2, level (0.9 + 0.7 + 0.2) / 3 = 0.6, shrunk by 2 / 3 and 1 / 2
    found = biases([np.array([0.9, 0.7]), np.array([0.2])])
    assert found == pytest.approx([2 / 3 * 0.2, 1 / 2 * -0.4])


def test_biases_of_languages_alike_are_none() -> None:
    assert biases([np.array([0.5, 0.3]), np.array([0.4, 0.4])]) == pytest.approx([0, 0])


def test_list_languages_has_each_with_its_count_and_those_without_one() -> None:
    store = store_of(BIASED)
    found = list_languages(store, Scope("a", 10))
    assert [(one.where, one.count) for one in found] == [
        (In("lang", ("eng_Latn",)), 4),
        (In("lang", ("swh_Latn",)), 2),
        (Not(In("lang", ("eng_Latn", "swh_Latn"))), 1),
    ]


def test_list_languages_counts_within_the_filter_and_leaves_out_what_has_none() -> None:
    store = store_of(BIASED)
    where = Range("metadata.n", gte=1)
    found = list_languages(store, Scope("a", 10, where))
    assert [(one.where, one.count) for one in found] == [
        (All((where, In("lang", ("eng_Latn",)))), 3),
        (All((where, In("lang", ("swh_Latn",)))), 1),
    ]
    both = All((where, In("doc_id", ("eng1",))))
    (one,) = list_languages(store, Scope("a", 10, both))
    assert one.where == All((*both.parts, In("lang", ("eng_Latn",))))


def test_list_languages_of_documents_without_one_is_a_single_group() -> None:
    (one,) = list_languages(store_of({None: [0.1, 0.2]}), Scope("a", 10))
    assert (one.where, one.count) == (None, 2)


def test_list_languages_too_many_are_refused() -> None:
    codes = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}x_Latn" for i in range(MAX_LANGUAGES + 1)]
    with pytest.raises(InvalidInputError, match="257 languages"):
        list_languages(store_of({code: [0.5] for code in codes}), Scope("a", 10))


def test_missing_collection_is_not_found() -> None:
    with pytest.raises(NotFoundError):
        list_languages(ReferenceStore(), Scope("a", 10))


def test_interleaved_deals_a_hit_of_each_language_in_turn() -> None:
    found = ranked(store_of(BIASED), Scope("a", 10), "interleaved")
    assert names(found) == ["eng0", "swh0", "non0", "eng1", "swh1", "eng2", "eng3"]
    assert [one.hit.rank for one in found] == [1, 2, 3, 4, 5, 6, 7]
    assert found[1].hit.score == pytest.approx(0.5)
    assert found[1].scores == pytest.approx({"dense": 0.5})


def test_calibrated_scores_are_the_formula_by_hand() -> None:
    # References: the best of each, 0.9, 0.5 and 0.4 (level 0.6), each shrunk by a half.
    found = ranked(store_of(BIASED), Scope("a", 10), "calibrated")
    offsets = {"eng": 0.15, "swh": -0.05, "non": -0.1}
    assert {one.hit.document.doc_id: one.hit.score for one in found} == pytest.approx(
        {
            f"{(lang or 'none')[:3]}{number}": value - offsets[(lang or "none")[:3]]
            for lang, values in BIASED.items()
            for number, value in enumerate(values)
        },
        abs=1e-6,
    )
    assert names(found) == ["eng0", "eng1", "swh0", "eng2", "non0", "eng3", "swh1"]
    assert found[2].scores == pytest.approx({"dense": 0.5})


@pytest.mark.parametrize("method", ["calibrated", "interleaved"])
def test_min_score_holds_for_the_cosine(method: Method) -> None:
    found = ranked(store_of(BIASED), Scope("a", 10, min_score=0.45), method)
    assert sorted(names(found)) == ["eng0", "eng1", "eng2", "eng3", "swh0"]
    assert ranked(store_of(BIASED), Scope("a", 10, min_score=0.95), method) == []


@pytest.mark.parametrize("method", ["calibrated", "interleaved"])
def test_collection_or_filter_without_documents_has_no_hits(method: Method) -> None:
    store = store_of(BIASED)
    assert ranked(store, Scope("a", 10, In("doc_id", ("x",))), method) == []
    store.delete("a", list(store.made["a"].entries))
    assert ranked(store, Scope("a", 10), method) == []


def test_calibrated_on_languages_with_a_constant_bias_takes_half_of_it_off_single_hits() -> None:
    store = store_of({"eng_Latn": [0.8, 0.5], "swh_Latn": [0.6, 0.3]})
    found = ranked(store, Scope("a", 10), "calibrated")
    assert names(found) == ["eng0", "swh0", "eng1", "swh1"]
    assert found[0].hit.score - found[1].hit.score == pytest.approx(0.1, abs=1e-6)


cosines = st.dictionaries(
    st.sampled_from(["eng_Latn", "swh_Latn", "yor_Latn", None]),
    st.lists(st.integers(0, 12).map(lambda n: n / 13), min_size=1, max_size=25),
    min_size=1,
)


@given(cosines, st.sampled_from(["calibrated", "interleaved"]), st.sampled_from([None, 0.4]))
@settings(max_examples=60, deadline=None)
def test_shorter_ranking_is_the_beginning_of_a_longer_one(
    values: dict[str | None, list[float]], method: Method, least: float | None
) -> None:
    # A short one is made of lists that were deepened as far as needed, the longest of whole ones.
    store = store_of(values)
    whole = names(ranked(store, Scope("a", 1000, min_score=least), method))
    expected = sum(1 for some in values.values() for v in some if least is None or v >= least)
    assert len(whole) == len(set(whole)) == expected
    for end in (1, 2, 5, 17):
        assert names(ranked(store, Scope("a", end, min_score=least), method)) == whole[:end]


def test_balance_of_several_queries_ranks_each_by_itself() -> None:
    store = store_of(BIASED)
    scope = Scope("a", 3)
    rows = np.array([[1, 0], [0, 1]], np.float32)
    languages = list_languages(store, scope)
    both = balance(store, scope, languages, rows, "calibrated")
    alone = [balance(store, scope, languages, row[None], "calibrated")[0] for row in rows]
    assert [names(found) for found in both] == [names(found) for found in alone]
    assert names(both[0]) != names(both[1])
