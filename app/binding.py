"""What ties a collection to the encoder that filled it: model, kind of precision, prompt.

Vectors of two encoders cannot be compared, whatever their dimension: such a search would answer
nonsense without saying so.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from app.errors import ConflictError, InvalidInputError
from app.retrieval.store import Collection, FieldType, Options
from app.windows import MOST_OVERLAP, Windows


class BoundEncoder(Protocol):
    """What is needed of an encoder to tie a collection to it."""

    @property
    def manifest(self) -> Any:
        """The artifact's manifest."""
        ...

    @property
    def model_id(self) -> str:
        """Name and content hash of the artifact."""
        ...

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def precision(self) -> str:
        """The precision in use."""
        ...

    @property
    def document_room(self) -> int:
        """Tokens of a document that are encoded for certain."""
        ...


def family(precision: str) -> str:
    """Name the kind of a precision; vectors of one kind differ by rounding only."""
    return precision if precision in ("int8", "int4") else "full"


def options_for(
    encoder: BoundEncoder,
    fields: Mapping[str, FieldType] | None = None,
    windows: Windows | None = None,
) -> Options:
    """Make the options of a collection that an encoder is to fill.

    Raises:
        InvalidInputError: If the windows do not fit the encoder.
    """
    if windows is not None:
        require_windows(windows, encoder.document_room)
    return Options(
        precision=family(encoder.precision),
        prompt=encoder.manifest.prompts.document,
        fields=dict(fields or {}),
        window_tokens=windows.tokens if windows else 0,
        stride_tokens=windows.stride if windows else 0,
    )


def require_windows(windows: Windows, room: int) -> None:
    """Refuse windows that an encoder cannot read whole, or that overlap too often.

    Raises:
        InvalidInputError: If they do.
    """
    if windows.tokens > room:
        raise InvalidInputError(
            f"windows.tokens is {windows.tokens}; expected at most {room}, which is what the "
            "encoder in service reads beside prompt and special tokens."
        )
    least = -(-windows.tokens // MOST_OVERLAP)
    if not least <= windows.stride <= windows.tokens:
        raise InvalidInputError(
            f"windows.stride is {windows.stride}; expected {least} to {windows.tokens}: at most "
            f"the window's length, and at least a part in {MOST_OVERLAP} of it."
        )


def windows_of(options: Options) -> Windows | None:
    """Read a collection's windows; None: its documents are not split."""
    if not options.window_tokens:
        return None
    return Windows(options.window_tokens, options.stride_tokens)


def require_bound(collection: Collection, encoder: BoundEncoder) -> Collection:
    """Return a collection that an encoder's vectors may be compared with.

    Raises:
        ConflictError: If its vectors come from another encoder; the message names both.
    """
    if differences := _differences(collection, encoder):
        name = collection.name
        raise ConflictError(
            f"Collection {name!r} holds vectors of {collection.model}, the service runs "
            f"{encoder.model_id}: {differences}. Serve the encoder that filled it, or POST "
            f"/collections/{name}/reindex to encode it anew."
        )
    return collection


def require_declared(collection: Collection, options: Options) -> Collection:
    """Return a collection that has the fields and windows that a request to create it asks for.

    Raises:
        ConflictError: If it has others.
    """
    name, has = collection.name, collection.options
    asked = (dict(options.fields), options.window_tokens, options.stride_tokens)
    if (dict(has.fields), has.window_tokens, has.stride_tokens) == asked:
        return collection
    raise ConflictError(
        f"Collection {name!r} exists with {_declared(has)}; asked for is {_declared(options)}. GET "
        "it, DELETE it, choose another name, or POST a reindex to change them."
    )


def _differences(collection: Collection, encoder: BoundEncoder) -> str:
    has, parts = collection.options, list[str]()
    if collection.model != encoder.model_id:
        parts.append("another model")
    if collection.dim != encoder.dim:
        parts.append(f"{collection.dim} and {encoder.dim} dimensions")
    if has.precision not in ("", family(encoder.precision)):
        parts.append(f"precision {has.precision} and {family(encoder.precision)}")
    if has.prompt not in (None, encoder.manifest.prompts.document):
        parts.append("another prompt before documents")
    return ", ".join(parts)


def _declared(options: Options) -> str:
    fields = ", ".join(f"{name} ({kind})" for name, kind in sorted(options.fields.items()))
    windows = windows_of(options)
    cut = f"windows of {windows.tokens} tokens every {windows.stride}" if windows else "no windows"
    return f"{f'fields {fields}' if fields else 'no fields'} and {cut}"
