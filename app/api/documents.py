"""/collections/{name}/documents: add, read and delete documents."""

from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Depends, Path, Request
from pydantic import Field
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import Name, OpenService
from app.api.encoding import count_encoded
from app.api.limits import answer_in_time, clean_texts
from app.api.problems import responses
from app.api.state import Service
from app.api.wire import JSON, DocId, Lang, Metadata, Reply, Wire
from app.encoder.jobs import BULK
from app.errors import InvalidInputError, NotFoundError
from app.retrieval.points import MAX_DOC_ID_BYTES
from app.retrieval.store import Document
from app.settings import MAX_ITEMS


class _AnyText(Convertor[str]):
    """The rest of a path, line breaks too; Starlette's own ``path`` ends at the first."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())

router = APIRouter(route_class=StrictRoute, tags=["documents"])


class DocumentWire(Wire):
    """A document."""

    doc_id: DocId = Field(description="its name in the collection; any characters")
    text: str = Field(description="what is searched")
    lang: Lang | None = Field(default=None, description="language and script, such as `swh_Latn`")
    metadata: Metadata = Field(
        default={},
        description="strings, numbers and booleans that come along, of at most 8192 characters",
    )


class DocumentsRequest(Wire):
    """Documents to add, or to put in the place of those with the same doc_id."""

    documents: list[DocumentWire] = Field(
        min_length=1,
        max_length=MAX_ITEMS,
        description="at most TYNTEGRA_MAX_DOCUMENTS (256) of them",
        examples=[[{"doc_id": "a", "text": "Maji safi ni uhai.", "lang": "swh_Latn"}]],
    )


class DocumentsReply(Reply):
    """What was written."""

    upserted: int = Field(description="distinct documents written")
    truncated: list[str] = Field(
        description="documents of which only the beginning can be found: the rest is over the "
        "model's length"
    )


class DocumentReply(Reply):
    """A document as it was sent."""

    doc_id: str
    text: str
    lang: str | None
    metadata: dict[str, Any]


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


@router.post(
    "/collections/{name}/documents",
    summary="Add documents",
    response_model=DocumentsReply,
    responses=responses(
        "not-found",
        "conflict",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    ),
)
async def add_documents(
    request: Request, name: Name, body: DocumentsRequest, service: OpenService
) -> Response:
    """Add documents, or replace those with the same `doc_id`; 200 means they are on disk.

    The collection must exist: a misspelt name would otherwise make a new one.
    """
    settings = service.settings
    sent = body.documents
    texts = await clean_texts(
        [document.text for document in sent], "documents", settings.max_documents, settings
    )
    work = _add(service, name, sent, texts)
    return JSON(await answer_in_time(request, work, settings.request_timeout_s))


async def _add(
    service: Service, name: str, sent: list[DocumentWire], texts: list[str]
) -> DocumentsReply:
    try:
        await service.in_store(lambda store: service.matching(store, name))
    except NotFoundError:
        raise NotFoundError(
            f"There is no collection {name!r}; create it first with PUT /collections/{name}."
        ) from None
    encoded = await service.encoder.encode_async(texts, "document", priority=BULK)
    count_encoded(service, "/collections/{name}/documents", encoded)
    documents = [Document(d.doc_id, d.text, d.lang, d.metadata) for d in sent]
    upserted = await service.in_store(lambda store: store.upsert(name, documents, encoded.vectors))
    cut = [d.doc_id for d, is_cut in zip(sent, encoded.truncated, strict=True) if is_cut]
    return DocumentsReply(upserted=upserted, truncated=cut)


@router.get(
    "/collections/{name}/documents/{doc_id:text}",
    summary="Read a document",
    response_model=DocumentReply,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def get_document(name: Name, doc_id: EncodedDocId, service: OpenService) -> Response:
    """Read a document; its name may hold any characters, percent-encoded."""
    found = await service.in_store(lambda store: store.get(name, [doc_id]))
    if not found:
        raise NotFoundError(_absent(name))
    document = found[0]
    return JSON(
        DocumentReply(
            doc_id=document.doc_id,
            text=document.text,
            lang=document.lang,
            metadata=dict(document.metadata),
        )
    )


@router.delete(
    "/collections/{name}/documents/{doc_id:text}",
    summary="Delete a document",
    status_code=204,
    response_class=Response,
    responses=responses("not-found", "invalid-input", "overloaded", "not-ready"),
)
async def delete_document(name: Name, doc_id: EncodedDocId, service: OpenService) -> Response:
    """Delete a document; 204 means that it is gone from the disk as well."""
    if not await service.in_store(lambda store: store.delete(name, [doc_id])):
        raise NotFoundError(_absent(name))
    return Response(status_code=204)


def _absent(name: str) -> str:
    return f"Collection {name!r} has no document of this doc_id; check it, or add the document."
