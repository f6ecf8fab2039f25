"""Bytes to lines: numbers, bounds, whatever the parts."""

import time

import pytest

from app.api.lines import Line, LineSplitter


def split(content: bytes, size: int, most: int = 8) -> tuple[list[Line], int]:
    splitter = LineSplitter(most)
    parts = [content[n : n + size] for n in range(0, len(content), size)]
    lines = [line for part in parts for line in splitter.feed(part)]
    return [*lines, *splitter.end()], splitter.number


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_splitter_numbers_lines_and_drops_what_is_too_long(size: int) -> None:
    content = b"a\n\n\r\n12345678\n123456789\nb\xff\x00\n" + b"x" * 50
    expected = [
        Line(1, b"a"),
        Line(3, b"\r"),
        Line(4, b"12345678"),
        Line(5, None),
        Line(6, b"b\xff\x00"),
        Line(7, None),
    ]
    assert split(content, size) == (expected, 7)


def test_splitter_of_nothing_has_no_lines() -> None:
    assert split(b"", 1) == ([], 0)
    assert split(b"\n\n", 1) == ([], 2)


@pytest.mark.parametrize("content", [b"x" * 4_000_000, b"\n" * 4_000_000])
def test_splitter_takes_time_in_proportion(content: bytes) -> None:
    began = time.perf_counter()
    split(content, 65536, 1 << 20)
    assert time.perf_counter() - began < 5


def test_splitter_takes_single_bytes_in_time() -> None:
    began = time.perf_counter()
    split(b"x" * 1_000_000, 1, 1 << 20)
    assert time.perf_counter() - began < 5
