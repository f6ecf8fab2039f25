"""Small encoders with white boxes, written out in numpy."""

from collections.abc import Sequence

import numpy as np

from app.robustness.inside import Inside, TokenRow

VOCABULARY, HIDDEN, DIM = 60, 6, 8


class Glass:
    """Weighted mean of token embeddings, a tanh layer, a linear one, unit length."""

    def __init__(self, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.hidden = HIDDEN
        self.table = rng.standard_normal((VOCABULARY, HIDDEN)).astype(np.float32)
        self.inner = rng.standard_normal((HIDDEN, 2 * DIM)).astype(np.float32)
        self.outer = rng.standard_normal((2 * DIM, DIM)).astype(np.float32)
        self.runs = 0

    def lookup(self, rows: Sequence[Sequence[int]]):
        longest = max(map(len, rows))
        ids = np.array([[*row, *[0] * (longest - len(row))] for row in rows])
        mask = np.array([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return self.table[ids], mask

    def encode(self, token_embeddings, mask):
        return self._forward(token_embeddings, mask)[-1]

    def gradient(self, token_embeddings, mask, cotangent):
        weights, states, raw, vectors = self._forward(token_embeddings, mask)
        length = np.linalg.norm(raw, axis=1, keepdims=True)
        inward = cotangent - vectors * (vectors * cotangent).sum(axis=1, keepdims=True)
        pooled = ((inward / length) @ self.outer.T * (1 - states**2)) @ self.inner.T
        return vectors, (weights[..., None] * pooled[:, None]).astype(np.float32)

    def _forward(self, token_embeddings, mask):
        self.runs += 1
        weights = mask / (1 + 0.2 * np.arange(mask.shape[1]))
        weights = weights / weights.sum(axis=1, keepdims=True)
        states = np.tanh(np.einsum("bs,bsh->bh", weights, token_embeddings) @ self.inner)
        raw = states @ self.outer
        vectors = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        return weights, states, raw, vectors.astype(np.float32)


class Halfspace(Glass):
    """+u on one side of a plane through embeddings and -u on the other: what changes fastest.

    One token at distance ``far`` from the plane.
    """

    def __init__(self, far: float) -> None:
        super().__init__()
        self.hidden = 3
        self.table = np.array([[far, 0.3, -0.4], [far, 1.0, 0.0]], np.float32)
        self.u = np.eye(DIM, dtype=np.float32)[0]

    def encode(self, token_embeddings, mask):
        return np.where(token_embeddings[:, 0, :1] > 0, self.u, -self.u)


def glass(seed: int = 0) -> Inside:
    return Inside(Glass(seed), range(2, VOCABULARY))


def rows_of(count: int, seed: int = 0, lengths=(3, 5, 9)) -> list[TokenRow]:
    """Token rows with a special token (0, 1) at each end, which never changes."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        own = rng.integers(2, VOCABULARY, lengths[number % len(lengths)]).tolist()
        rows.append(TokenRow((0, *own, 1), 1, len(own) + 1))
    return rows


def documents(count: int, seed: int = 1, dim: int = DIM) -> np.ndarray:
    found = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)
