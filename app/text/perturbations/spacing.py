"""Words split by a space or run together."""

from collections.abc import Iterator
from itertools import pairwise

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose a space between any two clusters of a word, and no space between any two words."""
    del draw, context  # few enough to propose them all
    for left, _ in passage.neighbors():
        yield Edit(left.end, left.end, "", " ")
    for left, right in pairwise(passage.words):
        start, end = left[-1].end, right[0].start
        between = passage.text[start:end]
        if between.isspace():
            yield Edit(start, end, between, "")
