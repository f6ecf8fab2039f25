"""A document on the wire, and its name in a path."""

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Path, Request
from pydantic import Field
from starlette.convertors import Convertor, register_url_convertor

from app.api.wire import DocId, Lang, Metadata, Reply, Wire
from app.errors import InvalidInputError
from app.retrieval.points import MAX_DOC_ID_BYTES
from app.retrieval.store import Document


class _AnyText(Convertor[str]):
    """The rest of a path, line breaks too; Starlette's own ``path`` ends at the first."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


class DocumentWire(Wire):
    """A document."""

    doc_id: DocId = Field(description="its name in the collection; any characters")
    text: str = Field(description="what is searched")
    lang: Lang | None = Field(default=None, description="language and script, such as `swh_Latn`")
    metadata: Metadata = Field(
        default={},
        description="strings, numbers and booleans that come along, of at most 8192 characters",
    )


class DocumentReply(Reply):
    """A document as it was sent."""

    doc_id: str
    text: str
    lang: str | None
    metadata: dict[str, Any]


def write_document(document: Document) -> dict[str, Any]:
    """Write a document as it goes on the wire."""
    return {
        "doc_id": document.doc_id,
        "text": document.text,
        "lang": document.lang,
        "metadata": dict(document.metadata),
    }


async def read_doc_id(
    request: Request,
    doc_id: Annotated[str, Path(description="name of the document, percent-encoded")],
) -> str:
    """The document's name as the client encoded it.

    Raises:
        InvalidInputError: If it is empty, too long or not percent-encoded UTF-8.
    """
    raw = request.scope.get("raw_path")
    if raw is not None:
        # The server decodes with replacement characters, which would name another document.
        below = raw[len(request.scope.get("root_path", "").encode()) :]
        try:
            doc_id = unquote_to_bytes(below).split(b"/", 4)[4].decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidInputError(
                "The doc_id in the path is not UTF-8; expected percent-encoded UTF-8."
            ) from None
    if not 1 <= len(doc_id.encode()) <= MAX_DOC_ID_BYTES:
        raise InvalidInputError(
            f"The doc_id in the path is empty or long; expected 1 to {MAX_DOC_ID_BYTES} bytes."
        )
    return doc_id


EncodedDocId = Annotated[str, Depends(read_doc_id)]
