"""Vectors as whole numbers and bits: the formulas by hand, and what of a cosine is left."""

import numpy as np
import pytest
from numpy.typing import NDArray

from app.encoder.output import DTYPES, OutputType, convert, int8_range


def unit_rows(rows: int, dim: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).standard_normal((rows, dim)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def test_int8_of_few_dimensions_is_127_times_the_component() -> None:
    vectors = np.array([[1, 0, 0, 0], [-1, 0, 0, 0], [0.6, -0.8, 0, 0]], np.float32)
    assert convert(vectors, "int8").tolist() == [[127, 0, 0, 0], [-127, 0, 0, 0], [76, -102, 0, 0]]
    assert convert(vectors, "uint8").tolist() == [
        [255, 128, 128, 128],
        [1, 128, 128, 128],
        [204, 26, 128, 128],
    ]


def test_int8_of_many_dimensions_is_finer_and_clips_what_is_beyond() -> None:
    # 256 dimensions: range 8 / 16; 0.25 is half of it, and 0.5 and 0.75 are written alike.
    row = np.zeros((1, 256), np.float32)
    row[0, :4] = [0.25, -0.25, 0.5, -0.75]
    assert int8_range(256) == 0.5
    assert convert(row, "int8")[0, :5].tolist() == [64, -64, 127, -127, 0]


def test_bits_are_the_signs_with_the_first_in_the_highest_bit() -> None:
    row = np.array([[0.1, -0.1, 0.0, 0.2, -0.3, -0.3, 0.4, 0.5, 0.6, -0.1]], np.float32)
    # 10010011 10......, and signed bytes are 128 less.
    assert convert(row, "ubinary").tolist() == [[0b10010011, 0b10000000]]
    assert convert(row, "binary").tolist() == [[0b10010011 - 128, 0]]


@pytest.mark.parametrize("output_type", DTYPES)
def test_convert_gives_contiguous_rows_of_its_type(output_type: OutputType) -> None:
    rows = convert(unit_rows(3, 384)[:, ::-1], output_type)
    assert rows.dtype == DTYPES[output_type]
    assert rows.flags.c_contiguous
    assert rows.shape == (3, 48 if "binary" in output_type else 384)


@pytest.mark.parametrize("dim", [8, 64, 384, 1024])
def test_int8_dot_product_is_the_cosine_scaled(dim: int) -> None:
    vectors = unit_rows(200, dim)
    whole = convert(vectors, "int8").astype(np.float32)
    scaled = whole @ whole.T * (int8_range(dim) / 127) ** 2
    assert np.abs(scaled - vectors @ vectors.T).max() < 0.02


def test_each_row_is_written_alone_as_in_a_batch() -> None:
    vectors = unit_rows(5, 384)
    for output_type in DTYPES:
        together = convert(vectors, output_type)
        alone = np.concatenate([convert(vectors[i : i + 1], output_type) for i in range(5)])
        assert np.array_equal(together, alone)
