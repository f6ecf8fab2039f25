"""Queries typed in another script: all in Latin letters, all back in the script, or mixed.

Which script a text in Latin letters is brought back to is told by other letters in it, by the
script of its language code, or by the second script that its language is written in.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Cluster, Passage, keeps_clusters
from app.text.perturbations.romanize import knows, romanize, spell
from app.text.script import parse_lang

LATIN = "Latn"
_NATIVE = (
    "Cyrl Grek Armn Geor Hebr Arab Thaa Nkoo Deva Beng Guru Gujr Orya Taml Telu Knda Mlym Sinh "
    "Thai Laoo Khmr Mymr Ethi Tfng Olck Cher Cans Mong Adlm Mtei Hira Kana Hang Hani Java Syrc "
    "Tibt Copt Bali"
)
NATIVE = tuple(_NATIVE.split())
"""Scripts that people type in Latin letters."""
# Languages written in Latin letters, or often typed so, by the other script that they have or had.
_SECOND = {
    "Cyrl": "srp bos hbs cnr uzn uzb azj aze tuk kaz crh gag ron mol tat kaa rus ukr bul",
    "Arab": "hau knc ace min bjn zsm msa kmr kur tur som wol swh fuv aeb arb ary arz apc acm ajp "
    "urd pes",
    "Tfng": "kab tzm zgh taq rif shi",
    "Nkoo": "bam dyu mnk",
    "Deva": "hin npi mar san kok gom",
    "Guru": "pan",
    "Beng": "ben",
    "Taml": "tam",
    "Telu": "tel",
    "Grek": "ell",
    "Ethi": "amh",
    "Java": "jav",
    "Cher": "chr",
    "Cans": "iku",
    "Olck": "sat",
    "Hira": "jpn",
    "Geor": "kat",
    "Armn": "hye",
}
SECOND = {lang: script for script, langs in _SECOND.items() for lang in langs.split()}
"""The other script of languages that are written in Latin letters as well."""
_FEWEST_LETTERS = 2
_SPACES = re.compile(" {2,}")
_UNCHANGED: Mapping[int, str] = {}
# Punctuation as a Latin keyboard has it; what stands between words in Tibetan and Ethiopic.
_MARKS = "؟? ،, ؛; 。. 、, ，, ？? ！! ：: ।. ۔. ።. ፣, ፧? ՞? ։. །. ၊, ။."
_PUNCTUATION = {ord(pair[0]): pair[1] for pair in _MARKS.split()} | dict.fromkeys(
    map(ord, "་፡"), " "
)


def to_latin(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the whole text in Latin letters, with all the vowels and with fewer."""
    del draw, context
    yield from _whole(passage, romanize, _PUNCTUATION)
    yield from _whole(passage, lambda word: romanize(word, brief=True), _PUNCTUATION)


def to_native(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose the whole text in the other script of its language, where it is in Latin letters."""
    del draw
    script = _other_script(passage, context)
    if script:
        yield from _whole(passage, lambda word: spell(word, script) or word)


def mixed(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose each word, its second half, and each of its letters in the other script."""
    del draw
    script = _other_script(passage, context)
    for word in passage.words:
        for part in dict.fromkeys((word, word[len(word) // 2 :], *((c,) for c in word))):
            start, end = part[0].start, part[-1].end
            edit = Edit(start, end, passage.text[start:end], _other(passage, part, script))
            if edit.after and edit.after != edit.before and keeps_clusters(passage.text, edit):
                yield edit


def _other(passage: Passage, part: tuple[Cluster, ...], script: str) -> str:
    text = passage.text[part[0].start : part[-1].end]
    if {cluster.script for cluster in part} != {LATIN}:
        return romanize(text)
    return spell(text, script) if script else ""


def _whole(
    passage: Passage, write: Callable[[str], str], marks: Mapping[int, str] = _UNCHANGED
) -> Iterator[Edit]:
    """Write all words anew in one edit, from the first letter to the last character."""
    if not passage.words:
        return
    start, end = passage.words[0][0].start, passage.clusters[-1].end
    parts: list[str] = []
    done = start
    for word in passage.words:
        parts.append(passage.text[done : word[0].start].translate(marks))
        done = word[-1].end
        parts.append(write(passage.text[word[0].start : done]))
    parts.append(passage.text[done:end].translate(marks))
    after = _SPACES.sub(" ", "".join(parts)).rstrip(" ")
    edit = Edit(start, end, passage.text[start:end], after)
    if edit.after != edit.before and keeps_clusters(passage.text, edit):
        yield edit


def _other_script(passage: Passage, context: Context) -> str:
    """Name the script that Latin words would be brought back to; empty for none."""
    letters = Counter(cluster.script for cluster in passage.letters)
    if letters[LATIN] < _FEWEST_LETTERS:
        return ""
    others = [(count, script) for script, count in letters.items() if script in NATIVE]
    if others:
        return max(others)[1]
    if context.lang is None:
        return ""
    lang = parse_lang(context.lang)
    own = sorted(lang.scripts - {LATIN})
    script = own[-1] if own else SECOND.get(lang.language, "")
    return script if script and knows(script) else ""
