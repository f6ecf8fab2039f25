"""Controls of writing direction: the text shows as before, its code points are others.

Marks of the direction that a word has anyway, a word in isolation, and a word written backwards
between controls that turn it round again on the screen (Boucher et al. 2022,
https://arxiv.org/abs/2106.09898). The last is kept away from scripts whose letters join or stack:
there a reader would see it.
"""

import unicodedata
from collections.abc import Iterator

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Cluster, Passage

_LEFT_TO_RIGHT, _RIGHT_TO_LEFT = ("\u200e",), ("\u200f", "\u061c")
_ISOLATES = {False: ("\u2066", "\u2069"), True: ("\u2067", "\u2069")}
_EMBEDDINGS = {False: ("\u202a", "\u202c"), True: ("\u202b", "\u202c")}
# The other direction is forced on letters that were turned round.
_OVERRIDES = {False: ("\u202e", "\u202c"), True: ("\u202d", "\u202c")}
_SEPARATE = "Latn Cyrl Grek Armn Geor Hebr Ethi Hani Hira Kana Hang Tfng Olck Cher Cans"
_STANDING_ALONE = frozenset(_SEPARATE.split())


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose a mark before and inside each word, the word isolated, embedded and turned round."""
    del context
    numbers = draw.numbers("marks", 2 * len(passage.words)).tolist()
    for index, word in enumerate(passage.words):
        start, end = word[0].start, word[-1].end
        text = passage.text[start:end]
        backward = _is_right_to_left(text)
        marks = _RIGHT_TO_LEFT if backward else _LEFT_TO_RIGHT
        mark = marks[numbers[2 * index] % len(marks)]
        yield Edit(start, start, "", mark)
        if len(word) > 1:
            inside = word[numbers[2 * index + 1] % (len(word) - 1)]
            if inside.script in _STANDING_ALONE:
                yield Edit(inside.end, inside.end, "", mark)
        for opening, closing in (_ISOLATES[backward], _EMBEDDINGS[backward]):
            yield Edit(start, end, text, f"{opening}{text}{closing}")
        turned = _turned(word)
        if turned != text:
            opening, closing = _OVERRIDES[backward]
            yield Edit(start, end, text, f"{opening}{turned}{closing}")


def _turned(word: tuple[Cluster, ...]) -> str:
    if any(cluster.script not in _STANDING_ALONE for cluster in word):
        return "".join(cluster.text for cluster in word)
    return "".join(cluster.text for cluster in reversed(word))


def _is_right_to_left(text: str) -> bool:
    return unicodedata.bidirectional(text[0]) in ("R", "AL")
