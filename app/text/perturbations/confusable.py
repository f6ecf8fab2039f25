"""Look-alikes: a letter replaced by one that most typefaces draw the same or nearly so.

The groups are written out for Latin, Cyrillic, Greek, Armenian, Arabic and kana, after what
Unicode's confusables data (UTS 39) lists for letters in everyday use; the Kangxi radicals come from
the compatibility decomposition (NFKC). Scripts without a group are not attacked.
"""

import unicodedata
from collections.abc import Iterator

from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage
from app.text.script import script_of_character

# Each letter of a group can stand for each other one.
_GROUPS = (
    # Latin, Cyrillic, Greek, Armenian
    *("aаɑ", "cсϲ", "dԁ", "eе", "gɡ", "hһհ", "iі", "jјϳ", "lӏ", "oоοօ", "pр", "qԛ", "sѕ"),
    *("uսʋ", "vѵν", "wԝ", "xх", "yу", "zᴢ", "nո", "ρр", "кκ", "гᴦ", "пᴨ", "ɛε", "ɩι"),
    *("AАΑ", "BВΒ", "CСϹ", "EЕΕ", "GԌ", "HНΗ", "IІΙ", "JЈ", "KКΚ", "MМΜ", "NΝ", "OОΟՕ"),
    *("PРΡ", "QԚ", "SЅՏ", "TТΤ", "UՍ", "VѴ", "WԜ", "XХΧ", "YҮΥ", "ZΖ", "ГΓ", "ПΠ", "ФΦ"),
    # Arabic, Persian and Urdu yeh, kaf and heh
    *("يیى", "كک", "هہە"),
    # Katakana, hiragana and Han
    *("へヘ", "りリ", "カ力", "ロ口", "エ工", "ニ二", "ハ八", "タ夕", "ト卜", "オ才", "チ千"),
)


def _look_alikes() -> dict[str, str]:
    radicals = (chr(code) for code in range(0x2F00, 0x2FD6))
    derived = (unicodedata.normalize("NFKC", radical) + radical for radical in radicals)
    table: dict[str, str] = {}
    for group in (*_GROUPS, *derived):
        for letter in group:
            table[letter] = table.get(letter, "") + group.replace(letter, "")
    return table


LOOK_ALIKES = _look_alikes()
"""For each letter the letters that look like it."""

SCRIPTS = tuple(dict.fromkeys(script_of_character(letter) for letter in LOOK_ALIKES))


def propose(passage: Passage, draw: Draw) -> Iterator[Edit]:
    """Propose each look-alike of each letter."""
    del draw  # few enough to propose them all
    for cluster in passage.letters:
        for letter in LOOK_ALIKES.get(cluster.text[0], ""):
            yield Edit(cluster.start, cluster.end, cluster.text, letter + cluster.text[1:])
