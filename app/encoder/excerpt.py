"""How much of a text to look at, so that no text costs much more than its tokens are worth.

Some characters unfold into many (U+FDFA into eighteen letters), some texts are endless, and
composing a long run of marks takes quadratic time; none of that may be paid for in full.
"""

import unicodedata
from bisect import bisect_right

# Default_Ignorable_Code_Point of Unicode: letters and marks that show nothing.
_INVISIBLE = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5)),
    *((0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164)),
    *((0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8)),
    *((0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF)),
)
_INVISIBLE_STARTS = tuple(first for first, _ in _INVISIBLE)

# A symbol beyond the first plane may be spelled out as words.
_LETTERS_OF_ASTRAL = 8


def is_visible(character: str) -> bool:
    """Tell whether a character shows anything: no space, control or default-ignorable."""
    if unicodedata.category(character) in ("Cc", "Cs", "Zs", "Zl", "Zp"):
        return False
    index = bisect_right(_INVISIBLE_STARTS, ord(character)) - 1
    return index < 0 or ord(character) > _INVISIBLE[index][1]


def bound(text: str, limit: int) -> tuple[str, bool]:
    """Cut a text to at most ``limit`` characters, runs of white space counted as one.

    Returns:
        The text, and whether anything was cut.
    """
    if len(text) <= limit:
        return text, False
    try:
        text.encode()
    except UnicodeEncodeError:
        # A lone surrogate; whole, the text is refused for it, wherever it stands.
        return text, False
    folded = " ".join(text.split())
    return folded[:limit], len(folded) > limit


def first_reach(text: str, limit: int) -> int:
    """Choose how many characters to try first: ``limit``, or fewer where they unfold into more."""
    start = text[:limit]
    if len(text) <= limit // 4 or start.isascii():
        return limit
    astral = len(start.encode("utf-16-le")) // 2 - len(start)
    unfolded = len(unicodedata.normalize("NFKC", start)) + _LETTERS_OF_ASTRAL * astral
    return limit if unfolded <= 2 * len(start) else max(1, limit * len(start) // unfolded)


def excerpt(text: str, limit: int) -> str:
    """Cut a text to at most ``limit`` characters, before a word where one begins not far back."""
    if len(text) <= limit:
        return text
    # A word cut in two would give tokens that the whole text does not have.
    space = text.rfind(" ", limit * 3 // 4, limit + 1)
    return text[: space if space > 0 else limit]
