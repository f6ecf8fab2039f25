"""Words out of order, left out or said twice; what a word is where nothing parts them, see units.

An edit spans the words concerned with what lies between them, so that it can be replayed alone.
"""

from collections.abc import Iterator

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage, keeps_clusters
from app.text.perturbations.units import is_unspaced, units_of

_PARTS = frozenset(" \u0f0b\u1361")
"""What stands between words, one of it: a space, in Tibetan and in old Ethiopic a sign."""
_FURTHEST = 2
"""Words that change places have at most so many minus one between them."""


def reorder(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose to swap each word with the next one, and with the one after that."""
    del draw, context
    units = units_of(passage)
    text = passage.text
    for distance in range(1, _FURTHEST + 1):
        for (start, left), (right, end) in zip(units, units[distance:], strict=False):
            swapped = text[right:end] + text[left:right] + text[start:left]
            yield from _kept(passage, start, end, swapped)


def delete(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the loss of each word with what parts it from the next one; never of the only one."""
    del draw, context
    units = units_of(passage)
    # A space with a mark on it is a cluster that parts nothing.
    parting = {cluster.start for cluster in passage.clusters if cluster.text in _PARTS}
    for first, last in units if len(units) > 1 else ():
        start, end = first, last
        while end in parting:
            end += 1
        # At the end, and before punctuation, it is the space before the word that goes.
        while end in (last, len(passage.text)) and start - 1 in parting:
            start -= 1
        yield from _kept(passage, start, end, "")


def repeat(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose each word twice, with a space between where the text parts its words by spaces."""
    del draw, context
    units = units_of(passage)
    starts, ends = {start for start, _ in units}, {end for _, end in units}
    for start, end in units:
        word = passage.text[start:end]
        beside = passage.text[end : end + 1], passage.text[max(0, start - 1) : start]
        part = next((sign for sign in beside if sign in _PARTS), " ")
        alone = len(units) == 1 and is_unspaced(word)
        touching = end in starts or start in ends or alone
        yield from _kept(passage, end, end, word if touching else part + word)


def _kept(passage: Passage, start: int, end: int, after: str) -> Iterator[Edit]:
    edit = Edit(start, end, passage.text[start:end], after)
    if edit.before != after and keeps_clusters(passage.text, edit):
        yield edit
