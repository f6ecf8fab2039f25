"""Case lost or added, in the scripts that have it: of a letter, a word, or the whole text."""

from collections.abc import Iterator

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage

SCRIPTS = (
    "Latn",
    "Cyrl",
    "Grek",
    "Armn",
    "Geor",
    "Copt",
    "Cher",
    "Glag",
    "Dsrt",
    "Osge",
    "Adlm",
    "Medf",
    "Vith",
    "Wara",
    "Hung",
)


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the other case for each letter, and capitals or small letters for words and text."""
    del draw, context  # few enough to propose them all
    for word in passage.words:
        start, end = word[0].start, word[-1].end
        text = passage.text[start:end]
        forms = dict.fromkeys((text.upper(), text.lower(), text.title()))
        yield from (Edit(start, end, text, form) for form in forms if form != text)
        for cluster in word if len(word) > 1 else ():
            swapped = cluster.text.swapcase()
            if swapped != cluster.text:
                yield Edit(cluster.start, cluster.end, cluster.text, swapped)
    if len(passage.words) > 1:
        start, end = passage.words[0][0].start, passage.words[-1][-1].end
        text = passage.text[start:end]
        yield from (Edit(start, end, text, form) for form in (text.upper(), text.lower()))
