"""Punctuation of other scripts, or none, or some where there was none.

Each mark has a role (full stop, comma, question mark, ...) and other marks with the same role, in
other scripts or typed otherwise. What normalization undoes is left out, such as the Greek question
mark U+037E, which becomes a semicolon.
"""

from collections.abc import Iterator, Mapping
from functools import cache

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage, keeps_clusters

# Marks of the same role, by spaces.
_ROLES = (
    ". 。 । ۔ ። ． ։ ། ။ ។ 。",
    ", ، ， 、 ፣ ︐ ߸",
    "? ؟ ？ ; ՞ ፧ ⸮ ︖",
    "! ！ ՜ ߹ ¡ ︕",
    ": ： ፦ ∶ ։",
    "; ؛ ； ፤",
    "' ’ ʼ ‘ ` ´ ʻ ＇ ׳",
    '" “ ” „ « » 「 」 ״ ＂',
    "- ‐ – — − － ־ ‑",
    "( （",
    ") ）",
    "/ ／",
    "% ٪ ％",
    "… ...",
)
_MOST = 4
# What ends a text and what parts it, by script, where these are others than in Latin.
_ENDINGS = {
    **dict.fromkeys(("Arab", "Syrc", "Thaa"), "؟.!"),
    **dict.fromkeys(("Deva", "Beng", "Guru", "Orya"), "?।!"),
    **dict.fromkeys(("Hani", "Hira", "Kana"), "？。！"),
    **{"Grek": ";.!", "Armn": "՞։՜", "Ethi": "፧።!", "Mymr": "?။!", "Khmr": "?។!", "Tibt": "?།!"},
}
_COMMAS = {
    **dict.fromkeys(("Arab", "Syrc", "Thaa"), "،"),
    **dict.fromkeys(("Hani", "Hira", "Kana"), "，"),
    **{"Ethi": "፣", "Nkoo": "߸", "Mymr": "၊"},
}


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the loss of each mark, four others in its place, and an ending for the text."""
    del context
    marks = [cluster for cluster in passage.clusters if cluster.text in _others()]
    spaces = {c.start for c in passage.clusters if len(c.text) == 1 and c.text.isspace()}
    numbers = draw.numbers("punctuation", len(marks)).tolist()
    for cluster, number in zip(marks, numbers, strict=True):
        others = _others()[cluster.text]
        forms = [others[(number + turn) % len(others)] for turn in range(min(_MOST, len(others)))]
        for form in dict.fromkeys(forms):
            yield from _kept(passage, cluster.start, cluster.end, form)
        # A mark goes with the space before it where one too many would be left.
        last = cluster.end == len(passage.text) or cluster.end in spaces
        start = cluster.start - (last and cluster.start - 1 in spaces)
        yield from _kept(passage, start, cluster.end, "")
    if passage.words:
        last = passage.words[-1][-1]
        if not passage.text[last.end :].strip():
            endings = _ENDINGS.get(last.script, "?.!")
            yield from (Edit(last.end, last.end, "", mark) for mark in endings)
        for word in passage.words[:-1]:
            end = word[-1].end
            if passage.text[end].isspace():
                yield Edit(end, end, "", _COMMAS.get(word[-1].script, ","))


def _kept(passage: Passage, start: int, end: int, after: str) -> Iterator[Edit]:
    edit = Edit(start, end, passage.text[start:end], after)
    if keeps_clusters(passage.text, edit):
        yield edit


@cache
def _others() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for role in _ROLES:
        members = role.split(" ")
        for member in members:
            others = tuple(other for other in members if other != member)
            found[member] = tuple(dict.fromkeys((*found.get(member, ()), *others)))
    return found
