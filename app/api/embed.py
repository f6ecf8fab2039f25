"""POST /embed: texts to vectors."""

import base64
from typing import Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from app.api.bodies import StrictRoute
from app.api.dependencies import OpenService
from app.api.limits import answer_in_time, clean_texts
from app.api.problems import responses
from app.api.state import Service, Vectors
from app.api.wire import JSON, Reply, Texts, Wire

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
    dimensions: int | None = Field(
        default=None, ge=1, le=65_536, description="keep only the first so many; null keeps all"
    )
    encoding_format: Literal["float", "base64"] = Field(
        default="float", description="lists of numbers, or base64 of little-endian float32"
    )


class Usage(Reply):
    """What a request cost."""

    tokens: int = Field(description="tokens encoded")


class EmbedReply(Reply):
    """Vectors of unit length, in the order of the texts."""

    model: str = Field(description="name and content hash of the artifact")
    dimensions: int = Field(description="length of each vector")
    embeddings: list[list[float]] | list[str] = Field(description="one vector a text")
    truncated: list[bool] = Field(description="which texts were cut to the model's length")
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
    work = service.encoder.encode_async(
        texts, body.input_type, truncate=body.truncate, dimensions=body.dimensions
    )
    encoded = await answer_in_time(request, work, settings.request_timeout_s)
    count_encoded(service, "/embed", encoded)
    rows = np.ascontiguousarray(encoded.vectors, dtype="<f4")  # (texts, dim)
    written = (
        rows
        if body.encoding_format == "float"
        else [base64.b64encode(row.tobytes()).decode("ascii") for row in rows]
    )
    return JSON(
        {
            "model": service.encoder.model_id,
            "dimensions": rows.shape[1],
            "embeddings": written,
            "truncated": list(encoded.truncated),
            "usage": {"tokens": encoded.tokens},
        }
    )


def count_encoded(service: Service, route: str, encoded: Vectors) -> None:
    """Add an encoding to the metrics."""
    metrics = service.metrics
    metrics.tokens.labels(route).inc(encoded.tokens)
    metrics.texts.labels(route).inc(len(encoded.truncated))
    metrics.truncated.inc(sum(encoded.truncated))
