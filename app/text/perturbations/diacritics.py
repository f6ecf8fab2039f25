"""Marks lost or added: what writers leave out and keyboards make easy to mistake.

A mark may be lost if its canonical combining class says that it sits on a letter rather than being
one: accents, tone marks, nuktas, kana voicing, Arabic and Hebrew points. Vowel signs and viramas
(classes 0, 9, 84, 91, 103, 118, 129-132) are spelling, not decoration, and stay. Letters with a
hook, a stroke or a form of their own lose that, as where a keyboard does not have them.
"""

import unicodedata
from collections.abc import Iterator

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Cluster, Passage

LOST = frozenset({7, 8, 107, 122, 202, 214, 216, *range(10, 37), *range(218, 241)})
# Marks that a script's writers put on letters. Where the result must be one composed letter, so
# that only letters come about that some language has, the mark is in COMPOSED.
COMPOSED = {
    "Latn": "\u0300\u0301\u0302\u0303\u0308\u0323\u030c",
    "Grek": "\u0301\u0308",
    "Cyrl": "\u0306\u0308",
    "Hira": "\u3099\u309a",
    "Kana": "\u3099\u309a",
}
ADDED = {
    "Arab": "\u064e\u064f\u0650\u0651",
    "Hebr": "\u05b0\u05b4\u05b7\u05b8",
    "Thai": "\u0e48\u0e49",
    "Laoo": "\u0ec8\u0ec9",
    "Nkoo": "\u07eb\u07ec\u07ed",
    "Syrc": "\u0730\u0733",
}
# Nuktas, which stand right after the consonant, and the consonants that take one.
NUKTAS = {"Deva": "\u093c", "Beng": "\u09bc", "Guru": "\u0a3c"}
_WITH_NUKTA = frozenset("कखगजडढफডঢযਸਖਗਜਫਲ")
_NO_TONE = "\u0e30\u0e32\u0e33\u0e40\u0e41\u0e42\u0e43\u0e44\u0e2f\u0e46"
_NO_TONE += "\u0eb0\u0eb2\u0eb3\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4\u0eaf\u0ec6"

# What people type for letters that their keyboard lacks and that do not decompose.
_PAIRS = (
    "đd ðd ħh łl ŧt øo ɓb ɗd ƙk ƴy ƥp ɔo ɛe ŋn ıi əe ɲn ʋv ƒf ɖd ɣg ǝe ɩi ʊu ɨi ʉu "
    "ёе ґг әа ғг қк ңн өо үу ұу ҳх ҷч ӣи ӯу һх ҙз ҫс ҡк ҥн ћч ђд љл њн џц јй їи єе іи ўу "
    "کك یي ہه ۃه ےي ۆو ێي ڕر ڵل ڤف پب چج ژز گك ٹت ڈد ڑر ںن ڭك ۋو"
)
_PLAIN = {pair[0]: pair[1] for pair in _PAIRS.split()}
_PLAIN |= {"ß": "ss", "æ": "ae", "œ": "oe", "þ": "th"}
_PLAIN |= {
    a.upper(): b.title() for a, b in _PLAIN.items() if len(a.upper()) == 1 and a.upper() != a
}


# Written out, for finding them among all marks takes as long as all else at a start.
_NAMES = (
    "Latn Grek Cyrl Hira Kana Arab Hebr Thai Laoo Nkoo Syrc Deva Beng Guru Samr Mand Gujr "
    "Orya Telu Knda Tibt Mymr Ethi Khmr Mong Limb Bugi Lana Bali Batk Lepc Bamu Kali Java "
    "Tavt Khar Mani Rohg Yezi Sogd Ougr Kthi Cakm Mahj Shrd Khoj Sind Gran Newa Tirh Sidd "
    "Takr Dogr Diak Gonm Adlm"
)
SCRIPTS = tuple(_NAMES.split())
"""The scripts that marks are put on, or that have marks of their own to lose."""


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the loss of each mark, of all of a word and of the text, and a mark more a letter."""
    del context
    numbers = draw.numbers("marks", len(passage.letters)).tolist()
    for cluster, number in zip(passage.letters, numbers, strict=True):
        if cluster.text in _PLAIN:
            yield Edit(cluster.start, cluster.end, cluster.text, _PLAIN[cluster.text])
        if cluster.script not in SCRIPTS:
            continue
        decomposed = unicodedata.normalize("NFD", cluster.text)
        for place, mark in enumerate(decomposed):
            if unicodedata.combining(mark) in LOST:
                yield _edit(cluster, decomposed[:place] + decomposed[place + 1 :])
        added = _bearable(cluster, decomposed)
        if added:
            yield _edit(cluster, added[number % len(added)])
    for clusters in (*passage.words, _from_first_to_last_letter(passage)):
        if clusters:
            start, end = clusters[0].start, clusters[-1].end
            plain = "".join(_without_marks(cluster.text) for cluster in clusters)
            yield Edit(start, end, passage.text[start:end], plain)


def _from_first_to_last_letter(passage: Passage) -> tuple[Cluster, ...]:
    letters = [index for index, cluster in enumerate(passage.clusters) if cluster.word >= 0]
    return passage.clusters[letters[0] : letters[-1] + 1] if letters else ()


def _without_marks(cluster: str) -> str:
    """Take all marks from a cluster, and what a plain keyboard lacks."""
    if cluster in _PLAIN:
        return _PLAIN[cluster]
    decomposed = unicodedata.normalize("NFD", cluster)
    return "".join(c for c in decomposed if unicodedata.combining(c) not in LOST)


def _edit(cluster: Cluster, after: str) -> Edit:
    composed = unicodedata.normalize("NFC", after)
    return Edit(cluster.start, cluster.end, cluster.text, composed)


def _bearable(cluster: Cluster, decomposed: str) -> list[str]:
    if len(decomposed) == 1 and cluster.script in COMPOSED:
        marked = (decomposed + mark for mark in COMPOSED[cluster.script])
        return [m for m in marked if len(unicodedata.normalize("NFC", m)) == 1]
    if any(unicodedata.combining(c) in LOST for c in decomposed):
        return []
    if decomposed[0] in _WITH_NUKTA:
        return [decomposed[0] + NUKTAS[cluster.script] + decomposed[1:]]
    if any(c in _NO_TONE for c in decomposed):
        return []
    return [decomposed + mark for mark in ADDED.get(cluster.script, "")]
