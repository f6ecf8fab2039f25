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
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

import regex

_SCRIPTS = (
    "Han Hiragana Katakana Thai Lao Khmer Myanmar Javanese Balinese Tai_Tham Tai_Le New_Tai_Lue Yi"
)
"""Those written without spaces; Tibetan has a sign between its syllables."""
ANY_LETTER = r"\p{L}\p{M}\p{N}"
UNSPACED = (
    "[" + "".join(rf"\p{{Script={script}}}" for script in _SCRIPTS.split()) + "ー々]"
    rf"&&[{ANY_LETTER}]"
)
_LETTER = rf"[[{ANY_LETTER}]--[{UNSPACED}]]"
_JOINER = r"(?:://|[-_./:@+#']|(?<=\d),(?=\d))"
_SUFFIX = rf"[+#]{{1,2}}(?!{_LETTER})"
# Possessive, and begun only where a run begins: a long run without joiners is looked at once.
_JOINED = regex.compile(
    rf"(?V1)(?<!{_LETTER}){_LETTER}++(?:(?:{_JOINER}{_LETTER}++)++(?:{_SUFFIX})?|{_SUFFIX})"
)
_WORD = regex.compile(rf"(?V1){_LETTER}++|[[{UNSPACED}]||\p{{M}}]++")
_RUN = regex.compile(rf"(?V1)[{UNSPACED}][[{UNSPACED}]||\p{{M}}]*+")
_CLUSTER = regex.compile(r"\X")
_FIRST_UNSPACED = regex.compile(rf"(?V1)[{UNSPACED}]")

# Unicode's Default_Ignorable_Code_Point, and the tatweel; by ranges, for which `re` is fastest.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u0640\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
_NON_JOINER = regex.compile(
    r"(?<=[\p{Script=Arabic}\p{M}])\u200C+(?=\p{Script=Arabic})"  # as in Persian "mi-khaham"
)
_DOTTED_I = regex.compile(r"i\u0307+")  # what the small letter of the Turkish capital becomes
_OTHER_DIGIT = re.compile(r"[^\D0-9]")
_MARKS = (
    *((mark, "'") for mark in "\u2018\u2019\u02bb\u02bc\u02b9\u2032\uff07`\u00b4"),
    *((mark, "-") for mark in "\u2010\u2011\u2012\u2013\u2212"),
)

_NUKTA, _POINTS, _ABOVE = 7, range(10, 37), 200
"""Canonical combining classes of marks that plain forms lack; Indic signs of vowels have 0."""
_LETTERS: dict[int, str] = str.maketrans(
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
_LETTERS.update(
    (ord(written) + order, chr(ord(plain) + order))
    for written, plain, orders in _ETHIOPIC
    for order in range(orders)
)


class _Plain(dict[int, str | None]):
    """What each character is in a plain form, for ``str.translate``; learned as they come."""

    def __missing__(self, code: int) -> str | None:
        place = unicodedata.combining(chr(code))
        dropped = place == _NUKTA or place in _POINTS or place >= _ABOVE
        self[code] = plain = None if dropped else _LETTERS.get(code, chr(code))
        return plain


_PLAIN = _Plain()
_REMEMBERED_CHARS = 64


def simplify(text: str) -> str:
    """Bring a text into the form that words are taken from."""
    if text.isascii():
        return text.lower().replace("`", "'")
    text = unicodedata.normalize("NFC", text)
    if "\u200c" in text:
        text = _NON_JOINER.sub("'", text)
    text = unicodedata.normalize("NFKC", _with_plain_marks(text)).casefold()
    if "\u0307" in text:
        text = _DOTTED_I.sub("i", text)
    text = _IGNORED.sub("", text)
    text = _with_plain_marks(unicodedata.normalize("NFKC", text))  # It may have brought new ones
    return _OTHER_DIGIT.sub(lambda found: str(unicodedata.decimal(found[0], found[0])), text)


def _with_plain_marks(text: str) -> str:
    for mark, plain in _MARKS:  # Much faster than one pass by a table
        text = text.replace(mark, plain)
    return text


def words_in(simple: str) -> Iterator[str]:
    """Yield the words of a simplified text, of scripts without spaces its pairs of clusters."""
    for word in _WORD.findall(simple):
        if word.isascii() or not has_unspaced(word):
            yield word
            continue
        clusters = clusters_of(word)
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
        clusters = clusters_of(run)
        if len(clusters) > 1:
            yield from clusters


def forms_of(word: str) -> tuple[str, ...]:
    """A word as written, and its plain form if that is another."""
    if word.isascii() and "'" not in word:
        return (word,)
    return _remembered_forms(word) if len(word) <= _REMEMBERED_CHARS else _forms(word)


def plain_of(words: str) -> str:
    """The plain form of a word, or of several with a space or line break between them."""
    decomposed = unicodedata.normalize("NFD", words)
    return unicodedata.normalize("NFC", decomposed.translate(_PLAIN))


def has_unspaced(word: str) -> bool:
    """Tell whether a word has characters of a script without spaces."""
    return _FIRST_UNSPACED.search(word) is not None


def clusters_of(run: str) -> list[str]:
    """Take a text apart in what its readers see as single characters."""
    return _CLUSTER.findall(run)


def _forms(word: str) -> tuple[str, ...]:
    if has_unspaced(word):
        return (word,)
    plain = plain_of(word)
    return (word,) if plain in (word, "") else (word, plain)


_remembered_forms = lru_cache(maxsize=1 << 16)(_forms)
