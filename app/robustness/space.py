"""The texts that an attack may try: a query, the edits proposed for it, and what it must keep."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import regex

from app.robustness.request import Constraints
from app.text.normalize import normalize
from app.text.perturbations.edits import Edit, apply_edits, fits
from app.text.perturbations.family import Proposal
from app.text.perturbations.passage import Passage
from app.text.script import script_of_character

_SPANS = {
    "numbers": regex.compile(r"\p{Nd}+(?:[.,:/\-\u2019\u066b\u066c ]\p{Nd}+)*"),
    "urls": regex.compile(r"(?:https?://|www\.)\S+|\S+@\S+\.\S+", regex.IGNORECASE),
}
_SHARED = frozenset({"Zyyy", "Zinh", "Zzzz"})


class Candidate(NamedTuple):
    """A text to try: its edits, its normalized form, and how many edits it has.

    Level 0 is a text that only serves to learn from: it is never reported.
    """

    edits: tuple[Edit, ...]
    text: str
    level: int


@dataclass
class Space:
    """What may be done to one query under one family.

    Attributes:
        text: The query as it was sent; edits refer to it.
        pool: Proposals that each keep the constraints, in the order in which they are tried.
        most_edits: Edits that a text may have.
        passage: The query cut into words.
        limits: What a text must keep.
        lang: The language that a text must be in, with ``limits.min_language``; see ``judges``.
        refused: Proposals that each constraint took away, by its name.
    """

    text: str
    pool: Sequence[Proposal]
    most_edits: int
    passage: Passage | None = None
    limits: Constraints = field(default_factory=Constraints)
    lang: str | None = None
    refused: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # Where the query came normalized, so shall the adversarial text be.
        self.normalized = normalize(self.text)
        self._strict = self.normalized == self.text
        self._words: dict[Edit, frozenset[int]] = {}
        share = self.limits.word_share
        self._most_words: int | None = None
        if share is not None and self.passage is not None:
            self._most_words = int(share * len(self.passage.words) + 1e-9)
        if self.limits != Constraints():
            self.pool = self._keeping(self.pool)

    def fits(self, added: Edit, chosen: Sequence[Edit]) -> bool:
        """Tell whether an edit can stand beside others."""
        if not fits(added, chosen):
            return False
        if self._most_words is None:
            return True
        changed = frozenset[int]().union(*(self._words[edit] for edit in (*chosen, added)))
        return len(changed) <= self._most_words

    def build(self, edits: tuple[Edit, ...]) -> Candidate | None:
        """Write a text; None if it is empty, or the query itself, or cannot be told from one."""
        text = apply_edits(self.text, edits)
        normalized = normalize(text)
        if not normalized or normalized == self.normalized:
            return None
        if self._strict and normalized != text:
            return None
        return Candidate(edits, normalized, len(edits))

    def why_empty(self) -> str | None:
        """Say which constraints took all proposals away, or None if none did."""
        if self.pool or not self.refused:
            return None
        names = ", ".join(sorted(self.refused))
        return f"None of its {self.refused.total()} changes keeps the constraints ({names})."

    def _keeping(self, pool: Iterable[Proposal]) -> list[Proposal]:
        passage = self.passage or Passage.of(self.text)
        spans = [
            match.span()
            for name in self.limits.protect
            for match in _SPANS[name].finditer(self.text)
        ]
        scripts = passage.scripts
        starts = [(word[0].start, word[-1].end) for word in passage.words]
        kept: list[Proposal] = []
        for proposal in pool:
            edit = proposal.edit
            words = [n for n, (left, right) in enumerate(starts) if _meets(edit, left, right)]
            self._words[edit] = frozenset(words or [proposal.word])
            reason = None
            if any(_touches(edit, left, right) for left, right in spans):
                reason = "protect"
            elif self.limits.same_script and not _scripts(edit.after) <= scripts | _SHARED:
                reason = "same_script"
            elif self._most_words is not None and len(self._words[edit]) > self._most_words:
                reason = "word_share"
            if reason:
                self.refused[reason] += 1
            else:
                kept.append(proposal)
        return kept


def _meets(edit: Edit, left: int, right: int) -> bool:
    """Tell whether an edit changes something inside a word, or is put into it or beside it."""
    if edit.start == edit.end:
        return left <= edit.start <= right
    return edit.start < right and edit.end > left


def _touches(edit: Edit, left: int, right: int) -> bool:
    """Tell whether an edit changes a span, or adds to it on either side without a space."""
    if edit.start < right and edit.end > left:
        return True
    return bool(edit.after.strip()) and (edit.end == left or edit.start == right)


def _scripts(text: str) -> frozenset[str]:
    return frozenset(script_of_character(c) for c in text if c.isalpha())
