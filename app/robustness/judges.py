"""Who refuses texts before they are ranked: a second encoder, and a floor for the language.

Both look at all texts of a round at once, which is what makes them cheap. A text that is refused
counts as tried: that it is none to use has to be found out as well.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError, NotReadyError
from app.retrieval.store import Encode
from app.robustness.attack import Attack
from app.robustness.inside import HaltedError
from app.robustness.request import Constraints
from app.robustness.space import Candidate
from app.text.languages import Identifier, identifier

Pairs = Sequence[tuple[Attack, Candidate]]
Stop = Callable[[], bool]

_AT_ONCE = 512
_ASKED_AT_ONCE = 64


class Judge(Protocol):
    """Refuses texts; those that are only to learn from (level 0) never."""

    def refused(self, pairs: Pairs) -> set[int]:
        """Find the places of texts that must not be tried; when it is time to stop, of none."""
        ...


def judge_for(limits: Constraints, second: Encode | None, stop: Stop) -> Judge | None:
    """Choose who has to be asked; None: nobody.

    Args:
        limits: What texts must keep.
        second: Another encoder, if there is one.
        stop: Tells that time is over or the caller canceled.

    Raises:
        InvalidInputError: If another encoder is asked for and there is none.
    """
    judges: list[Judge] = []
    if limits.min_language is not None:
        judges.append(Language(limits.min_language, stop))
    if limits.min_similarity is not None:
        if second is None:
            raise InvalidInputError(
                "Got constraints.min_similarity, and there is no second encoder to measure it by; "
                "expected one: name it with constraints.similarity_by, or leave min_similarity out."
            )
        judges.append(Similarity(second, limits.min_similarity, stop))
    return All(judges) if judges else None


def language_for(
    text: str, lang: str | None, least: float, known: Identifier | None = None
) -> tuple[str | None, str | None]:
    """Find the language that a query's texts must keep.

    Args:
        text: The query.
        lang: Its language, if the caller said so; else it is the one that is most likely.
        least: The floor.
        known: The identifier; None: the one that comes along.

    Returns:
        The language, or why there is none: it is not known, or the query itself is below the floor.
    """
    known = known or identifier()
    if lang is not None and lang not in known.languages:
        return None, (
            f"The identifier of languages knows {len(known.languages)}, and not {lang}, so "
            "constraints.min_language cannot be held: leave one of the two out."
        )
    likely = known.probabilities([text])[0]
    place = int(likely.argmax()) if lang is None else known.languages.index(lang)
    if likely[place] < least:
        return None, (
            f"The query itself is {known.languages[place]} with a probability of "
            f"{likely[place]:.2f}, below constraints.min_language ({least:g}): lower it."
        )
    return known.languages[place], None


class All:
    """Several judges, the cheapest first; the next is asked about what is left."""

    def __init__(self, judges: Sequence[Judge]) -> None:
        self._judges = judges

    def refused(self, pairs: Pairs) -> set[int]:
        """Find places that one of them refuses."""
        out: set[int] = set()
        for judge in self._judges:
            left = [place for place in range(len(pairs)) if place not in out]
            out |= {left[n] for n in judge.refused([pairs[place] for place in left])}
        return out


class Language:
    """Refuses texts that are hardly in the language of their query (``Space.lang``)."""

    def __init__(self, least: float, stop: Stop, known: Identifier | None = None) -> None:
        self._least, self._stop = least, stop
        self._known = known or identifier()
        self._places = {lang: place for place, lang in enumerate(self._known.languages)}

    def refused(self, pairs: Pairs) -> set[int]:
        """Find places of texts below the floor."""
        out: set[int] = set()
        asked = [n for n, (_, candidate) in enumerate(pairs) if candidate.level]
        for start in range(0, len(asked), _AT_ONCE):
            if self._stop():
                return set()
            some = asked[start : start + _AT_ONCE]
            likely = self._known.probabilities([pairs[n][1].text for n in some])
            for n, row in zip(some, likely, strict=True):
                lang = pairs[n][0].space.lang
                if lang is not None and row[self._places[lang]] < self._least:
                    out.add(n)
        return out


class Similarity:
    """A second encoder that refuses texts too far from their query.

    Args:
        encode: The second encoder.
        least: The least cosine.
        stop: Asked before each of its calls.
    """

    def __init__(self, encode: Encode, least: float, stop: Stop = lambda: False) -> None:
        self._encode_some, self._least, self._stop = encode, least, stop
        self._cleans: dict[str, NDArray[np.float32]] = {}

    def refused(self, pairs: Pairs) -> set[int]:
        """Find places of texts that are too far."""
        asked = [n for n, (_, candidate) in enumerate(pairs) if candidate.level]
        cleans = [pairs[n][0].space.normalized for n in asked]
        fresh = [text for text in dict.fromkeys(cleans) if text not in self._cleans]
        with suppress(HaltedError):
            rows = self._encode([*fresh, *(pairs[n][1].text for n in asked)])
            self._cleans |= {text: rows[text] for text in fresh}
            return {
                n
                for n, clean in zip(asked, cleans, strict=True)
                if float(rows[pairs[n][1].text] @ self._cleans[clean]) < self._least
            }
        return set()

    def _encode(self, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        distinct = list(dict.fromkeys(texts))
        found: dict[str, NDArray[np.float32]] = {}
        for start in range(0, len(distinct), _ASKED_AT_ONCE):
            if self._stop():
                raise HaltedError
            some = distinct[start : start + _ASKED_AT_ONCE]
            try:
                rows = self._encode_some(some)
            except NotReadyError:
                if self._stop():  # It was told to stop as well, and does not wait
                    raise HaltedError from None
                raise
            found |= dict(zip(some, rows, strict=True))
        return found
