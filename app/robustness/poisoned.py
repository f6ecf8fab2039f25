"""What an attack from the corpus side came to, as it is reported."""

from dataclasses import dataclass

from app.robustness.findings import Share


@dataclass(frozen=True, slots=True)
class PoisonedDocument:
    """A document that an attacker would add, or the text that one would be given.

    Attributes:
        text: Its text.
        nearness: Mean cosine with the queries it was made for.
        calls: Texts through the graphs to make it.
    """

    text: str
    nearness: float
    calls: int


@dataclass(frozen=True, slots=True)
class DepthShare:
    """The share of queries that see a document of the attacker's among so many first hits."""

    depth: int
    share: Share


@dataclass(frozen=True, slots=True)
class PoisonReport:
    """An attack from the corpus side; nothing of it was written to the collection.

    Attributes:
        kind: ``poison``: documents added; ``promotion``: one rewritten.
        documents: What was made.
        shares: Queries that see one of them, by depth.
        before: For a promotion, queries that saw the document as it is.
        bound: For poison, the same if the documents stood in the middle of the queries they were
            made for: more than any text can do.
        known: Queries they were made with; others are counted.
        calls: Texts through the graphs in all.
        note: What to know of it.
        complete: Whether the whole budget was used.
    """

    kind: str
    documents: tuple[PoisonedDocument, ...]
    shares: tuple[DepthShare, ...]
    before: tuple[DepthShare, ...]
    bound: tuple[DepthShare, ...]
    known: int
    calls: int
    note: str
    complete: bool
