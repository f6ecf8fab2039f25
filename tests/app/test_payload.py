"""Documents as points: numbers keep their order, values their identity, ids their neighbors."""

import hashlib
import json
import math
import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.checks import Entry
from app.retrieval.conditions import to_condition
from app.retrieval.documents import Document
from app.retrieval.filters import All, Any, In, Not, Range, kind_of, matches
from app.retrieval.payload import (
    check_sum,
    field_key,
    is_probe,
    order_of,
    payload_sum,
    point_ids,
    probe_signs,
    span_of,
    to_document,
    to_rows,
    token,
)

EDGES = [0, -0.0, 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63), 2**70 + 1, 5e-324, 1e308, -1e308, 0.1]
NUMBERS = st.one_of(
    st.sampled_from(EDGES),
    st.integers(-(2**106), 2**106),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.one_of(NUMBERS, st.booleans(), st.text(max_size=90), st.just("s" * 64))


@given(left=NUMBERS, right=NUMBERS)
def test_order_of_numbers_is_that_of_their_parts(left, right):
    assert (left < right) == (order_of(left) < order_of(right))
    assert (left == right) == (order_of(left) == order_of(right))
    assert all(0 <= part <= 2**53 for part in order_of(left))


def test_order_of_integers_beyond_doubles_is_outside_all_bounds():
    top, bottom = math.nextafter(math.inf, 0), math.nextafter(-math.inf, 0)
    assert order_of(10**400) > order_of(top)
    assert order_of(-(10**400)) < order_of(bottom)
    assert order_of(int(top) + 2**1000) > order_of(top)


@given(left=VALUES, right=VALUES)
def test_token_is_shared_by_equal_values_of_one_kind_alone(left, right):
    same = kind_of(left) == kind_of(right) and left == right
    assert (token(left) == token(right)) == same
    assert len(token(left)) <= 64


def test_token_of_seven_is_that_of_seven_point_zero_but_not_of_its_text():
    assert token(7) == token(7.0)
    assert len({token(7), token("7"), token(True), token(1), token("n7"), token(7.5)}) == 6


@given(st.text(max_size=60), st.text(max_size=60))
def test_field_key_is_a_plain_path_and_unique(left, right):
    assert set(field_key(left)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0-9_123456789")  # fmt: skip # noqa: E501
    assert (field_key(left) == field_key(right)) == (left == right)


def holds(condition, payload):
    """Evaluate a condition as Qdrant documents it, for ids, matches, ranges and their logic."""
    if "key" in condition:
        value = payload
        for step in condition["key"].split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if "match" in condition:
            return value in condition["match"]["any"]
        compare = {"gt": "__gt__", "gte": "__ge__", "lt": "__lt__", "lte": "__le__"}
        bounds = condition["range"].items()
        return value is not None and all(
            getattr(float(value), compare[name])(float(bound)) for name, bound in bounds
        )
    return (
        all(holds(part, payload) for part in condition.get("must", []))
        and ("should" not in condition or any(holds(p, payload) for p in condition["should"]))
        and not any(holds(part, payload) for part in condition.get("must_not", []))
    )


LEAVES = st.one_of(
    st.builds(In, st.just("metadata.x"), st.lists(VALUES, min_size=1, max_size=3).map(tuple)),
    st.builds(Range, st.just("metadata.x"), gt=NUMBERS),
    st.builds(Range, st.just("metadata.x"), gte=NUMBERS, lt=NUMBERS),
    st.builds(Range, st.just("metadata.x"), lte=NUMBERS),
    st.sampled_from([In("lang", ("eng_Latn",)), In("script", ("Latn", "Cyrl"))]),
)
TREES = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.builds(All, st.lists(parts, min_size=1, max_size=3).map(tuple)),
        st.builds(Any, st.lists(parts, min_size=1, max_size=3).map(tuple)),
        st.builds(Not, parts),
    ),
    max_leaves=4,
)


@given(where=TREES, value=st.none() | VALUES, lang=st.sampled_from([None, "eng_Latn", "x"]))
def test_condition_holds_where_the_filter_does(where, value, lang):
    document = Document("d", "слова", lang, {} if value is None else {"x": value})
    entry = Entry(document, [(0, 5)], np.ones((1, 4), np.float32))
    payload = to_rows(entry)[0].payload
    assert holds(to_condition(where, lambda _: []), payload) == matches(where, document)


