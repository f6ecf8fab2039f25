"""What a request may declare of a collection: fields of metadata, and how documents are split."""

from typing import Annotated

from pydantic import Field, StringConstraints

from app.api.wire import Wire
from app.retrieval.store import MAX_FIELDS, FieldType
from app.windows import Windows

FIELD_NAME = "^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
LEAST_WINDOW, MOST_WINDOW = 8, 32_768

FieldName = Annotated[str, StringConstraints(pattern=FIELD_NAME)]


class WindowsWire(Wire):
    """How long documents are split."""

    tokens: int = Field(
        ge=LEAST_WINDOW,
        le=MOST_WINDOW,
        description="most tokens of a passage; at most `window_tokens` of `/info`",
        examples=[128],
    )
    stride: int = Field(
        ge=1,
        le=MOST_WINDOW,
        description="tokens from the begin of a passage to that of the next; at most `tokens`, at "
        "least a quarter of it",
        examples=[96],
    )


class CollectionRequest(Wire):
    """What a collection is to be beyond its encoder, which is always the one in service."""

    fields: dict[FieldName, FieldType] = Field(
        default={},
        max_length=MAX_FIELDS,
        description="metadata fields with the type that all their values must have; they are "
        "indexed, so that filters on them are fast",
        examples=[{"year": "integer"}],
    )
    windows: WindowsWire | None = Field(
        default=None,
        description="split documents in passages, each found by itself; none: of a long document "
        "only the beginning is found",
    )


class ReindexRequest(Wire):
    """What a collection is to be then; what is left out stays as it is."""

    fields: dict[FieldName, FieldType] | None = Field(
        default=None,
        max_length=MAX_FIELDS,
        description="metadata fields to declare, in place of the present ones",
        examples=[{"year": "integer"}],
    )
    windows: WindowsWire | None = Field(
        default=None, description="passages to split documents in; null: do not split them any more"
    )


def windows_from(sent: WindowsWire | None) -> Windows | None:
    """Read windows off the wire."""
    return Windows(sent.tokens, sent.stride) if sent else None
