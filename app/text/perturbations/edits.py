"""Edits of a text, their replay, and the random numbers that choose among them."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """One replacement in the original text.

    Attributes:
        start: Offset of the first code point replaced, in the original text.
        end: Offset after the last one; equal to ``start`` for an insertion.
        before: What stands there, ``original[start:end]``.
        after: What takes its place.
    """

    start: int
    end: int
    before: str
    after: str


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """Replay edits on the original text; they must not overlap, their order does not matter."""
    parts: list[str] = []
    done = 0
    for edit in sorted(edits):
        if edit.start < done or text[edit.start : edit.end] != edit.before:
            raise ValueError(f"{edit} does not fit: it overlaps another edit or another text.")
        parts += (text[done : edit.start], edit.after)
        done = edit.end
    parts.append(text[done:])
    return "".join(parts)


def fits(edit: Edit, chosen: Sequence[Edit]) -> bool:
    """Tell whether at least one untouched code point lies between an edit and all the others.

    The gap keeps each edit what it is: two that touched could undo one another, or join into a
    grapheme cluster that neither of them meant.
    """
    return all(edit.end < other.start or other.end < edit.start for other in chosen)


class Draw:
    """Random numbers that depend on a key alone: not on time, order, batch or other draws."""

    def __init__(self, seed: int, text: str, family: str) -> None:
        self._key = f"{seed}\x1f{family}\x1f{text}".encode("utf-8", "surrogatepass")

    def numbers(self, purpose: str, count: int) -> NDArray[np.uint32]:
        """Draw ``count`` numbers below 2**32 for one purpose; a longer draw begins alike."""
        stream = hashlib.shake_128(self._key + b"\x1e" + purpose.encode())
        return np.frombuffer(stream.digest(4 * count), dtype="<u4")
