"""POST /embed: texts to vectors."""

import base64
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.encoding import count_encoded, encode, timing_headers
from app.api.limits import answer_in_time, clean_texts
from app.api.problems import responses
from app.api.wire import JSON, Reply, Texts, Wire, in_pieces
from app.encoder.output import OutputType, convert

router = APIRouter(route_class=StrictRoute, tags=["embed"])


class EmbedRequest(Wire):
    """Texts to embed."""

    inputs: Texts = Field(
        description="one text or a list, at most TYNTEGRA_MAX_TEXTS (256) of them",
        examples=["Habari ya asubuhi"],
    )
    input_type: Literal["query", "document"] = Field(
        default="query",
        description="what the texts are; a model may be told to treat them differently",
    )
    truncate: bool = Field(
        default=True, description="cut texts to the model's length; false refuses such texts"
    )
    windows: bool = Field(
        default=False,
        description="neither cut nor refuse them: encode them in windows of the model's length, "
        "and average the vectors",
    )
    dimensions: int | None = Field(
        default=None,
        ge=1,
        le=65_536,
        description="keep only the first so many, of those that the model was trained for; null "
        "keeps all",
    )
    output_type: OutputType = Field(
        default="float",
        description="float32; int8 or uint8, a whole number a component; binary or ubinary, a bit "
        "a component in signed or unsigned bytes",
    )
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="lists of numbers, or base64 of their bytes, little-endian"
    )


class Usage(Reply):
    """What a request cost."""

    tokens: int = Field(description="tokens encoded")


class EmbedReply(Reply):
    """Vectors of unit length, in the order of the texts."""

    model: str = Field(description="name and content hash of the artifact")
    dimensions: int = Field(description="components of each vector")
    embeddings: list[list[float]] | list[str] = Field(description="one vector a text")
    truncated: list[bool] = Field(description="which texts were cut to the model's length")
    windows: list[int] | None = Field(
        default=None, description="windows of each text; only if they were asked for"
    )
    usage: Usage


@router.post(
    "/embed",
    summary="Embed texts",
    response_model=EmbedReply,
    responses=responses(
        "too-large", "unsupported-media-type", "invalid-input", "overloaded", "not-ready"
    ),
)
async def embed(request: Request, body: EmbedRequest, service: OpenService) -> Response:
    """Turn texts into vectors whose dot product is their similarity, whatever their language."""
    settings = service.settings
    texts = await clean_texts(body.inputs, "inputs", settings.max_texts, settings)
    work = encode(
        service,
        texts,
        body.input_type,
        truncate=body.truncate,
        windows=body.windows,
        dimensions=body.dimensions,
    )
    encoded = await answer_in_time(request, work, settings.request_timeout_s)
    count_encoded(service, "/embed", encoded)
    rows = convert(encoded.vectors, body.output_type)  # (texts, dim), or bits
    packed = body.encoding_format == "base64"
    answer: dict[str, Any] = {
        "model": service.encoder.model_id,
        "dimensions": encoded.vectors.shape[1],
        "embeddings": [base64.b64encode(row).decode("ascii") for row in rows]
        if packed
        else await in_pieces(rows, rows.shape[1]),
        "truncated": list(encoded.truncated),
        "usage": {"tokens": encoded.tokens},
    }
    if body.windows:
        answer["windows"] = list(encoded.windows)
    return JSON(answer, headers=timing_headers(request.scope, encoded))
