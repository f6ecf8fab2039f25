"""Cursors: they come back as they were, and belong to one request."""

import pytest

from app.api.cursor import CURSOR_CHARS, read_cursor, write_cursor
from app.errors import InvalidInputError

REQUEST = {"collection": "a", "queries": ["x"], "filter": None, "top_k": 10}


@pytest.mark.parametrize("offset", [0, 10, 255, 256, 10_000, 2**24 - 1])
def test_cursor_of_a_request_comes_back(offset: int) -> None:
    cursor = write_cursor(offset, REQUEST)
    assert len(cursor) == CURSOR_CHARS
    assert read_cursor(cursor, dict(reversed(REQUEST.items()))) == offset


@pytest.mark.parametrize(
    "change", [{"collection": "b"}, {"queries": ["y"]}, {"top_k": 11}, {"filter": {"lang": []}}]
)
def test_cursor_with_another_request_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="another request"):
        read_cursor(write_cursor(10, REQUEST), REQUEST | change)


@pytest.mark.parametrize(
    "cursor", ["", "x", "====", "é" * 20, "A" * 19, "A" * 24, "A" * 60, "+" * 20]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInputError, match=r"cursor (is none|belongs)"):
        read_cursor(cursor, REQUEST)
