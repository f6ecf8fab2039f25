"""What a client can ask about collections and their documents; see ``app.operations``."""

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import Any, Literal

from app.errors import NotReadyError
from app.lines import DocumentFields, Lines
from app.operations import Operation, collection_path, segment

FieldType = Literal["string", "integer", "number", "boolean"]


def create_collection(
    name: str,
    *,
    fields: Mapping[str, FieldType] | None = None,
    windows: tuple[int, int] | None = None,
) -> Operation[dict[str, Any]]:
    """Create a collection, or find it there as asked for.

    Args:
        name: Its name.
        fields: Metadata fields with the type of all their values, for fast filters.
        windows: Tokens of a passage and of the stride, to split long documents; None: do not.
    """
    body: dict[str, Any] = {}
    if fields:
        body["fields"] = dict(fields)
    if windows:
        body["windows"] = _windows(windows)
    return Operation("PUT", collection_path(name), body or None)


def collection(name: str) -> Operation[dict[str, Any]]:
    """Describe a collection: its binding, languages, size, and how its reindexing goes."""
    return Operation("GET", collection_path(name))


def get_documents(collection: str, doc_ids: Sequence[str]) -> Operation[list[dict[str, Any]]]:
    """Read several documents, in the order asked for; those that are not there are left out."""
    body = {"doc_ids": list(doc_ids)}
    path = f"{collection_path(collection)}/documents/get"
    return Operation("POST", path, body, lambda answer: answer["documents"])


def delete_documents(
    collection: str,
    doc_ids: Sequence[str] | None = None,
    *,
    filter: Mapping[str, Any] | None = None,
) -> Operation[int]:
    """Delete documents by name or by a filter; returns how many were there.

    Args:
        collection: The collection.
        doc_ids: Their names; or
        filter: What they satisfy, as in a search.
    """
    body = {"doc_ids": list(doc_ids)} if doc_ids is not None else {"filter": dict(filter or {})}
    path = f"{collection_path(collection)}/documents/delete"
    return Operation("POST", path, body, lambda answer: answer["deleted"])


def upload_documents(
    collection: str, documents: Iterable[DocumentFields] | AsyncIterable[DocumentFields]
) -> Operation[dict[str, Any]]:
    """Add any number of documents in one request, sent no faster than they are encoded.

    Args:
        collection: The collection.
        documents: Documents (doc_id, text, lang, metadata), or lines of JSON as bytes; may be
            made while they are sent.

    Returns:
        The last event of the service: ``done``, or ``stopped`` with the reason, and the ``line``
        up to which everything is stored, the counts, and ``errors``, one for each line refused.
    """

    def read(events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        last: dict[str, Any] = dict(events[-1]) if events else {}
        if last.get("event") not in ("done", "stopped"):
            raise NotReadyError(
                f"The connection was lost; everything up to line {last.get('line', 0)} is stored: "
                "send the rest again."
            )
        return last | {"errors": [each for each in events if each["event"] == "error"]}

    return Operation("POST", f"{collection_path(collection)}/documents", Lines(documents), read)


def reindex(
    name: str,
    *,
    fields: Mapping[str, FieldType] | None = None,
    windows: tuple[int, int] | Literal["keep"] | None = "keep",
) -> Operation[dict[str, Any]]:
    """Let a collection be encoded anew by the encoder in service; returns how far it is.

    Args:
        name: The collection.
        fields: Metadata fields to declare instead of the present ones; None: those.
        windows: Tokens of a passage and of the stride; None: do not split any more.
    """
    body: dict[str, Any] = {}
    if fields is not None:
        body["fields"] = dict(fields)
    if windows != "keep":
        body["windows"] = _windows(windows) if windows else None
    return Operation("POST", f"{collection_path(name)}/reindex", body or None)


def reindex_progress(name: str) -> Operation[dict[str, Any]]:
    """Say how far a collection is encoded anew, or how that ended."""
    return Operation("GET", f"{collection_path(name)}/reindex")


def cancel_reindex(name: str) -> Operation[None]:
    """Leave a collection as it was."""
    return Operation("DELETE", f"{collection_path(name)}/reindex")


def create_snapshot(name: str) -> Operation[dict[str, Any]]:
    """Copy a collection on the service's disk, while it is searched and written to."""
    return Operation("POST", f"{collection_path(name)}/snapshots")


def snapshots(name: str) -> Operation[list[dict[str, Any]]]:
    """List the snapshots of a collection, the oldest first."""
    path = f"{collection_path(name)}/snapshots"
    return Operation("GET", path, read=lambda answer: answer["snapshots"])


def restore_snapshot(
    name: str, snapshot: str, *, collection: str | None = None, replace: bool = False
) -> Operation[dict[str, Any]]:
    """Make a collection of a snapshot.

    Args:
        name: The collection that the snapshot is of.
        snapshot: The snapshot.
        collection: The collection to make; None: the same.
        replace: Put it in the place of one of this name.
    """
    body: dict[str, Any] = {"replace": replace}
    if collection is not None:
        body["collection"] = collection
    return Operation("POST", f"{_snapshot(name, snapshot)}/restore", body)


def delete_snapshot(name: str, snapshot: str) -> Operation[None]:
    """Delete a snapshot."""
    return Operation("DELETE", _snapshot(name, snapshot))


def _snapshot(name: str, snapshot: str) -> str:
    return f"{collection_path(name)}/snapshots/{segment(snapshot)}"


def _windows(windows: tuple[int, int]) -> dict[str, int]:
    tokens, stride = windows
    return {"tokens": tokens, "stride": stride}
