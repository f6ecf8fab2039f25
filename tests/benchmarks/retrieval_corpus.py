"""Documents and vectors that look like real ones, for the retrieval benchmark.

Vectors lie in clusters of very different sizes, and vary along some directions more than along
others; queries are drawn as documents are. Of the nearest ten of 20,000 a graph of m 16 and
ef_construct 128 finds 0.988 at ef 128 and 0.992 at ef 256; of as many sentences of FLORES-200 by
the default encoder 0.991 and 0.999. The tenth is at a cosine of 0.47 here, and of 0.50 there.
Texts are words whose frequencies follow Zipf's law.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document

NAME = "bench"
DIM = 384
RARE = "lin_Latn"
"""Language of one document in a hundred."""
LANGS = ("eng_Latn", "swh_Latn", "yor_Latn", "hau_Latn", "amh_Ethi")
_CLUSTERS = 1_000
_DECAY = 0.1
_WORDS = 60_000


def vectors_of(n: int, seed: int) -> NDArray[np.float32]:
    """Draw unit rows, shape (n, DIM); another seed draws others from the same clusters."""
    fixed = np.random.default_rng(0)
    strengths = ((5.0 + np.arange(DIM)) ** -_DECAY).astype(np.float32)
    centers = fixed.normal(size=(_CLUSTERS, DIM)).astype(np.float32) * strengths
    shares = 1.0 / (10.0 + np.arange(_CLUSTERS))
    rng = np.random.default_rng(seed)
    rows = np.empty((n, DIM), np.float32)
    for start in range(0, n, 10_000):
        size = min(10_000, n - start)
        cluster = rng.choice(_CLUSTERS, size=size, p=shares / shares.sum())
        block = centers[cluster] + strengths * rng.normal(size=(size, DIM)).astype(np.float32)
        rows[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def lang_of(number: int) -> str:
    """Language of a document: one in a hundred is ``RARE``."""
    return RARE if number % 100 == 7 else LANGS[number % len(LANGS)]


def documents_of(first: int, count: int) -> list[Document]:
    """Make documents by number; the same number gives the same document."""
    return list(_documents(first, count))


def _documents(first: int, count: int) -> Iterator[Document]:
    rng = np.random.default_rng(first)
    words = np.minimum(rng.zipf(1.25, size=(count, 22)), _WORDS)
    for offset in range(count):
        number = first + offset
        text = " ".join(f"w{word}" for word in words[offset])
        metadata = {"n": number, "year": 1900 + number % 100, "source": f"s{number % 7}"}
        yield Document(f"d{number}", text, lang_of(number), metadata)


def true_nearest(
    vectors: NDArray[np.float32], queries: NDArray[np.float32], k: int = 10
) -> NDArray[np.int64]:
    """Find the nearest rows of each query by comparing all, shape (queries, k), unordered."""
    best_scores = np.full((len(queries), k), -np.inf, np.float32)
    best = np.zeros((len(queries), k), np.int64)
    for start in range(0, len(vectors), 50_000):
        scores = queries @ vectors[start : start + 50_000].T  # (queries, block)
        place = np.argpartition(-scores, min(k, scores.shape[1]) - 1, axis=1)[:, :k]
        scores = np.concatenate([best_scores, np.take_along_axis(scores, place, 1)], axis=1)
        places = np.concatenate([best, place + start], axis=1)
        keep = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        best_scores = np.take_along_axis(scores, keep, 1)
        best = np.take_along_axis(places, keep, 1)
    return best
