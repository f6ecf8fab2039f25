"""Look-alikes: a letter replaced by one that most typefaces draw the same or nearly so.

Letters in everyday use have groups of their own here, of Latin, Cyrillic, Greek, Armenian, Arabic
and kana, and the Kangxi radicals come from the compatibility decomposition (NFKC). All others come
from a table of Unicode's confusables (UTS 39; ``app/text/tables``): letters of one skeleton. Few
letters of Indic scripts have any: there the family is rarely applicable.
"""

import unicodedata
from collections.abc import Iterator, Mapping
from functools import cache

from app.text.perturbations.context import Context
from app.text.perturbations.edits import Draw, Edit
from app.text.perturbations.passage import Passage, keeps_clusters
from app.text.script import script_of_character
from app.text.tables import read_table

RARE = 2
"""Look-alikes from the table proposed for each letter, at most."""

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
"""For each letter in everyday use the letters that look like it."""

_TABLED = (
    "Cher Cans Copt Lisu Thai Osge Tfng Mlym Telu Knda Ethi Taml Laoo Hebr Geor Mong Nkoo Deva "
    "Beng Tibt Khmr Java Orya Mymr Gujr"
)
SCRIPTS = tuple(
    dict.fromkeys(
        (
            *(script_of_character(letter) for letter in LOOK_ALIKES),
            *_TABLED.split(),
        )
    )
)


def propose(passage: Passage, draw: Draw, context: Context) -> Iterator[Edit]:
    """Propose each everyday look-alike of each letter, and two of the others."""
    del context
    letters = passage.letters
    numbers = draw.numbers("look-alikes", len(letters)).tolist()
    for cluster, number in zip(letters, numbers, strict=True):
        first = cluster.text[0]
        everyday = LOOK_ALIKES.get(first, "")
        rare = [letter for letter in rare_look_alikes().get(first, "") if letter not in everyday]
        drawn = [rare[(number + turn) % len(rare)] for turn in range(min(RARE, len(rare)))]
        for letter in (*everyday, *drawn):
            edit = Edit(cluster.start, cluster.end, cluster.text, letter + cluster.text[1:])
            if keeps_clusters(passage.text, edit):
                yield edit


@cache
def rare_look_alikes() -> Mapping[str, str]:
    """For each letter of the table the others of its group."""
    groups = read_table("lookalikes")["groups"]
    return {letter: group.replace(letter, "") for group in groups for letter in group}
