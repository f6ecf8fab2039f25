"""Words replaced by others: translations, synonyms, and what an encoder places nearby.

Translations and synonyms come from dictionaries (``app.text.dictionaries``); a word is found as
``app.text.switching`` tells, in scripts without spaces too. Nothing is known of grammar: the word
takes the place of the other as its dictionary writes it, but for a capital at its beginning.
"""

from collections.abc import Iterator

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage
from app.text.perturbations.units import units_of
from app.text.switching import Occurrence, Switches, write_switch

MOST = 8
"""Words proposed in the place of one, at most; drawn if there are more."""
_SYNONYMS = "eng_Latn"


def switch(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose translations of each word that the dictionaries have."""
    for occurrence, words in _known(passage, context):
        others = [word for word, lang in words if lang != context.lang]
        yield from _written(passage, occurrence, others, draw)


def synonyms(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose words of the same language, its own synonyms or those that share a translation."""
    for occurrence, words in _known(passage, context, through=True):
        others = [word for word, lang in words if lang == context.lang]
        yield from _written(passage, occurrence, others, draw)


def neighbors(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the words that the encoder places nearest to each word."""
    if context.token_neighbors is None:
        return
    for start, end in units_of(passage):
        word = passage.text[start:end]
        near = [other for other in context.token_neighbors(word) if other]
        yield from _written(passage, Occurrence(start, end, ()), near[:MOST], draw)


def _known(
    passage: Passage, context: Context, *, through: bool = False
) -> Iterator[tuple[Occurrence, list[tuple[str, str]]]]:
    lexicon, lang = context.lexicon, context.lang
    if lexicon is None or lang is None or lang not in lexicon.sizes:
        return
    wanted = frozenset({lang}) if through else context.switch_to
    # Two words of one language that share a translation may mean the same; in a lexicon that joins
    # all by English, that is where synonyms come from.
    bridge = _SYNONYMS if through and lang != _SYNONYMS and _SYNONYMS in lexicon.sizes else ""
    most = passage.clusters[-1].end if passage.clusters else 0
    for occurrence in Switches(lexicon, wanted, bridge).occurrences(passage.text, lang):
        if occurrence.end <= most:
            yield occurrence, [lexicon.word(number) for number in occurrence.neighbors]


def _written(
    passage: Passage, occurrence: Occurrence, words: list[str], draw: Draw
) -> Iterator[Edit]:
    if len(words) > MOST:
        order = draw.numbers(f"words {occurrence.start}", len(words)).argsort(kind="stable")
        words = [words[index] for index in order[:MOST].tolist()]
    for word in words:
        edit = write_switch(passage.text, occurrence, word)
        if edit:
            yield edit
