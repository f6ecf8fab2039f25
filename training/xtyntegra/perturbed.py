"""Queries perturbed before any model sees them, so that all models are asked the same.

What becomes of a text depends on text, language, family, edits, draw and seed alone: not on the
model, the order, the machine or the other texts. Smaller budgets of edits are the beginning of
larger ones, and fewer draws of more. A family that cannot act on a text gives None, never the text
itself. What it trades away: nothing here looks for the worst text; see ``searched`` for that.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.errors import InvalidInputError
from app.text.lexicon import load_lexicon
from app.text.normalize import normalize
from app.text.perturbations.context import Context
from app.text.perturbations.edits import Edit, apply_edits, fits
from app.text.perturbations.family import Family, changes, proposals, why_not
from app.text.perturbations.passage import Passage
from app.text.perturbations.registry import FAMILIES, family_of
from app.text.script import parse_lang

FORMAT = 1
"""Of the files; rises when the same request would give other texts."""

MOST_DRAWS = 1000
"""Draws of a seed; draw 0 of the next seed comes after them."""

SHARED_FAMILIES = tuple(
    family.name for family in FAMILIES.values() if "token_neighbors" not in family.needs
)
"""Families whose texts do not depend on the model."""

Condition = tuple[int, int]
"""Edits and draw."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How texts are perturbed.

    Attributes:
        family: One of ``SHARED_FAMILIES``.
        edits: Budgets of edits, each from 1, rising.
        draws: How many texts are drawn for each budget.
        seed: Chooses among the edits; draw d is ``perturb`` with the seed 1000 * seed + d.

    Raises:
        InvalidInputError: If a value does not fit.
    """

    family: str
    edits: tuple[int, ...] = (1, 2)
    draws: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.family not in SHARED_FAMILIES:
            raise InvalidInputError(
                f"Got the attack {self.family!r}; expected one whose texts do not depend on the "
                f"model: {', '.join(SHARED_FAMILIES)}."
            )
        rising = tuple(sorted(set(self.edits))) == self.edits and self.edits and self.edits[0] >= 1
        if not rising or not 1 <= self.draws <= MOST_DRAWS or self.seed < 0:
            raise InvalidInputError(
                f"Got edits {self.edits}, {self.draws} draws and seed {self.seed}; expected rising "
                f"edits from 1, 1 to {MOST_DRAWS} draws and a seed from 0."
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Each budget of edits with each draw."""
        return tuple((edits, draw) for edits in self.edits for draw in range(self.draws))


@dataclass(frozen=True)
class Perturbed:
    """The texts of one task and language under one family.

    Attributes:
        task: Whose queries they are.
        lang: Their language.
        recipe: How they were perturbed.
        texts: The texts, distinct, by code points.
        variants: For each condition the perturbed texts, in the order of ``texts``; None where the
            family cannot act on a text.
    """

    task: str
    lang: str
    recipe: Recipe
    texts: tuple[str, ...]
    variants: dict[Condition, tuple[str | None, ...]]

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each text stands in ``texts``."""
        return {text: place for place, text in enumerate(self.texts)}

    @cached_property
    def source(self) -> str:
        """SHA-256 of the texts as they were."""
        return _sha256(_line(text) for text in self.texts)

    def digest(self, condition: Condition) -> str:
        """SHA-256 of the texts and what became of them under one condition."""
        pairs = zip(self.texts, self.variants[condition], strict=True)
        return _sha256(_line(list(pair)) for pair in pairs)

    def lines(self) -> list[str]:
        """Write everything down, a text in a line: the form that is hashed and stored."""
        recipe = self.recipe
        header = {
            "format": FORMAT,
            "task": self.task,
            "lang": self.lang,
            "family": recipe.family,
            "edits": list(recipe.edits),
            "draws": recipe.draws,
            "seed": recipe.seed,
            "texts": len(self.texts),
            "source": self.source,
        }
        rows = zip(self.texts, *(self.variants[one] for one in recipe.conditions), strict=True)
        return [_line(header), *(_line(list(row)) for row in rows)]

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all of it."""
        return _sha256(self.lines())

    def applies(self) -> tuple[bool, ...]:
        """For each text whether the family can act on it, in every draw."""
        columns = [self.variants[one] for one in self.recipe.conditions]
        return tuple(None not in row for row in zip(*columns, strict=True))

    def why_not(self) -> str | None:
        """Say why the family acts on none of the texts; None if it acts on one at least."""
        if any(self.applies()) or not self.texts:
            return None
        return why_not(family_of(self.recipe.family), context_of(self.lang, self.recipe.family), 0)


def perturb_texts(task: str, lang: str, texts: Iterable[str], recipe: Recipe) -> Perturbed:
    """Perturb the distinct texts of a language.

    Args:
        task: Whose queries they are; does not change what becomes of them.
        lang: FLORES code: chooses keyboards and dictionaries.
        texts: Texts in any order, repeated or not.
        recipe: How.

    Raises:
        InvalidInputError: If the code of the language is none.
    """
    parse_lang(lang)
    context = context_of(lang, recipe.family)
    distinct = tuple(sorted(set(texts)))
    columns: dict[Condition, list[str | None]] = {one: [] for one in recipe.conditions}
    for text in distinct:
        for condition, variant in variants_of(text, recipe, context).items():
            columns[condition].append(variant)
    variants = {condition: tuple(column) for condition, column in columns.items()}
    return Perturbed(task, lang, recipe, distinct, variants)


def variants_of(text: str, recipe: Recipe, context: Context) -> dict[Condition, str | None]:
    """Perturb one text.

    Returns:
        For each condition the text after at most so many edits, fewer if there is no room for
        more; None if nothing in it can be changed so that normalization does not undo it.
    """
    family, passage, plain = family_of(recipe.family), Passage.of(text), normalize(text)
    found: dict[Condition, str | None] = {}
    for draw in range(recipe.draws):
        seed = MOST_DRAWS * recipe.seed + draw
        chosen = _choose(family, passage, seed, context, recipe.edits[-1])
        best: str | None = None
        for edits in recipe.edits:
            changed = apply_edits(text, chosen[: edits // family.cost])
            # Two edits may undo one another where one of them does not.
            best = best if normalize(changed) == plain else changed
            found[edits, draw] = best
    return {condition: found[condition] for condition in recipe.conditions}


def context_of(lang: str, family: str) -> Context:
    """What a family may know of a text: its language, and the dictionaries that come along.

    Dictionaries mounted on a machine are not among them: they would change the texts.
    """
    needed = "dictionary" in family_of(family).needs
    return Context(lang=lang, lexicon=load_lexicon() if needed else None)


def _choose(family: Family, passage: Passage, seed: int, context: Context, most: int) -> list[Edit]:
    """Choose the first edits that go together, as ``perturb`` does, but none that is undone."""
    chosen: list[Edit] = []
    for proposal in proposals(family, passage, seed, context):
        if (len(chosen) + 1) * family.cost > most:
            break
        undone = family.reports_undone and not changes(passage.text, proposal.edit)
        if not undone and fits(proposal.edit, chosen):
            chosen.append(proposal.edit)
    return chosen


def _line(value: str | Sequence[str | None] | dict[str, object]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


def _sha256(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
