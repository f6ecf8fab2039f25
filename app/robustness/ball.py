"""Balls around a text's token embeddings, where noise may be."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from app.errors import InvalidInputError
from app.robustness.inside import Array, Floats

Norm = Literal["token", "text"]


@dataclass(frozen=True, slots=True)
class Ball:
    """Where noise may be.

    Attributes:
        epsilon: Radius in mean token norms.
        norm: ``token`` bounds the L2 norm of each token's noise, ``text`` the Frobenius norm over
            all tokens: the unit of ``certificates``.
    """

    epsilon: float
    norm: Norm = "token"

    def __post_init__(self) -> None:
        if not self.epsilon > 0.0 or self.norm not in get_args(Norm):
            raise InvalidInputError(
                f"Got epsilon {self.epsilon} and norm {self.norm!r}; expected an epsilon above 0 "
                "and 'token' or 'text'."
            )

    def project(self, noise: Floats, radius: float) -> Array:
        """Return the nearest noise in the ball, for noise of shape (batch, seq, hidden)."""
        factor = np.minimum(1.0, radius / np.maximum(self.size(noise), 1e-12))
        return (noise * factor).astype(np.float32)

    def unit(self, noise: Array) -> Array:
        """Bring each token's noise, or each text's, to length 1; what is 0 stays."""
        return noise / np.maximum(self.size(noise), 1e-12).astype(np.float32)

    def size(self, noise: Floats) -> Floats:
        """Norm of each token's noise or of each text's, (batch, seq or 1, 1)."""
        axes = -1 if self.norm == "token" else (-2, -1)
        return np.sqrt((noise * noise).sum(axis=axes, keepdims=True))
