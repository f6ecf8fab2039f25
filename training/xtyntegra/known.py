"""What the perturbed queries of the public sets are to be: digests that come along.

They tell whether this machine attacks with the very texts that others did. A table has a row for
each task, language and family, with the texts it was made of and a digest for each budget of edits
and draw; so a run with fewer draws, or more, is checked in what it shares with the table.
"""

import csv
import io
import platform
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from training.xtyntegra.perturbed import FORMAT, Condition, Perturbed

TABLE = Path(__file__).with_name("perturbed.tsv")
_DIGITS = 16
_COLUMNS = ("task", "lang", "family", "seed", "texts", "source")


@dataclass(frozen=True, slots=True)
class Known:
    """What the texts of one task, language and family are to be.

    Attributes:
        source: Digest of the texts as they were.
        digests: Digest of each condition.
    """

    source: str
    digests: Mapping[Condition, str]


Key = tuple[str, str, str, int, int]
"""Task, language, family, seed, number of texts."""


@dataclass(frozen=True, slots=True)
class KnownTexts:
    """A table of digests.

    Attributes:
        made_with: What it was made with, in words: texts may differ under another Unicode.
        rows: The digests by task, language, family, seed and number of texts.
    """

    made_with: str
    rows: Mapping[Key, Known]

    def differences(self, perturbed: Perturbed) -> list[str] | None:
        """Say in what perturbed texts differ from those of the table.

        Returns:
            Sentences, none if they are the same; None if the table has nothing to compare with.
        """
        known = self.rows.get(_key(perturbed))
        if known is None:
            return None
        what = f"{perturbed.task} {perturbed.lang}, {perturbed.recipe.family}"
        if known.source != perturbed.source[:_DIGITS]:
            return [f"{what}: the {len(perturbed.texts)} texts themselves are others"]
        shared = [one for one in perturbed.recipe.conditions if one in known.digests]
        changed = [
            f"edits={edits}/draw={draw}"
            for edits, draw in shared
            if perturbed.digest((edits, draw))[:_DIGITS] != known.digests[edits, draw]
        ]
        if changed:
            said = f"{what}: the same texts are perturbed otherwise in {', '.join(changed)}"
            return [f"{said}; the table was made with {self.made_with}, this is {surroundings()}"]
        return [] if shared else None


def surroundings() -> str:
    """Name what perturbations may depend on beside the code."""
    return (
        f"format {FORMAT}, Python {platform.python_version()}, "
        f"Unicode {unicodedata.unidata_version}"
    )


@cache
def committed() -> KnownTexts:
    """Read the table that comes along."""
    return read_table(TABLE.read_text(encoding="utf-8"))


def read_table(text: str) -> KnownTexts:
    """Read a table that ``write_table`` wrote."""
    first, _, rest = text.partition("\n")
    rows: dict[Key, Known] = {}
    for row in csv.DictReader(io.StringIO(rest), delimiter="\t"):
        key = (row["task"], row["lang"], row["family"], int(row["seed"]), int(row["texts"]))
        rows[key] = Known(
            row["source"],
            {_condition(name): row[name] for name in row if name not in _COLUMNS and row[name]},
        )
    return KnownTexts(first.removeprefix("# "), rows)


def write_table(perturbed: Iterable[Perturbed]) -> str:
    """Write the digests of perturbed texts, in an order of their own."""
    rows: dict[Key, dict[str, object]] = {}
    conditions: set[Condition] = set()
    for one in perturbed:
        key = _key(one)
        row: dict[str, object] = dict(zip(_COLUMNS, (*key, one.source[:_DIGITS]), strict=True))
        row |= {_name(each): one.digest(each)[:_DIGITS] for each in one.recipe.conditions}
        conditions |= set(one.recipe.conditions)
        rows[key] = row
    out = io.StringIO()
    out.write(f"# {surroundings()}\n")
    writer = csv.DictWriter(
        out, [*_COLUMNS, *map(_name, sorted(conditions))], delimiter="\t", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(row for _, row in sorted(rows.items()))
    return out.getvalue()


def _key(perturbed: Perturbed) -> Key:
    recipe = perturbed.recipe
    return perturbed.task, perturbed.lang, recipe.family, recipe.seed, len(perturbed.texts)


def _name(condition: Condition) -> str:
    return f"{condition[0]}/{condition[1]}"


def _condition(name: str) -> Condition:
    edits, draw = name.split("/")
    return int(edits), int(draw)
