"""Smoothing by words: texts with words deleted at random, or exchanged for their neighbors.

The counterpart of ``smoothing`` for encoders that are only seen from outside. The texts depend on
the seed and the query alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.text.normalize import normalize
from app.text.perturbations.passage import clusters_of

Unit = Literal["word", "grapheme"]
Encode = Callable[[Sequence[str]], NDArray[np.float32]]


def units_of(text: str, unit: Unit) -> tuple[list[str], str]:
    """Cut a text into words (at spaces) or characters, and tell what to join them with.

    For scripts that are written without spaces a whole sentence is one word: take graphemes.
    """
    if unit == "word":
        return normalize(text).split(" "), " "
    return clusters_of(normalize(text)), ""


def deleted_texts(
    text: str, deletion: float, samples: int, seed: int, unit: Unit = "word"
) -> list[str]:
    """Draw texts in which each unit is deleted with probability ``deletion``; "" if all are.

    Raises:
        InvalidInputError: If the probability or the number of samples does not fit.
    """
    if not 0.0 < deletion < 1.0 or samples < 1:
        raise InvalidInputError(
            f"Got deletion {deletion} and {samples} samples; expected a probability between 0 and "
            "1, and at least one sample."
        )
    text = normalize(text)
    units, glue = units_of(text, unit)
    kept = _random(seed, f"deletion {unit}", text).random((samples, len(units))) >= deletion
    return [
        normalize(glue.join(one for one, stays in zip(units, row, strict=True) if stays))
        for row in kept
    ]


@dataclass(frozen=True)
class Substitutes:
    """What each word may be exchanged for; a word stands for itself and its neighbors, alike often.

    Attributes:
        neighbors: Words by word; a word without any is left alone.
    """

    neighbors: Mapping[str, Sequence[str]]

    def choices(self, word: str) -> list[str]:
        """What stands for a word, itself among it, in order."""
        return sorted({word, *self.neighbors.get(word, ())})

    def overlaps(self, text: str) -> list[float]:
        """For each word the least mass that it shares with one of its substitutes.

        Two uniform draws from m and n words, c of them common, share c / max(m, n). A substitute
        that has no neighbors of its own stands for itself alone.
        """
        return [self._overlap(word) for word in units_of(text, "word")[0]]

    def texts(self, text: str, samples: int, seed: int) -> list[str]:
        """Draw texts in which each word is exchanged for one of its choices."""
        text = normalize(text)
        words, glue = units_of(text, "word")
        choices = [self.choices(word) for word in words]
        drawn = _random(seed, "substitution", text).random((samples, len(words)))
        return [
            glue.join(
                some[int(share * len(some))] for some, share in zip(choices, row, strict=True)
            )
            for row in drawn
        ]

    def _overlap(self, word: str) -> float:
        own = set(self.choices(word))
        shares = [1.0]
        for other in own - {word}:
            theirs = set(self.choices(other))
            shares.append(len(own & theirs) / max(len(own), len(theirs)))
        return min(shares)


def vectors_of(texts: Sequence[str], encode: Encode) -> NDArray[np.float32]:
    """Encode drawn texts, each distinct one once; a text that is empty has the vector 0.

    Returns:
        Shape (texts, dim): samples for ``bounds.preference``; their mean is what to serve.

    Raises:
        InvalidInputError: If all are empty.
    """
    distinct = list(dict.fromkeys(text for text in texts if text))
    if not distinct:
        raise InvalidInputError(
            "Nothing is left of the text in any sample; expected a lower probability of deletion, "
            "a longer text or more samples."
        )
    rows = np.asarray(encode(distinct), dtype=np.float32)
    table = np.concatenate([rows, np.zeros((1, rows.shape[1]), dtype=np.float32)])
    places = {text: place for place, text in enumerate(distinct)}
    return table[[places.get(text, len(distinct)) for text in texts]]


def _random(seed: int, purpose: str, text: str) -> np.random.Generator:
    key = hashlib.blake2b(
        f"{seed}\x1f{purpose}\x1f{text}".encode("utf-8", "surrogatepass"), digest_size=16
    ).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))
