import numpy as np
import pytest

from app.artifact import Precision
from app.encoder.golden import pack_golden, require_golden, unpack_golden
from app.errors import ArtifactError

TEXTS = ["one", "two", "three"]


def unit_rows(seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((3, 16)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_unpack_golden_gives_what_was_packed() -> None:
    vectors: dict[Precision, np.ndarray] = {"int8": unit_rows(0), "fp32": unit_rows(1)}

    texts, unpacked = unpack_golden(pack_golden(TEXTS, vectors), "fp32", 16)

    assert texts == TEXTS
    np.testing.assert_allclose(unpacked, vectors["fp32"], atol=1e-3)
    assert require_golden(texts, vectors["fp32"], unpacked) > 0.999999


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"texts": ["a"], "vectors": {"fp32": "AAAA"}}', b'{"texts": 3}'],
)
def test_unpack_golden_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"golden\.json"):
        unpack_golden(content, "fp32", 16)


def test_unpack_golden_no_texts_is_refused() -> None:
    with pytest.raises(ArtifactError, match="no texts"):
        unpack_golden(b'{"texts": [], "vectors": {"fp32": ""}}', "fp32", 16)


def test_require_golden_one_turned_vector_is_named() -> None:
    expected = unit_rows()
    got = expected.copy()
    got[1] = np.roll(got[1], 1)

    with pytest.raises(ArtifactError, match=r"text 1 \('two'\)"):
        require_golden(TEXTS, got, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_require_golden_vector_without_direction_is_refused(bad: float) -> None:
    got = unit_rows()
    got[2] = bad

    with pytest.raises(ArtifactError, match="text 2"):
        require_golden(TEXTS, got, unit_rows())
