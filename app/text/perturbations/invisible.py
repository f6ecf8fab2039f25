"""Characters without width inside words: nothing changes for a reader.

They stand between grapheme clusters only. Joiners are kept away from scripts whose letters join or
stack, where they change what a reader sees.
"""

from collections.abc import Iterator

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage

_ANYWHERE = "\u200b\u2060\u00ad"  # zero width space, word joiner, soft hyphen
_JOINERS = "\u200c\u200d"  # zero width non-joiner and joiner
_WITHOUT_JOINING = frozenset(
    (
        "Latn",
        "Cyrl",
        "Grek",
        "Armn",
        "Geor",
        "Hebr",
        "Ethi",
        "Hani",
        "Hira",
        "Kana",
        "Hang",
        "Thai",
        "Laoo",
        "Tfng",
        "Olck",
        "Cher",
        "Cans",
    )
)


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose one character without width for each place between two clusters of a word."""
    del context
    places = list(passage.neighbors())
    numbers = draw.numbers("invisible", len(places)).tolist()
    for (left, right), number in zip(places, numbers, strict=True):
        separate = {left.script, right.script} <= _WITHOUT_JOINING
        choices = _ANYWHERE + _JOINERS if separate else _ANYWHERE
        yield Edit(left.end, left.end, "", choices[number % len(choices)])
