"""What every engine must do: filters of every kind, with ``filters.matches`` as the judge."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.filters import MAX_DEPTH, All, Any, In, Not, Range, languages, matches
from app.retrieval.store import FieldType, Options

from .contract_data import DIM, vectors_of

KEYS = [
    "year", "size", "tag", "open", "a.b", "a", "x[0]", 'q"uo\'te', "sp ace", "नमस्ते",
    "metadata.year", "\\", "%", "$",
]  # fmt: skip
NUMBERS = [
    0, 1, 7, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63 - 2, -(2**63), -0.0, 0.1, 1.0,
    7.0, 7.5, 1e308, -1e308, 5e-324, float(2**53), float(2**63), 1990, 2000,
]  # fmt: skip
STRINGS = [
    "", "1", "1.0", "true", "a", "A", "ä", "a\u0308", "नमस्ते", "\0", "%", "'", '"', "a.b", "x" * 300,
    "null",
]  # fmt: skip
VALUES = [*NUMBERS, *STRINGS, True, False]
FIELDS: dict[str, FieldType] = {
    "year": "integer",
    "size": "number",
    "tag": "string",
    "open": "boolean",
}
TEXTS = ["plain words", "слова", "नमस्ते", "12 34", "", "漢字", "mixed слова слова"]
LANGS = [None, "eng_Latn", "swh_Latn", "rus_Cyrl", "hin_Deva", "srp_Latn", "odd", "é_"]


def value_for(key, rng):
    kinds = {
        "year": [n for n in NUMBERS if isinstance(n, int)],
        "size": NUMBERS,
        "tag": STRINGS,
        "open": [True, False],
    }
    pool = kinds.get(key, VALUES)
    return pool[rng.integers(len(pool))]


def documents_of(n):
    rng = np.random.default_rng(1)
    return [
        Document(
            f"id{i}",
            TEXTS[rng.integers(len(TEXTS))],
            LANGS[rng.integers(len(LANGS))],
            {key: value_for(key, rng) for key in KEYS if rng.random() < 0.4},
        )
        for i in range(n)
    ]


DOCUMENTS = documents_of(70)
ORDER = {document.doc_id: place for place, document in enumerate(DOCUMENTS)}


@pytest.fixture(scope="module")
def odd(open_store, tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("odd"))
    store.create("demo", DIM, "m", Options(fields=FIELDS))
    store.upsert("demo", DOCUMENTS, vectors_of(len(DOCUMENTS)))
    yield store
    store.close()


def check(store, where):
    expected = {document.doc_id for document in DOCUMENTS if matches(where, document)}
    found = store.search("demo", vectors_of(1, seed=7), 100, where)[0]
    assert {hit.document.doc_id for hit in found} == expected, where
    assert len(found) == len(expected)
    assert store.count("demo", where) == len(expected)


METADATA_FIELDS = st.sampled_from([f"metadata.{key}" for key in [*KEYS, "missing", "b", "0"]])
OWN = st.one_of(
    st.builds(
        In,
        st.just("lang"),
        st.lists(st.sampled_from([*LANGS[1:], "none"]), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(
        In,
        st.just("script"),
        st.lists(st.sampled_from(["Latn", "Cyrl", "Deva", "Zyyy", "Hani", "latn", ""]), min_size=1)
        .map(lambda some: tuple(some[:3])),
    ),
    st.builds(
        In,
        st.just("doc_id"),
        st.lists(st.sampled_from([*ORDER, "none"]), min_size=1, max_size=9).map(tuple),
    ),
)  # fmt: skip
EQUALS = st.builds(
    In, METADATA_FIELDS, st.lists(st.sampled_from(VALUES), min_size=1, max_size=5).map(tuple)
)
BOUND = st.sampled_from(NUMBERS)
RANGES = st.builds(
    Range,
    METADATA_FIELDS,
    gt=st.none() | BOUND,
    gte=st.none() | BOUND,
    lt=st.none() | BOUND,
    lte=st.none() | BOUND,
).filter(lambda made: bool(made.bounds))
LEAVES = st.one_of(OWN, EQUALS, RANGES)


def widen(parts):
    several = st.lists(parts, min_size=1, max_size=3).map(tuple)
    return st.one_of(st.builds(All, several), st.builds(Any, several), st.builds(Not, parts))


TREES = st.recursive(LEAVES, widen, max_leaves=6)


def depth(where):
    match where:
        case All(parts) | Any(parts):
            return 1 + max(map(depth, parts))
        case Not(part):
            return 1 + depth(part)
        case _:
            return 1


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(where=TREES.filter(lambda where: depth(where) <= MAX_DEPTH))
def test_any_filter_gives_what_it_means(odd, where):
    check(odd, where)


@pytest.mark.parametrize("key", KEYS)
def test_values_are_compared_within_their_kind_in_any_field(odd, key):
    values = [d.metadata[key] for d in DOCUMENTS if key in d.metadata]
    for value in {(type(value), value): value for value in values}.values():
        check(odd, In(f"metadata.{key}", (value,)))
    check(odd, In(f"metadata.{key}", (True,)))
    check(odd, In(f"metadata.{key}", (1,)))
    check(odd, In(f"metadata.{key}", ("1",)))
    check(odd, Not(In(f"metadata.{key}", (1.0, "true"))))


@pytest.mark.parametrize("key", ["year", "size", "a.b", "tag"])
@pytest.mark.parametrize("bound", [0, 0.1, 2**53, 2**53 + 1, 2**63 - 1, 1e308, -(2**63)])
def test_ranges_are_exact_at_every_bound(odd, key, bound):
    for name in ("gt", "gte", "lt", "lte"):
        check(odd, Range(f"metadata.{key}", **{name: bound}))
    check(odd, Not(Range(f"metadata.{key}", gte=bound)))


@pytest.mark.parametrize(
    "where",
    [
        Not(languages("eng_Latn")),
        All((languages("eng_Latn", "swh_Latn"), Not(In("metadata.open", (True,))))),
        Any((In("script", ("Cyrl",)), Range("metadata.size", gt=0))),
        Not(Not(In("metadata.tag", ("a",)))),
        Not(All((Range("metadata.year", gte=0), Range("metadata.year", lte=2000)))),
        Not(Any((In("metadata.missing", (1,)), Range("metadata.missing", gt=0)))),
        In("doc_id", tuple(f"id{i}" for i in range(1000))),
        In("metadata.year", tuple(range(1000))),
        Range("metadata.year", gt=5, lt=5),
    ],
)
def test_filters_of_note_give_what_they_mean(odd, where):
    check(odd, where)


def nested(levels):
    where = languages("eng_Latn")
    for _ in range(levels):
        where = Not(where)
    return where


@pytest.mark.parametrize(
    "where",
    [
        In("lang", ()),
        In("language", ("eng_Latn",)),
        In("metadata.", ("x",)),
        In("lang", (7,)),
        In("metadata.x", (float("nan"),)),
        In("metadata.x", ("\ud800",)),
        In("metadata.\ud800", ("x",)),
        Range("lang", gt=1),
        Range("metadata.x"),
        Range("metadata.x", gt=float("inf")),
        All(()),
        Any(()),
        nested(MAX_DEPTH),
        Any(tuple(languages("eng_Latn") for _ in range(64))),
        In("doc_id", tuple(f"id{i}" for i in range(1025))),
    ],
)
def test_filters_that_cannot_be_are_refused_everywhere(odd, where):
    for call in (
        lambda: odd.search("demo", vectors_of(1), 1, where),
        lambda: odd.match("demo", ["a"], 1, where),
        lambda: odd.count("demo", where),
        lambda: odd.delete_where("demo", where),
    ):
        with pytest.raises(InvalidInputError):
            call()
    assert odd.count("demo") == len(DOCUMENTS)


def test_filter_sees_a_document_as_it_is_after_each_write(store):
    store.create("demo", DIM, "m", Options(fields=FIELDS))
    for metadata in ({"tag": "a"}, {"tag": "b", "free": 1}, {"year": 5}, {}):
        store.upsert("demo", [Document("x", "text", "eng_Latn", metadata)], vectors_of(1))
        for key, value in (("tag", "a"), ("tag", "b"), ("free", 1), ("year", 5)):
            there = int(metadata.get(key) == value)
            assert store.count("demo", In(f"metadata.{key}", (value,))) == there
