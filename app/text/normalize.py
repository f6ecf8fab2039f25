"""The only Unicode normalization: every text passes here before it is tokenized.

Training, export, service and probe call the same function, so that what is trained on is what is
served. It is kept small on purpose: composition (NFC), white space and controls. Case folding,
romanization and whatever else changes what a reader sees belong to the artifact's tokenizer.
"""

import re
import unicodedata

from app.errors import InvalidInputError

# C0, DEL and C1, but for the white space among them (tab to carriage return, the four separators
# U+001C-U+001F, and NEL), which str.split folds.
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]+")
_SURROGATES = re.compile("[\ud800-\udfff]")


def normalize(text: str) -> str:
    """Bring a text into the one form that is tokenized.

    Control characters are removed, each run of white space becomes one space, white space at both
    ends goes, and the rest is composed (NFC). Idempotent. A lone surrogate passes through; refuse
    it beforehand with ``require_text``.
    """
    text = " ".join(drop_controls(text).split())
    # Last, because a control between a letter and its mark would have kept them apart.
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def drop_controls(text: str) -> str:
    """Remove the control characters that are no white space."""
    return text if text.isprintable() else _CONTROLS.sub("", text)


def require_text(text: str, name: str = "text") -> str:
    """Normalize a text from outside, or say why it cannot be used.

    Args:
        text: What the caller sent.
        name: What the caller calls it, such as ``queries[3].text``; begins the error message.

    Returns:
        The normalized text, never empty.

    Raises:
        InvalidInputError: If it holds a lone surrogate, or nothing but white space and controls.
    """
    if lone := _SURROGATES.search(text):
        raise InvalidInputError(
            f"{name} holds the lone surrogate U+{ord(lone.group()):04X} at character "
            f"{lone.start()}, which no UTF-8 text can; expected valid Unicode: decode the text "
            "again from its source, or drop that character."
        )
    normalized = normalize(text)
    if not normalized:
        got = "is empty" if not text else "has nothing but white space and control characters"
        raise InvalidInputError(
            f"{name} {got}; expected at least one other character: send some text."
        )
    return normalized