@given(value=NUMBERS, bound=NUMBERS)
def test_condition_of_a_range_is_exact_at_its_bound(value, bound):
    document = Document("d", "t", None, {"x": value})
    payload = to_rows(Entry(document, [(0, 1)], np.ones((1, 4), np.float32)))[0].payload
    for name in ("gt", "gte", "lt", "lte"):
        for near in (bound, value):
            where = Range("metadata.x", **{name: near})
            assert holds(to_condition(where, lambda _: []), payload) == matches(where, document)


def test_rows_of_several_passages_adjoin_and_share_a_check_sum():
    document = Document("d", "one two three", "eng_Latn", {"year": 1990, "ü": 2**70})
    vectors = np.eye(3, 4, dtype=np.float32)
    rows = to_rows(Entry(document, [(0, 3), (4, 7), (8, 13)], vectors))
    numbers = [uuid.UUID(row.point_id).int for row in rows]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert [row.point_id for row in rows] == point_ids("d", 3)
    assert len({row.payload["check"] for row in rows}) == 1
    assert [span_of(row.payload) for row in rows] == [(0, 3), (4, 7), (8, 13)]
    assert to_document(rows[0].payload) == document
    assert [len(row.words.indices) for row in rows] == [1, 1, 1]
    assert "text" not in rows[1].payload
    assert rows[1].payload["f"] == rows[0].payload["f"]


@pytest.mark.parametrize("change", ["payload", "vector", "words", "order"])
def test_check_sum_covers_payload_vectors_words_and_order(change):
    document = Document("d", "one two", "eng_Latn", {"year": 1990})
    rows = to_rows(Entry(document, [(0, 3), (4, 7)], np.eye(2, 4, dtype=np.float32)))
    parts = [(payload_sum(row.payload), row.vector.tobytes(), row.words) for row in rows]
    assert check_sum(parts) == rows[0].payload["check"]
    total, vector, words = parts[0]
    assert total == rows[0].payload["sum"]
    changed = {
        "payload": [(payload_sum(rows[0].payload | {"text": "one twp"}), vector, words), parts[1]],
        "vector": [(total, bytes([vector[0] ^ 1]) + vector[1:], words), parts[1]],
        "words": [(total, vector, rows[1].words), parts[1]],
        "order": parts[::-1],
    }
    assert check_sum(changed[change]) != rows[0].payload["check"]


@pytest.mark.parametrize("dim", [1, 4, 384, 4096])
def test_probe_lets_rounding_pass_and_finds_a_changed_number(dim):
    vectors = np.random.default_rng(0).normal(size=(50, dim))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    signs = probe_signs(dim)
    for vector in vectors:
        stored = to_rows(Entry(Document("d", "t"), [(0, 1)], vector[None]))[0].payload["probe"]
        exact = math.fsum(float(v) * float(s) for v, s in zip(vector, signs, strict=True))
        assert is_probe(float(vector @ signs), stored, dim)
        assert is_probe(exact, stored, dim)
        assert not is_probe(exact + 4e-4, stored, dim)
        assert not is_probe(math.nan, stored, dim)


@pytest.mark.parametrize("doc_id", ["d", "ọ̀nà", "x" * 512])
def test_point_ids_are_those_of_uuid5_with_room_for_passages(doc_id):
    named = uuid.uuid5(uuid.UUID("6f1b8a52-2d1e-5f0c-9a37-4c1f6d0e7b11"), doc_id).int
    first = named - named % 1024
    assert point_ids(doc_id, 3) == [str(uuid.UUID(int=first + part)) for part in range(3)]


@given(text=st.text(), metadata=st.dictionaries(st.text(max_size=8), VALUES, max_size=4))
def test_payload_sum_is_that_of_sorted_ascii_json(text, metadata):
    document = Document("ọ̀nà", text, "yor_Latn", metadata)
    spans = [(0, len(text)), (0, 0)]
    for row in to_rows(Entry(document, spans, np.eye(2, 4, dtype=np.float32))):
        covered = {k: v for k, v in row.payload.items() if k not in ("sum", "check")}
        written = json.dumps(covered, sort_keys=True).encode()
        digest = hashlib.blake2b(written, digest_size=8).digest()
        assert payload_sum(row.payload) == row.payload["sum"] == int.from_bytes(digest, "big") >> 1
