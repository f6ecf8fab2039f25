"""What is stored: a text with its name, and the parts of it that have vectors of their own."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MetadataValue = str | int | float | bool
Span = tuple[int, int]
"""Where a passage begins and ends in its document's text, in code points."""


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its name in a collection."""

    doc_id: str
    text: str
    lang: str | None = None
    metadata: Mapping[str, MetadataValue] = field(default_factory=dict)
