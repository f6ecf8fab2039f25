"""What a family may know about a text besides the text: its language, dictionaries, the encoder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.text.lexicon import Lexicon

TokenNeighbors = Callable[[str], Sequence[str]]
"""A word -> the words that an encoder places nearest to it, nearest first; empty if it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """What is known about a text; all of it may be missing.

    Attributes:
        lang: The text's language, such as ``yor_Latn``: chooses keyboards and dictionaries.
        lexicon: Translations and synonyms.
        switch_to: Languages that code-switching may switch to; None for any that the lexicon has.
        token_neighbors: Words near a word in the encoder's eyes.
        most_added: Characters that one edit may add to the text; None for any number.
    """

    lang: str | None = None
    lexicon: Lexicon | None = None
    switch_to: frozenset[str] | None = None
    token_neighbors: TokenNeighbors | None = None
    most_added: int | None = None


NOTHING_KNOWN = Context()
"""The context of a text about which nothing is known."""
