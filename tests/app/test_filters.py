"""Filters: what they mean, and what cannot be applied."""

import pytest

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_VALUES,
    All,
    Filter,
    In,
    Not,
    Range,
    languages,
    matches,
    require_filter,
    script_of_document,
)
from app.retrieval.filters import Any as AnyOf

BUS = Document("bus-7", "The bus leaves.", "eng_Latn", {"line": 7, "tag": "a", "old": True})
RAIN = Document("rain", "Mvua itanyesha.", "swh_Latn", {"line": 7.0, "year": 1990})
BARE = Document("bare", "Привет")


@pytest.mark.parametrize(
    ("where", "holds"),
    [
        (In("lang", ("eng_Latn", "swh_Latn")), [True, True, False]),
        (In("script", ("Cyrl",)), [False, False, True]),
        (In("doc_id", ("bare", "rain")), [False, True, True]),
        (In("metadata.line", (7,)), [True, True, False]),
        (In("metadata.line", ("7",)), [False, False, False]),
        (In("metadata.line", (True,)), [False, False, False]),
        (In("metadata.old", (1,)), [False, False, False]),
        (In("metadata.old", (True,)), [True, False, False]),
        (Range("metadata.year", gte=1990), [False, True, False]),
        (Range("metadata.year", gt=1990), [False, False, False]),
        (Range("metadata.year", gt=1989.5, lte=1990), [False, True, False]),
        (Range("metadata.year", lt=1990), [False, False, False]),
        (Range("metadata.tag", gt=-1e9), [False, False, False]),
        (Range("metadata.old", gte=0), [False, False, False]),
        (Not(Range("metadata.year", gt=0)), [True, False, True]),
        (Not(In("lang", ("eng_Latn",))), [False, True, True]),
        (All((In("metadata.line", (7,)), Not(In("doc_id", ("rain",))))), [True, False, False]),
        (AnyOf((In("script", ("Cyrl",)), In("metadata.tag", ("a",)))), [True, False, True]),
    ],
)
def test_matches_says_what_each_condition_means(where: Filter, holds: list[bool]) -> None:
    assert require_filter(where) is where
    assert [matches(where, document) for document in (BUS, RAIN, BARE)] == holds


@pytest.mark.parametrize(
    ("document", "script"),
    [
        (Document("a", "Привет", "eng_Latn"), "Latn"),
        (Document("a", "Привет hi", None), "Cyrl"),
        (Document("a", "東京タワー", "jpn_Jpan"), "Jpan"),
        (Document("a", "12 34", None), "Zyyy"),
        (Document("a", "", None), "Zyyy"),
        (Document("a", "Привет", "rus"), "Cyrl"),
    ],
)
def test_script_of_document_is_that_of_lang_or_of_most_letters(
    document: Document, script: str
) -> None:
    assert script_of_document(document) == script


@pytest.mark.parametrize(
    "where",
    [
        In("lang", ()),
        In("language", ("x",)),
        In("metadata.", ("x",)),
        In("lang", (7,)),
        In("metadata.a", (float("nan"),)),
        In("metadata.a", ("\ud800",)),
        In("metadata.a", tuple(range(MAX_VALUES + 1))),
        Range("metadata.a"),
        Range("lang", gt=1),
        Range("metadata.a", gt=float("inf")),
        Range("metadata.a", gt=10**400),
        In("metadata.a", (10**400,)),
        Range("metadata.a", gt=True),
        All(()),
        AnyOf(()),
        AnyOf((In("lang", ("eng_Latn",)),) * MAX_CONDITIONS),
    ],
)
def test_require_filter_refuses_what_cannot_be_applied(where: Filter) -> None:
    with pytest.raises(InvalidInputError):
        require_filter(where)


def test_require_filter_depth_is_bounded() -> None:
    where: Filter = languages("eng_Latn")
    for _ in range(MAX_DEPTH - 1):
        where = Not(where)
    assert require_filter(where) is where
    with pytest.raises(InvalidInputError, match="8 levels"):
        require_filter(Not(where))
