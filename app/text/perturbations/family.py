"""What a family is, and what one proposes for a text, in a seeded order."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from app.text.normalize import normalize
from app.text.perturbations.context import NOTHING_KNOWN, Context
from app.text.perturbations.edits import Draw, Edit, apply_edits, fits
from app.text.perturbations.passage import Passage

ANY_SCRIPT = ("*",)
_FOLDED = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")
Need = Literal["lang", "dictionary", "token_neighbors"]
_MISSING: dict[Need, str] = {
    "lang": "the lang of the query",
    "dictionary": "a dictionary",
    "token_neighbors": "the neighbors of words in the encoder, which this service does not have",
}


@dataclass(frozen=True, slots=True)
class Family:
    """A named kind of perturbation.

    Attributes:
        name: Its name on the wire.
        description: One sentence for those who choose.
        scripts: ISO 15924 codes it can act on; ``("*",)`` for any.
        cost: Units of the edit budget that each edit takes.
        propose: Single edits of a passage.
        needs: What of the context it cannot do without.
        hint: A sentence on what else a text must have, for those who find nothing to change.
        reports_undone: Whether it proposes changes that normalization undoes as well, so that a
            caller can say that they were looked at.
    """

    name: str
    description: str
    scripts: tuple[str, ...]
    propose: Callable[[Passage, Draw, Context], Iterator[Edit]]
    cost: int = 1
    needs: tuple[Need, ...] = ()
    hint: str = ""
    reports_undone: bool = False


@dataclass(frozen=True, slots=True)
class Proposal:
    """An edit that a family proposes.

    Attributes:
        edit: The edit.
        word: Number of the word where it begins, for searches that learn which words matter.
    """

    edit: Edit
    word: int


def lacking(family: Family, context: Context) -> tuple[Need, ...]:
    """Name what a family needs and a context does not have."""
    has = {
        "lang": context.lang is not None,
        "dictionary": context.lexicon is not None,
        "token_neighbors": context.token_neighbors is not None,
    }
    return tuple(need for need in family.needs if not has[need])


def why_not(family: Family, context: Context, proposed: int) -> str:
    """Say why a family was not applicable to a text.

    Args:
        family: The family.
        context: What was known about the text.
        proposed: How many edits it proposed, none of which was a text to try.
    """
    missing = [_MISSING[need] for need in lacking(family, context)]
    if missing:
        return f"{family.name} needs {' and '.join(missing)}."
    if proposed:
        return f"Each change that {family.name} finds in this text is undone by normalization."
    where = "" if family.scripts == ANY_SCRIPT else f" It acts on {', '.join(family.scripts)}."
    hint = f" {family.hint}" if family.hint else ""
    return f"{family.name} finds nothing to change in this text.{where}{hint}"


def proposals(
    family: Family, passage: Passage, seed: int, context: Context = NOTHING_KNOWN
) -> list[Proposal]:
    """List what a family proposes, in an order that depends on its arguments alone.

    The order goes round the words, so that the first few proposals touch many of them. Empty if the
    family is not applicable. What normalization undoes is left out, but for families that say that
    they report it; so are edits that add more than the context allows.
    """
    draw = Draw(seed, passage.text, family.name)
    proposed = family.propose(passage, draw, context)
    if not family.reports_undone:
        proposed = map(_composed, proposed)
    edits = [
        edit
        for edit in dict.fromkeys(proposed)
        if _has_room(edit, context) and (family.reports_undone or changes(passage.text, edit))
    ]
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


def perturb(
    text: str, family: Family, edits: int, seed: int, context: Context = NOTHING_KNOWN
) -> tuple[str, tuple[Edit, ...]]:
    """Perturb a text at random with at most so many units of edits.

    Returns:
        The perturbed text and the edits that lead to it; the text itself and no edits if the family
        is not applicable.
    """
    chosen: list[Edit] = []
    for proposal in proposals(family, Passage.of(text), seed, context):
        if (len(chosen) + 1) * family.cost > edits:
            break
        if fits(proposal.edit, chosen):
            chosen.append(proposal.edit)
    return apply_edits(text, chosen), tuple(sorted(chosen))


def changes(text: str, edit: Edit) -> bool:
    """Tell whether a text is another one after an edit and normalization.

    Only what stands beside the edit is looked at: canonical equivalence cancels on both sides, and
    white space is folded no further than it reaches.
    """
    start, end = edit.start, edit.end
    if not _FOLDED.search(edit.before + edit.after):
        return unicodedata.normalize("NFC", edit.before) != unicodedata.normalize("NFC", edit.after)
    while start and _FOLDED.match(text, start - 1):
        start -= 1
    while end < len(text) and _FOLDED.match(text, end):
        end += 1
    # A letter stands for what is beyond; nothing does at the ends, where white space goes.
    left, right = "x" * (start > 0), "x" * (end < len(text))
    before = f"{left}{text[start:end]}{right}"
    after = f"{left}{text[start : edit.start]}{edit.after}{text[edit.end : end]}{right}"
    return normalize(before) != normalize(after)


def _composed(edit: Edit) -> Edit:
    """Write what an edit puts in its place as normalization would."""
    if edit.after.isascii() or unicodedata.is_normalized("NFC", edit.after):
        return edit
    return replace(edit, after=unicodedata.normalize("NFC", edit.after))


def _has_room(edit: Edit, context: Context) -> bool:
    most = context.most_added
    return most is None or len(edit.after) - len(edit.before) <= most


def _word_at(starts: list[int], offset: int) -> int:
    return max(0, bisect_right(starts, offset) - 1)
