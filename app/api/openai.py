"""POST /v1/embeddings and GET /v1/models: what clients written for OpenAI's API ask for."""

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Path, Request
from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.encoder import Encoder
from app.api.encoding import count_encoded, encode, timing_headers
from app.api.limits import answer_in_time, clean_texts, require_count
from app.api.problems import openai_responses
from app.api.state import Service
from app.api.wire import JSON, Reply, Wire, in_pieces
from app.encoder.output import DTYPES
from app.errors import NotFoundError
from app.settings import MAX_ITEMS

router = APIRouter(route_class=StrictRoute, tags=["openai"])

OWNER = "tyntegra"


class ModelNotFoundError(NotFoundError):
    """The model asked for is not the one in service."""

    code = "model-not-found"


def _read_input(value: Any) -> list[Any]:
    """Bring the four ways to write ``input`` into two: texts, or lists of token ids."""
    rows: Any = [value] if isinstance(value, str) else value
    if isinstance(rows, list) and rows:
        if all(isinstance(row, str) for row in rows):
            return rows
        if all(type(one) is int for one in rows):
            return [rows]
        if all(isinstance(row, list) and _are_ids(row) for row in rows):
            return rows
    raise PydanticCustomError(
        "openai_input",
        "should be a string, a list of strings, a list of token ids or a list of lists of token "
        "ids, none of the lists empty",
    )


def _are_ids(row: list[Any]) -> bool:
    return len(row) > 0 and all(type(one) is int for one in row)


_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_INPUT_SCHEMA = {
    "anyOf": [
        {"type": "string", "minLength": 1},
        {
            "type": "array",
            "items": {"type": "string", "minLength": 1},
            "minItems": 1,
            "maxItems": MAX_ITEMS,
        },
        _IDS,
        {"type": "array", "items": _IDS, "minItems": 1, "maxItems": MAX_ITEMS},
    ]
}
Input = Annotated[
    list[str] | list[list[int]], PlainValidator(_read_input), WithJsonSchema(_INPUT_SCHEMA)
]


class EmbeddingsRequest(Wire):
    """Texts to embed, as OpenAI's clients send them."""

    input: Input = Field(
        description="one text or a list, at most TYNTEGRA_MAX_TEXTS (256) of them; or the token "
        "ids of one text or of several, made by this model's own tokenizer: ids of another, such "
        "as tiktoken's, are refused where they do not exist here, and mean other words where they "
        "do",
        examples=["Habari ya asubuhi"],
    )
    model: str = Field(
        description="the model in service, by its id or its name; see GET /v1/models",
        examples=["tyntegra-static"],
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        default="float", description="lists of numbers, or base64 of little-endian float32"
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="keep only the first so many, of those that the model was trained for",
    )
    user: str | None = Field(default=None, description="taken and not used")
    input_type: Literal["query", "document"] = Field(
        default="document",
        description="what the texts are, which OpenAI's API does not know; a model may be told to "
        "treat them differently",
    )


class EmbeddingReply(Reply):
    """The vector of one text."""

    object: Literal["embedding"]
    index: int = Field(description="which text, from 0")
    embedding: list[float] | str = Field(description="a vector of unit length")


class EmbeddingsUsage(Reply):
    """What a request cost."""

    prompt_tokens: int = Field(description="tokens encoded")
    total_tokens: int = Field(description="the same")


class EmbeddingsReply(Reply):
    """Vectors in the order of the texts."""

    object: Literal["list"]
    data: list[EmbeddingReply]
    model: str = Field(description="name and content hash of the artifact")
    usage: EmbeddingsUsage


class ModelReply(Reply):
    """A model."""

    id: str = Field(description="name and content hash of the artifact")
    object: Literal["model"]
    created: int = Field(description="when the artifact was made, in seconds since 1970")
    owned_by: str


class ModelsReply(Reply):
    """The models in service: one."""

    object: Literal["list"]
    data: list[ModelReply]


@router.post(
    "/v1/embeddings",
    summary="Embed texts, as OpenAI's clients ask for it",
    response_model=EmbeddingsReply,
    responses=openai_responses(
        "model-not-found",
        "too-large",
        "unsupported-media-type",
        "invalid-input",
        "overloaded",
        "not-ready",
    ),
)
async def embeddings(request: Request, body: EmbeddingsRequest, service: OpenService) -> Response:
    """Turn texts into vectors in the way of OpenAI's API, errors included.

    A text over the model's length is neither cut nor refused: it is encoded in windows, whose
    vectors are averaged.
    """
    encoder = service.encoder
    _require_model(encoder, body.model)
    work = await _work(service, body)
    encoded = await answer_in_time(request, work, service.settings.request_timeout_s)
    count_encoded(service, "/v1/embeddings", encoded)
    rows = np.ascontiguousarray(encoded.vectors, dtype=DTYPES["float"])  # (texts, dim)
    packed = body.encoding_format == "base64"
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row).decode("ascii") if packed else row,
        }
        for index, row in enumerate(rows)
    ]
    return JSON(
        {
            "object": "list",
            "data": await in_pieces(data, rows.shape[1]),
            "model": encoder.model_id,
            "usage": {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens},
        },
        headers=timing_headers(request.scope, encoded),
    )


async def _work(service: Service, body: EmbeddingsRequest) -> Any:
    settings = service.settings
    texts = [row for row in body.input if isinstance(row, str)]
    if texts:
        clean = await clean_texts(texts, "input", settings.max_texts, settings)
        return encode(service, clean, body.input_type, windows=True, dimensions=body.dimensions)
    rows = [row for row in body.input if isinstance(row, list)]
    require_count(len(rows), "input", settings.max_texts)
    return service.encoder.encode_ids_async(rows, dimensions=body.dimensions)


@router.get(
    "/v1/models",
    summary="List the models in service",
    response_model=ModelsReply,
    responses=openai_responses("not-ready"),
)
async def models(service: OpenService) -> Response:
    """List the one model that is in service, in the way of OpenAI's API."""
    return JSON({"object": "list", "data": [_describe(service.encoder)]})


@router.get(
    "/v1/models/{model}",
    summary="Describe a model",
    response_model=ModelReply,
    responses=openai_responses("model-not-found", "not-ready"),
)
async def model(
    model: Annotated[
        str, Path(description="id or name of the model", examples=["tyntegra-static"])
    ],
    service: OpenService,
) -> Response:
    """Describe the model in service, in the way of OpenAI's API."""
    _require_model(service.encoder, model)
    return JSON(_describe(service.encoder))


def _require_model(encoder: Encoder, named: str) -> None:
    if named not in (encoder.model_id, encoder.model_id.partition("@")[0]):
        raise ModelNotFoundError(
            f"The model asked for is not served here; expected {encoder.model_id}: name that, or "
            "serve the other artifact."
        )


def _describe(encoder: Encoder) -> dict[str, Any]:
    try:
        created = int(datetime.fromisoformat(encoder.manifest.created).timestamp())
    except (AttributeError, ValueError):  # an artifact may say anything here
        created = 0
    return {"id": encoder.model_id, "object": "model", "created": created, "owned_by": OWNER}
