"""Smoothed search: a query's vector averaged over noise on its token embeddings.

What is certified has to be what is served, so both come from here. The noise of a text depends on
the seed and its tokens alone, and a text's samples run through the graph by themselves: its vector
does not depend on what else is asked. More samples begin with those of fewer.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.robustness.inside import Array, Floats, Inside, TokenRow, same_lengths

MAX_SAMPLES = 100_000


@dataclass(frozen=True, slots=True)
class Noise:
    """Gaussian noise on the embeddings of a text's own tokens.

    Attributes:
        sigma: Size of a token's whole noise, sqrt(E |noise|^2), in mean token norms: the same unit
            as in training (``training.smoothing``).
        samples: How many to average.
        seed: Chooses the noise.
    """

    sigma: float
    samples: int
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.sigma < math.inf or not 1 <= self.samples <= MAX_SAMPLES:
            raise InvalidInputError(
                f"Got sigma {self.sigma} and {self.samples} samples; expected a positive sigma and "
                f"1 to {MAX_SAMPLES} samples: change them."
            )

    def entry_sigma(self, inside: Inside) -> float:
        """Standard deviation of one entry, in units of the embeddings: the theorems' sigma."""
        return self.sigma * inside.mean_norm / math.sqrt(inside.box.hidden)


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Texts smoothed.

    Attributes:
        vectors: Unit rows to search with, shape (texts, dim).
        lengths: Length of each mean before it was brought to 1: near 1 where the noise hardly
            matters, near 0 where it leaves nothing of the text, shape (texts,).
    """

    vectors: Array
    lengths: NDArray[np.float64]


def smoothed_vectors(inside: Inside, rows: Sequence[TokenRow], noise: Noise) -> Smoothed:
    """Average each text's vectors over noise.

    Args:
        inside: The white box.
        rows: Token ids of each text.
        noise: How much of it, and which.

    Raises:
        InvalidInputError: If a text has more tokens than the encoder reads.
    """
    means = [noisy_vectors(inside, row, noise).mean(axis=0, dtype=np.float64) for row in rows]
    whole = np.array(means).reshape(len(rows), -1)
    lengths = np.linalg.norm(whole, axis=1)
    return Smoothed(unit_rows(whole), lengths)


def noisy_vectors(inside: Inside, row: TokenRow, noise: Noise) -> Array:
    """Encode one text under each draw of the noise, shape (samples, dim).

    These are the samples that ``bounds.preference`` and ``certificates.gaussian_certificate`` take.
    """
    clean = inside.embed([row])  # (1, seq, hidden)
    size = max(1, inside.run_tokens // len(row.ids))
    drawn = _Drawn(inside, row, noise)
    parts = [
        inside.vectors(clean + drawn.next(min(size, noise.samples - start)))
        for start in range(0, noise.samples, size)
    ]
    return np.concatenate(parts)


class Lens:
    """What an attack looks through: the plain encoder, or the smoothed one.

    Through the smoothed one an attack has to average the gradient over the noise, or it is blinded
    by it and flatters the defense. The noise is that of the service, which a white-box attacker is
    taken to know.

    References:
        Athalye et al. 2018, expectation over transformation, https://arxiv.org/abs/1707.07397.
    """

    def __init__(self, inside: Inside, noise: Noise | None = None) -> None:
        self.inside = inside
        self.noise = noise

    @property
    def cost(self) -> int:
        """Texts through the graph for one look at one text."""
        return self.noise.samples if self.noise else 1

    def vectors(self, rows: Sequence[TokenRow], embeddings: Floats) -> NDArray[np.floating]:
        """Encode embeddings of rows of one length, (batch, seq, hidden), to (batch, dim).

        Smoothed vectors are means, shorter than 1.
        """
        if self.noise is None:
            return self.inside.vectors(embeddings)
        looks = [
            self.inside.vectors(self._noisy(row, one)).mean(axis=0, dtype=np.float64)
            for row, one in zip(rows, embeddings, strict=True)
        ]
        return np.array(looks)

    def gradients(
        self, rows: Sequence[TokenRow], embeddings: Floats, cotangents: Floats
    ) -> tuple[NDArray[np.floating], Array]:
        """Encode, and carry dL/dvector back to dL/dembedding, 0 where nothing may change."""
        if self.noise is None:
            vectors, gradients = self.inside.gradients(embeddings, cotangents)
            return vectors, gradients * movable(rows)
        found: list[NDArray[np.floating]] = []
        means: list[NDArray[np.floating]] = []
        for row, one, cotangent in zip(rows, embeddings, cotangents, strict=True):
            noisy = self._noisy(row, one)
            shared = np.repeat(cotangent[None], len(noisy), axis=0)
            vectors, gradients = self.inside.gradients(noisy, shared)
            means.append(vectors.mean(axis=0, dtype=np.float64))
            found.append(gradients.mean(axis=0, dtype=np.float64))
        return np.array(means), np.array(found, dtype=np.float32) * movable(rows)

    def texts(self, rows: Sequence[TokenRow]) -> NDArray[np.floating]:
        """Encode rows of any lengths as they are, shape (rows, dim)."""
        found: dict[int, NDArray[np.floating]] = {}
        for group in same_lengths(rows, self.inside.run_tokens):
            some = [rows[place] for place in group]
            vectors = self.vectors(some, self.inside.embed(some))
            found |= dict(zip(group.tolist(), vectors, strict=True))
        return np.array([found[place] for place in range(len(rows))])

    def _noisy(self, row: TokenRow, embeddings: Floats) -> Array:
        noise = self.noise
        assert noise  # noqa: S101 - both callers have asked
        return embeddings[None] + _Drawn(self.inside, row, noise).next(noise.samples)


def unit_rows(vectors: NDArray[np.floating]) -> Array:
    """Bring vectors to length 1, as they are searched for; smoothed means are shorter."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)


def movable(rows: Sequence[TokenRow]) -> Array:
    """1 where a token may change, else 0, for rows of one length, shape (rows, seq, 1)."""
    places = np.arange(len(rows[0].ids))
    begins = np.array([[row.begin] for row in rows])
    ends = np.array([[row.end] for row in rows])
    return ((places >= begins) & (places < ends)).astype(np.float32)[..., None]


def normal_numbers(seed: int, purpose: str, row: TokenRow) -> np.random.Generator:
    """Random numbers that depend on seed, purpose and token ids alone (Philox, a counter)."""
    text = f"{seed}\x1f{purpose}\x1f{','.join(map(str, row.ids))}"
    key = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


class _Drawn:
    """Draws a text's noise, sample by sample."""

    def __init__(self, inside: Inside, row: TokenRow, noise: Noise) -> None:
        self._random = normal_numbers(noise.seed, "smoothing", row)
        self._row = row
        self._shape = (len(row.ids), inside.box.hidden)
        self._sigma = np.float32(noise.entry_sigma(inside))

    def next(self, samples: int) -> Array:
        """The next samples of noise, shape (samples, seq, hidden), 0 where nothing may change."""
        seq, hidden = self._shape
        values = np.zeros((samples, seq, hidden), dtype=np.float32)
        own = (samples, self._row.end - self._row.begin, hidden)
        drawn = self._random.standard_normal(own, dtype=np.float32)
        values[:, self._row.begin : self._row.end] = drawn * self._sigma
        return values
