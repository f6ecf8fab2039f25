"""Long documents in passages: windows of so many tokens, cut where a reader would.

A passage is a part of the document's text as it is, and its vector is that part's own, as if it had
been sent alone. A window ends at the end of a sentence if one ends in its last quarter, else of a
word, else between two letters; one that overlaps the last begins by the same rule.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.encoder.excerpt import is_visible
from app.errors import TooLargeError
from app.retrieval.documents import Span
from app.retrieval.store import MAX_SPANS
from app.text.borders import CLUSTER, WORD, Border, borders
from app.text.normalize import normalize

TokenStarts = Callable[[Sequence[str]], list[NDArray[np.intp]]]
"""Normalized texts to the places where their tokens begin; see ``TextEncoder.token_starts``."""
MOST_OVERLAP = 4
"""Windows that a token may be part of: the stride is at least the window's length over this."""


@dataclass(frozen=True, slots=True)
class Windows:
    """How long passages are.

    Attributes:
        tokens: Most tokens of a passage, the encoder's prompt and special tokens not counted.
        stride: Most tokens from the begin of a passage to that of the next.
    """

    tokens: int
    stride: int


def split_documents(
    texts: Sequence[str], windows: Windows, token_starts: TokenStarts, name: str = "documents"
) -> list[list[Span]]:
    """Cut texts into passages.

    Args:
        texts: Texts as they are stored, each with something visible in it.
        windows: How long the passages are.
        token_starts: The encoder's tokenizer.
        name: What the caller calls the list, for error messages.

    Returns:
        The passages of each text, in order; one, the whole text, if it is short.

    Raises:
        TooLargeError: If a text has more than ``MAX_SPANS`` passages.
    """
    whole: list[list[Span]] = [[(0, len(text))] for text in texts]
    # A token stands for an ASCII letter at least.
    long = [n for n, text in enumerate(texts) if len(text) > windows.tokens or not text.isascii()]
    found = token_starts([normalize(texts[n]) for n in long])
    for n, starts in zip(long, found, strict=True):
        if len(starts) <= windows.tokens:
            continue
        spans = cut(borders(texts[n]), starts, windows)
        if len(spans) > MAX_SPANS:
            raise TooLargeError(
                f"{name}[{n}] has {len(spans)} passages of {windows.tokens} tokens; expected at "
                f"most {MAX_SPANS}: split it into several documents."
            )
        # What shows nothing has no vector; nobody can search for it.
        visible = [(a, b) for a, b in spans if any(map(is_visible, texts[n][a:b]))]
        whole[n] = visible or whole[n]
    return whole


def cut(places: Sequence[Border], starts: NDArray[np.intp], windows: Windows) -> list[Span]:
    """Choose the windows of one text.

    Args:
        places: Where it may be cut.
        starts: Where its tokens begin in the normalized text.
        windows: How long they are; one letter of more tokens than that is a window of its own.
    """
    ordered = np.maximum.accumulate(starts).tolist()
    # A token may begin with the space before its word.
    before = [bisect_left(ordered, p.at - (p.strength > CLUSTER)) for p in places]
    before[0], before[-1] = 0, len(ordered)
    words = [n for n, place in enumerate(places) if place.strength >= WORD]
    sentences = [n for n, place in enumerate(places) if place.strength > WORD]
    spans: list[Span] = []
    first, last = 0, len(places) - 1
    while True:
        limit = before[first] + windows.tokens
        reach = max(bisect_right(before, limit) - 1, first + 1)
        if reach >= last:
            spans.append((places[first].start, places[last].end))
            return spans
        least = bisect_left(before, limit - windows.tokens // 4, first + 1, reach)
        final = _last(sentences, least, reach) or _last(words, least, reach) or reach
        spans.append((places[first].start, places[final].end))
        if windows.stride == windows.tokens:
            first = final
            continue
        goal = before[first] + windows.stride
        reach = min(max(bisect_right(before, goal) - 1, first + 1), final)
        least = bisect_left(before, goal - windows.tokens // 4, first + 1, reach)
        first = _last(sentences, least, reach) or _last(words, least, reach) or reach


def _last(chosen: Sequence[int], least: int, most: int) -> int | None:
    """The last of some ascending numbers within bounds, both included; they are above 0."""
    index = bisect_right(chosen, most) - 1
    return chosen[index] if index >= 0 and chosen[index] >= max(least, 1) else None
