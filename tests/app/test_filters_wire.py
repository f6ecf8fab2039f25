"""Filters on the wire: read as meant, bounded before they are read, refused at their place."""

import json
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.api.filters import FilterWire, as_condition, as_filter
from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.filters import MAX_CONDITIONS, MAX_DEPTH, All, Filter, In, Not, Range, matches
from app.retrieval.filters import Any as AnyOf

BUS = Document("bus-7", "The bus leaves.", "eng_Latn", {"line": 7, "tag": "a", "old": True})
RAIN = Document("rain", "Mvua itanyesha.", "swh_Latn", {"line": 7.0, "year": 1990})
BARE = Document("bare", "Привет")


def read(sent: Any) -> Filter | None:
    return as_filter(FilterWire.model_validate(sent))


def nested(levels: int, name: str = "not") -> dict[str, Any]:
    sent: dict[str, Any] = {"lang": ["eng_Latn"]}
    for _ in range(levels - 1):
        sent = {name: sent if name == "not" else [sent]}
    return sent


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({}, None),
        ({"lang": []}, None),
        ({"lang": ["eng_Latn"]}, In("lang", ("eng_Latn",))),
        ({"lang": [], "script": ["Latn"]}, In("script", ("Latn",))),
        ({"doc_id": ["a", "b"]}, In("doc_id", ("a", "b"))),
        ({"metadata": {"line": 7}}, In("metadata.line", (7,))),
        ({"metadata": {"tag": ["a", True]}}, In("metadata.tag", ("a", True))),
        ({"metadata": {"y": {"gte": 1990, "lt": 2.5}}}, Range("metadata.y", gte=1990, lt=2.5)),
        (
            {"metadata": {"y": {"in": [1], "gt": 0}}},
            All((In("metadata.y", (1,)), Range("metadata.y", gt=0))),
        ),
        (
            {"metadata": {"a.b": 1, "c": 2}},
            All((In("metadata.a.b", (1,)), In("metadata.c", (2,)))),
        ),
        (
            {"lang": ["eng_Latn"], "and": [{"script": ["Latn"]}, {"doc_id": ["a"]}]},
            All((In("lang", ("eng_Latn",)), In("script", ("Latn",)), In("doc_id", ("a",)))),
        ),
        (
            {"or": [{"lang": ["eng_Latn"], "doc_id": ["a"]}, {"doc_id": ["b"]}]},
            AnyOf((All((In("lang", ("eng_Latn",)), In("doc_id", ("a",)))), In("doc_id", ("b",)))),
        ),
        ({"not": {"not": {"doc_id": ["a"]}}}, Not(Not(In("doc_id", ("a",))))),
    ],
)
def test_filter_on_the_wire_is_read_as_meant(sent: Any, meant: Filter | None) -> None:
    assert read(sent) == meant


