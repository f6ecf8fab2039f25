"""Documents as rows: text without NUL, and JSON whose numbers compare as Python's do."""

import json
import struct
from decimal import Decimal

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInputError
from app.retrieval.checks import Entry
from app.retrieval.documents import Document
from app.retrieval.postgres import rows

TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\\0\0"))


@given(TEXT)
def test_escaped_text_has_no_nul_and_comes_back(text):
    assert "\0" not in rows.escaped(text)
    assert rows.unescaped(rows.escaped(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("a\0b", "a\\0b"), ("a\\0b", "a\\\\0b"), ("\\", "\\\\"), ("", "")],
)
def test_escaped_writes_as_said(text, expected):
    assert rows.escaped(text) == expected


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
def test_json_value_is_the_exact_number(number):
    written = rows.json_value(number)
    assert Decimal(written) == Decimal(number)
    assert "e" not in written.lower()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, "true"),
        (1, "1"),
        (1.0, "1"),
        (0.5, "0.5"),
        (-0.0, "-0"),
        (2.0**70, "1180591620717411303424"),
        ("1", '"1"'),
        ("ü\0", '"ü\\\\0"'),
    ],
)
def test_json_value_writes_each_kind(value, expected):
    assert rows.json_value(value) == expected


def test_json_value_integer_beyond_what_python_writes_is_refused():
    with pytest.raises(InvalidInputError, match="4,300 digits"):
        rows.json_value(10**5000)


def test_signed_keeps_the_bits():
    ids = [0, 1, 2**31 - 1, 2**31, 2**32 - 1]
    assert rows.signed(ids).tolist() == [0, 1, 2**31 - 1, -(2**31), -1]


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_vector_text_is_exact(values):
    vector = np.asarray(values, dtype=np.float32)
    back = np.asarray(json.loads(rows.vector_text(vector)), dtype=np.float32)
    assert np.array_equal(back, vector)


def test_to_vectors_reads_what_passage_rows_writes():
    vectors = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    entry = Entry(Document("a", "one two"), [(0, 3), (4, 7)], vectors)
    passages, postings = rows.passage_rows([entry], first=7)
    assert [struct.unpack_from("!q", row, 6)[0] for row in passages] == [7, 8]
    assert np.array_equal(rows.to_vectors([row[-24:] for row in passages], 5), vectors)
    assert len(postings) == 2 * rows._POSTING.itemsize


@pytest.mark.postgres
@given(st.text("ab\\\0", max_size=3))
def test_jsonb_equality_is_that_of_python_s_values(postgres, text):
    values = [text, 7, 7.0, True, False, "7", 1, 0.1, 2**70, 2.0**70, 2**70 + 1, -0.0, 0]
    written = [rows.json_value(value) for value in values]
    with psycopg.connect(postgres.url()) as connection:
        found = connection.execute(
            "SELECT a.v = b.v FROM unnest(%(v)s::text[]::jsonb[]) WITH ORDINALITY a(v, n),"
            " unnest(%(v)s::text[]::jsonb[]) WITH ORDINALITY b(v, n) ORDER BY a.n, b.n",
            {"v": written},
        ).fetchall()
    alike = [isinstance(a, bool) == isinstance(b, bool) and a == b for a in values for b in values]
    assert [same for (same,) in found] == alike
