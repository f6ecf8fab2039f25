"""The families by name, and what each proposes for a text in a seeded order.

A new family is a module with ``propose`` and one entry in ``_FAMILIES``. A family that has nothing
to propose for a text is not applicable to it, which its caller reports; it never returns the text
unchanged and calls that an attack.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.errors import InvalidInputError
from app.text.perturbations import case, confusable, diacritics, invisible, spacing, typo
from app.text.perturbations.edits import Draw, Edit, apply_edits, fits
from app.text.perturbations.passage import Passage

ANY_SCRIPT = ("*",)


@dataclass(frozen=True, slots=True)
class Family:
    """A named kind of perturbation.

    Attributes:
        name: Its name on the wire.
        description: One sentence for those who choose.
        scripts: ISO 15924 codes it can act on; ``("*",)`` for any.
        cost: Units of the edit budget that each edit takes.
        propose: Single edits of a passage, all within one word or between two.
    """

    name: str
    description: str
    scripts: tuple[str, ...]
    propose: Callable[[Passage, Draw], Iterator[Edit]]
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Proposal:
    """An edit that a family proposes.

    Attributes:
        edit: The edit.
        word: Number of the word where it begins, for searches that learn which words matter.
    """

    edit: Edit
    word: int


_FAMILIES = (
    Family(
        "typo",
        "Letters swapped, lost, doubled, mistaken for or joined by another of the same script.",
        ANY_SCRIPT,
        typo.propose,
    ),
    Family(
        "diacritics",
        "An accent, tone mark, nukta, voicing mark or vowel point lost or added.",
        diacritics.SCRIPTS,
        diacritics.propose,
    ),
    Family(
        "confusable",
        "A letter replaced by one of another alphabet or code point that looks the same.",
        confusable.SCRIPTS,
        confusable.propose,
    ),
    Family(
        "invisible",
        "A character without width inside a word.",
        ANY_SCRIPT,
        invisible.propose,
    ),
    Family(
        "case",
        "A letter or a word in the other case.",
        case.SCRIPTS,
        case.propose,
    ),
    Family(
        "spacing",
        "A word split by a space, or two words run together.",
        ANY_SCRIPT,
        spacing.propose,
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}
"""The families by name, in the order in which they are listed."""


def family_of(name: str) -> Family:
    """Find a family by name.

    Raises:
        InvalidInputError: If there is none.
    """
    if name not in FAMILIES:
        raise InvalidInputError(
            f"attack {name!r} is unknown; expected one of {', '.join(FAMILIES)}: correct it or "
            "leave attacks out to try them all."
        )
    return FAMILIES[name]


def proposals(family: Family, passage: Passage, seed: int) -> list[Proposal]:
    """List what a family proposes, in an order that depends on seed, family and text alone.

    The order goes round the words, so that the first few proposals touch many of them. Empty if the
    family is not applicable.
    """
    draw = Draw(seed, passage.text, family.name)
    edits = list(dict.fromkeys(family.propose(passage, draw)))
    starts = [word[0].start for word in passage.words]
    turns = [0] * (len(starts) + 1)
    keyed: list[tuple[int, int, Proposal]] = []
    order = draw.numbers("order", len(edits)).argsort(kind="stable")
    tickets = draw.numbers("turn", len(edits)).tolist()
    for index, ticket in zip(order.tolist(), tickets, strict=True):
        word = _word_at(starts, edits[index].start)
        keyed.append((turns[word], ticket, Proposal(edits[index], word)))
        turns[word] += 1
    keyed.sort(key=lambda entry: entry[:2])
    return [proposal for _, _, proposal in keyed]


def perturb(text: str, family: Family, edits: int, seed: int) -> tuple[str, tuple[Edit, ...]]:
    """Perturb a text at random with at most some edits.

    Returns:
        The perturbed text and the edits that lead to it; the text itself and no edits if the family
        is not applicable.
    """
    chosen: list[Edit] = []
    for proposal in proposals(family, Passage.of(text), seed):
        if (len(chosen) + 1) * family.cost > edits:
            break
        if fits(proposal.edit, chosen):
            chosen.append(proposal.edit)
    return apply_edits(text, chosen), tuple(sorted(chosen))


def _word_at(starts: list[int], offset: int) -> int:
    return max(0, bisect_right(starts, offset) - 1)
