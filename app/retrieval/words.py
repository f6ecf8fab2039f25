"""The words of a text as lexical search compares them, in any script.

- Words are runs of letters, marks and digits, folded by case and compatibility. Digits of all
  scripts are the same ten. Characters that do not show, and the Arabic tatweel, are dropped.
- What hyphens, dots, apostrophes and the like join is a word too, so that ``AB-12.7``, ``C++`` and
  ``l'homme`` find themselves, and ``homme`` finds the last.
- Scripts without spaces give pairs of neighboring clusters, whatever a dictionary would say.
- A word may have a plain form besides: without accents, tone marks, vowel points, nuktas and
  hooks, and with letters that are commonly written for each other made one. ``ona`` so finds the
  Yoruba ``ọ̀nà``, ``dan`` the Hausa ``ɗan``, ``isparta`` the Turkish ``Isparta`` and ``ısparta``.
  The signs of vowels in Indic scripts are no such marks and stay.

Plain forms come beside the written ones, so recall is not paid for with precision but with room.

References:
    The plain forms follow, in part, those of Lucene's folding filters, such as ASCIIFoldingFilter,
    ArabicNormalizer, PersianNormalizer and HindiNormalizer, https://lucene.apache.org/core/.
"""

import itertools
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import regex

_SCRIPTS = (
    "Han Hiragana Katakana Thai Lao Khmer Myanmar Javanese Balinese Tai_Tham Tai_Le New_Tai_Lue Yi"
)
"""Those written without spaces; Tibetan has a sign between its syllables."""
_ANY_LETTER = r"\p{L}\p{M}\p{N}"
_UNSPACED = (
    "[" + "".join(rf"\p{{Script={script}}}" for script in _SCRIPTS.split()) + "ー々]"
    rf"&&[{_ANY_LETTER}]"
)
_LETTER = rf"[[{_ANY_LETTER}]--[{_UNSPACED}]]"
_JOINER = r"(?:://|[-_./:@+#']|(?<=\d),(?=\d))"
_SUFFIX = rf"[+#]{{1,2}}(?!{_LETTER})"
# Possessive, and begun only where a run begins: a long run without joiners is looked at once.
_JOINED = regex.compile(
    rf"(?V1)(?<!{_LETTER}){_LETTER}++(?:(?:{_JOINER}{_LETTER}++)++(?:{_SUFFIX})?|{_SUFFIX})"
)
_WORD = regex.compile(rf"(?V1){_LETTER}++|[[{_UNSPACED}]||\p{{M}}]++")
_RUN = regex.compile(rf"(?V1)[{_UNSPACED}][[{_UNSPACED}]||\p{{M}}]*+")
_CLUSTER = regex.compile(r"\X")
_FIRST_UNSPACED = regex.compile(rf"(?V1)[{_UNSPACED}]")

_IGNORED = regex.compile(r"[\p{Default_Ignorable_Code_Point}\u0640]+")
_NON_JOINER = regex.compile(
    r"(?<=[\p{Script=Arabic}\p{M}])\u200C+(?=\p{Script=Arabic})"  # as in Persian "mi-khaham"
)
_DOTTED_I = regex.compile(r"i\u0307+")  # what the small letter of the Turkish capital becomes
_OTHER_DIGIT = regex.compile(r"(?V1)[\p{Nd}--0-9]")
_MARKS = str.maketrans(
    dict.fromkeys("\u2018\u2019\u02bb\u02bc\u02b9\u2032\uff07`\u00b4", "'")
    | dict.fromkeys("\u2010\u2011\u2012\u2013\u2212", "-")
)

_NUKTA, _POINTS, _ABOVE = 7, range(10, 37), 200
"""Canonical combining classes of marks that plain forms lack; Indic signs of vowels have 0."""
_PLAIN = str.maketrans(
    {
        **dict(zip("ɓɗɖđɛəǝɔøƙƴłŋɲɩıʋħŧɣƒʒð", "bdddeeeookylnniivhtgfzd", strict=True)),
        "æ": "ae",
        "œ": "oe",
        "þ": "th",
        "ß": "ss",
        "'": "",
        # Arabic letters that are typed for each other: yeh, kaf, heh.
        **dict.fromkeys("ىیے", "ي"),
        "ک": "ك",
        **dict.fromkeys("ةہەھ", "ه"),
        "\u0901": "\u0902",  # candrabindu and anusvara
    }
)
_ETHIOPIC = (("ሐ", "ሀ", 8), ("ኀ", "ሀ", 8), ("ሠ", "ሰ", 8), ("ዐ", "አ", 7), ("ፀ", "ጸ", 7))
_PLAIN.update(
    (ord(written) + order, chr(ord(plain) + order))
    for written, plain, orders in _ETHIOPIC
    for order in range(orders)
)
_REMEMBERED_CHARS = 64


def simplify(text: str) -> str:
    """Bring a text into the form that words are taken from."""
    if text.isascii():
        return text.lower().replace("`", "'")
    text = _NON_JOINER.sub("'", unicodedata.normalize("NFC", text)).translate(_MARKS)
    text = unicodedata.normalize("NFKC", text).casefold()
    text = _IGNORED.sub("", _DOTTED_I.sub("i", text))
    text = unicodedata.normalize("NFKC", text).translate(_MARKS)  # it may have brought new ones
    return _OTHER_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0], found[0])), text)


def words_in(simple: str) -> Iterator[str]:
    """Yield the words of a simplified text, of scripts without spaces its pairs of clusters."""
    for word in _WORD.findall(simple):
        if word.isascii() or _FIRST_UNSPACED.search(word) is None:
            yield word
            continue
        clusters = _CLUSTER.findall(word)
        if len(clusters) == 1:
            yield word
        yield from (left + right for left, right in itertools.pairwise(clusters))


def joined_in(simple: str) -> Iterator[str]:
    """Yield what punctuation joins, each as a whole."""
    yield from _JOINED.findall(simple)


def single_clusters_in(simple: str) -> Iterator[str]:
    """Yield the clusters that ``words_in`` has in pairs only, for queries of a single one."""
    if simple.isascii():
        return
    for run in _RUN.findall(simple):
        clusters = _CLUSTER.findall(run)
        if len(clusters) > 1:
            yield from clusters


def forms_of(word: str) -> tuple[str, ...]:
    """A word as written, and its plain form if that is another."""
    if word.isascii() and "'" not in word:
        return (word,)
    return _remembered_forms(word) if len(word) <= _REMEMBERED_CHARS else _forms(word)


def _forms(word: str) -> tuple[str, ...]:
    if _FIRST_UNSPACED.search(word) is not None:
        return (word,)
    bare = "".join(c for c in unicodedata.normalize("NFD", word) if not _is_dropped(c))
    plain = unicodedata.normalize("NFC", bare.translate(_PLAIN))
    return (word,) if plain in (word, "") else (word, plain)


def _is_dropped(character: str) -> bool:
    place = unicodedata.combining(character)
    return place == _NUKTA or place in _POINTS or place >= _ABOVE


_remembered_forms = lru_cache(maxsize=1 << 16)(_forms)
