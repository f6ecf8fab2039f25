"""Slips where a character takes several keys: Chinese, Korean and Ethiopic, with input methods.

Chinese is typed by sound, so a slip picks a homophone: a frequent character with the same Pinyin,
tones aside. So it does for Japanese, whose readings are others: a stand-in for lack of a table. A
Hangul syllable is typed jamo by jamo on the two-set layout, so a slip changes one jamo into a
neighbor on it. An Ethiopic syllable is typed as consonant and vowel, so a slip changes the vowel.
"""

from collections.abc import Iterator
from functools import cache

from app.text.tables import read_table

_HANGUL_FIRST, _HANGUL_LAST = "가", "힣"
_INITIALS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_FINALS = " ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ"
_JAMO = (_INITIALS, _VOWELS, _FINALS)
# The two-set layout (KS X 5002): what lies beside and below one another, and Shift's doubled jamo.
_ROWS = ("ㅂㅈㄷㄱㅅㅛㅕㅑㅐㅔ", "ㅁㄴㅇㄹㅎㅗㅓㅏㅣ", "ㅋㅌㅊㅍㅠㅜㅡ")
_SHIFTED = dict(zip("ㅂㅈㄷㄱㅅㅐㅔ", "ㅃㅉㄸㄲㅆㅒㅖ", strict=True))
# Character sets and the first bytes of their first level: 3,755, 5,401 and 2,965 characters.
_LEVELS = {
    "Hans": ("gb2312", 0xB0, 0xD7),
    "Hant": ("big5", 0xA4, 0xC6),
    "Jpan": ("euc_jp", 0xB0, 0xCF),
}
_ETHIOPIC = range(0x1200, 0x1358)
_ORDERS = 7


def slips(cluster: str, script: str, writing: str = "") -> tuple[str, ...]:
    """Name what a slip makes of a character that is composed; empty for scripts typed by keys.

    Args:
        cluster: A grapheme cluster; what follows its first code point is kept.
        script: ISO 15924 code of the first one.
        writing: ``Hans``, ``Hant`` or ``Jpan``, for Chinese characters; otherwise told by the
            character.
    """
    if script == "Hani":
        others = _homophones(cluster[0], writing)
    elif script in _COMPOSED:
        others = _COMPOSED[script](cluster[0])
    else:
        return ()
    return tuple(other + cluster[1:] for other in others)


def _homophones(character: str, writing: str) -> Iterator[str]:
    sound = _sounds().get(character)
    if sound is not None:
        if writing not in _LEVELS:
            writing = "Hans" if _is_frequent(character, "Hans") else "Hant"
        yield from (other for other in _by_sound(writing)[sound] if other != character)


@cache
def _sounds() -> dict[str, str]:
    return {
        character: sound
        for sound, characters in read_table("romanization")["Hani"].items()
        for character in characters
    }


@cache
def _by_sound(writing: str) -> dict[str, str]:
    table = read_table("romanization")["Hani"]
    return {
        sound: "".join(character for character in found if _is_frequent(character, writing))
        for sound, found in table.items()
    }


def _is_frequent(character: str, writing: str) -> bool:
    """Tell the first level of a writing's old character set: the characters in most use."""
    codec, first, last = _LEVELS[writing]
    code = character.encode(codec, "ignore")
    return len(code) == 2 and first <= code[0] <= last


def _syllables(syllable: str) -> Iterator[str]:
    if not _HANGUL_FIRST <= syllable <= _HANGUL_LAST:
        return
    code = ord(syllable) - ord(_HANGUL_FIRST)
    jamo = [code // 588, code % 588 // 28, code % 28]
    for place, number in enumerate(jamo):
        for other in _jamo_around().get(_JAMO[place][number], ""):
            changed = list(jamo)
            changed[place] = _JAMO[place].find(other)
            if changed[place] >= 0:
                initial, vowel, final = changed
                yield chr(ord(_HANGUL_FIRST) + initial * 588 + vowel * 28 + final)


@cache
def _jamo_around() -> dict[str, str]:
    """For each jamo those that its key touches, and the one that Shift makes of it or back."""
    around: dict[str, str] = {}
    for row, keys in enumerate(_ROWS):
        for column, key in enumerate(keys):
            near = [keys[c] for c in (column - 1, column + 1) if 0 <= c < len(keys)]
            for other_row, columns in ((row - 1, (0, 1)), (row + 1, (-1, 0))):
                if 0 <= other_row < len(_ROWS):
                    line = _ROWS[other_row]
                    near += [line[column + c] for c in columns if 0 <= column + c < len(line)]
            around[key] = "".join((*near, _SHIFTED.get(key, "")))
    return around | {doubled: key for key, doubled in _SHIFTED.items()}


def _orders(syllable: str) -> Iterator[str]:
    code = ord(syllable)
    if code in _ETHIOPIC and code % 8 < _ORDERS:
        first = code - code % 8
        yield from (chr(first + order) for order in range(_ORDERS) if first + order != code)


_COMPOSED = {"Hang": _syllables, "Ethi": _orders}