@pytest.mark.parametrize(
    ("sent", "place", "message"),
    [
        ({"lang": "eng_Latn"}, ("lang",), "list"),
        ({"lang": ["english"]}, ("lang", 0), "match pattern"),
        ({"script": []}, ("script",), "at least 1"),
        ({"script": ["latin"]}, ("script", 0), "match pattern"),
        ({"doc_id": ["\ud800"]}, ("doc_id", 0), "string"),
        ({"doc_id": [""]}, ("doc_id", 0), "at least 1"),
        ({"topic": ["x"]}, (), "known are: lang, script, doc_id, metadata, and, or, not"),
        ({"all_of": [{}]}, (), "unknown field"),
        ({"metadata": {}}, ("metadata",), "1 to 64 fields"),
        ({"metadata": {"": 1}}, ("metadata",), "keys"),
        ({"metadata": {"a": None}}, ("metadata",), "should be a value"),
        ({"metadata": {"a": []}}, ("metadata",), "list 1 to 1024"),
        ({"metadata": {"a": [None]}}, ("metadata",), "should list strings"),
        ({"metadata": {"a": [[1]]}}, ("metadata",), "should list strings"),
        ({"metadata": {"a": {}}}, ("metadata",), "one or more of in, gt"),
        ({"metadata": {"a": {"eq": 1}}}, ("metadata",), "one or more of in, gt"),
        ({"metadata": {"a": {"gt": "1"}}}, ("metadata",), "no finite 64-bit number"),
        ({"metadata": {"a": {"gt": True}}}, ("metadata",), "no finite 64-bit number"),
        ({"metadata": {"a": {"gt": None}}}, ("metadata",), "no finite 64-bit number"),
        ({"metadata": {"a": {"in": 1}}}, ("metadata",), "list 1 to 1024"),
        ({"metadata": {"a": 2**63}}, ("metadata",), "64-bit integers"),
        ({"metadata": {"a": "x" * 4097}}, ("metadata",), "4096"),
        ({"and": []}, ("and",), "at least 1"),
        ({"or": {"lang": ["eng_Latn"]}}, ("or",), "list"),
        ({"or": [{"lang": ["eng_Latn"]}, {"lang": 1}]}, ("or", 1, "lang"), "list"),
        ({"not": [{}]}, ("not",), "FilterWire"),
    ],
)
def test_wrong_filter_on_the_wire_is_refused_at_its_place(
    sent: Any, place: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as refusal:
        FilterWire.model_validate(sent)
    first = refusal.value.errors()[0]
    assert (first["loc"], message in first["msg"]) == (place, True), first


@pytest.mark.parametrize(
    ("sent", "place"),
    [
        ({"not": {}}, r"filter\.not has no condition"),
        ({"and": [{"doc_id": ["a"]}, {"lang": []}]}, r"filter\.and\[1\] has no condition"),
        ({"or": [{"not": {}}]}, r"filter\.or\[0\]\.not has no condition"),
    ],
)
def test_part_without_a_condition_is_refused_by_its_place(sent: Any, place: str) -> None:
    with pytest.raises(InvalidInputError, match=place):
        read(sent)


@pytest.mark.parametrize("sent", [{}, {"lang": []}, {"lang": [], "doc_id": ["a"]}])
def test_filter_that_must_restrict_does_not_take_an_empty_list(sent: Any) -> None:
    with pytest.raises(InvalidInputError, match="all documents"):
        as_condition(FilterWire.model_validate(sent))


def test_filter_that_must_restrict_is_read_like_any_other() -> None:
    sent = {"doc_id": ["a"]}
    assert as_condition(FilterWire.model_validate(sent)) == In("doc_id", ("a",))


@pytest.mark.parametrize("name", ["not", "and", "or"])
def test_filter_depth_is_bounded_before_it_is_read(name: str) -> None:
    assert read(nested(MAX_DEPTH, name)) is not None
    for levels in (MAX_DEPTH + 1, 400):
        with pytest.raises(ValidationError, match="more than 8 levels"):
            FilterWire.model_validate(nested(levels, name))


def test_filter_size_is_bounded_before_it_is_read() -> None:
    part = {"doc_id": ["a"]}
    assert read({"or": [part] * (MAX_CONDITIONS - 1)}) is not None
    half = {"or": [part] * (MAX_CONDITIONS // 2)}
    for sent in ({"or": [part] * 10**6}, {"and": [half, half]}):
        with pytest.raises(ValidationError, match="over 64 conditions"):
            FilterWire.model_validate(sent)


def test_filter_of_many_metadata_fields_counts_them_all() -> None:
    fields = {f"f{number}": {"in": [1], "gt": 0} for number in range(40)}
    with pytest.raises(InvalidInputError, match="over 64 conditions"):
        read({"metadata": fields})


values = st.one_of(st.text(max_size=3), st.integers(-5, 5), st.booleans(), st.floats(-3, 3))
conditions = st.one_of(
    values,
    st.lists(values, min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(-3, 3), min_size=1),
)
leaves = st.one_of(
    st.fixed_dictionaries(
        {"lang": st.lists(st.sampled_from(["eng_Latn", "swh_Latn"]), min_size=1)}
    ),
    st.fixed_dictionaries(
        {
            "metadata": st.dictionaries(
                st.sampled_from(["line", "tag", "old"]), conditions, min_size=1
            )
        }
    ),
)
wires = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)}),
    ),
    max_leaves=6,
)


def holds(sent: dict[str, Any], document: Document) -> bool:
    """What a filter on the wire means, read off its description."""
    for name, part in sent.items():
        if name == "not" and holds(part, document):
            return False
        if name == "and" and not all(holds(each, document) for each in part):
            return False
        if name == "or" and not any(holds(each, document) for each in part):
            return False
        if name == "lang" and document.lang not in part:
            return False
        if name == "metadata" and not all(
            compares(condition, document.metadata.get(key)) for key, condition in part.items()
        ):
            return False
    return True


def compares(condition: Any, found: Any) -> bool:
    if found is None:
        return False
    if isinstance(condition, dict):
        if isinstance(found, str | bool):
            return False
        signs = {"gt": found.__gt__, "gte": found.__ge__, "lt": found.__lt__, "lte": found.__le__}
        return all(signs[name](bound) is True for name, bound in condition.items())
    several = condition if isinstance(condition, list) else [condition]
    strict = [(isinstance(v, bool), isinstance(v, str), v) for v in several]
    return (isinstance(found, bool), isinstance(found, str), found) in strict


@given(wires, st.sampled_from([BUS, RAIN, BARE]))
@settings(max_examples=300, deadline=None)
def test_any_filter_on_the_wire_matches_what_its_description_says(
    sent: dict[str, Any], document: Document
) -> None:
    try:
        where = read(json.loads(json.dumps(sent)))
    except (InvalidInputError, ValidationError):
        reject()  # too deep, which other tests are about
    assert where is not None
    assert matches(where, document) == holds(sent, document)
