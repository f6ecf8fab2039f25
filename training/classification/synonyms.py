"""RS-DA: the training set is replaced by copies whose words are drawn among their neighbors.

Each token between spaces becomes, with equal chance, itself or one of its neighbors; both sentences
are drawn for themselves, the label is kept, and the original is only there by chance. This is what
the authors' code does, except that here the draw is seeded and made when a pair is needed: a copy
is a function of seed, pair and number of the copy, so it is the same in every epoch.

Neighbors come from lexicons (both directions, any case) or, as the authors have them, from JSON:
an object from English words to lists of words, looked up as written.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from app.errors import InvalidInputError
from app.text.lexicon import Lexicon
from training.classification.tasks import ENGLISH

Neighbors = Callable[[str], Sequence[str]]
"""From a word to the words that may stand for it."""


def read_neighbors(paths: Sequence[Path]) -> dict[str, list[str]]:
    """Read JSON objects from English words to lists of neighbors.

    Raises:
        InvalidInputError: If a file cannot be read or is no such object.
    """
    lists: dict[str, list[str]] = {}
    for path in paths:
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidInputError(f"cannot read the neighbors {path}: {error}") from error
        if not isinstance(value, dict) or not all(
            isinstance(found, list) and all(isinstance(word, str) for word in found)
            for found in value.values()
        ):
            raise InvalidInputError(
                f"{path} is no object from words to lists of words: expected such as "
                '{"large": ["big", "great"]}'
            )
        for word, found in value.items():
            lists.setdefault(word, []).extend(found)
    return lists


def neighbors_in(lexicon: Lexicon | None, lists: Mapping[str, list[str]], lang: str) -> Neighbors:
    """Look neighbors up: in lists if the language is English, then in a lexicon."""

    def neighbors(word: str) -> Sequence[str]:
        found = list(lists.get(word, ())) if lang == ENGLISH else []
        if lexicon is not None:
            found += [other for other, _ in lexicon.lookup(word, lang)]
        return found

    return neighbors


def replace_words(text: str, neighbors: Neighbors, rng: np.random.Generator) -> str:
    """Draw every word of a text among itself and its neighbors.

    Args:
        text: Words with spaces between them.
        neighbors: Of a word.
        rng: Source of the draws, one for each word that has neighbors.

    References:
        Huang et al. 2021, randomized smoothing with data augmentation,
        https://arxiv.org/abs/2104.08645; as in perturb.py of uclanlp/Robust-XLT.
    """
    words = text.split(" ")
    for place, word in enumerate(words):
        if found := neighbors(word):
            drawn = int(rng.integers(0, len(found) + 1))
            words[place] = found[drawn - 1] if drawn else word
    return " ".join(words)
