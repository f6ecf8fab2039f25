"""Texts to vectors as the routes need it: through the cache if there is one, counted and timed."""

import time
from collections.abc import Sequence
from typing import Literal

from starlette.types import Scope

from app.api.encoder import Vectors
from app.api.state import Service
from app.encoder.cache import Asked

InputType = Literal["query", "document"]


async def encode(
    service: Service,
    texts: Sequence[str],
    input_type: InputType,
    *,
    truncate: bool = True,
    windows: bool = False,
    dimensions: int | None = None,
) -> Vectors:
    """Encode the texts of one request before all bulk work.

    Raises:
        ServiceError: As the encoder says.
    """
    encoder, cache = service.encoder, service.cache

    async def compute(missing: Sequence[str]) -> Vectors:
        return await encoder.encode_async(
            missing, input_type, truncate=truncate, windows=windows, dimensions=dimensions
        )

    if cache is None:
        return await compute(texts)
    model = f"{encoder.model_id} {encoder.precision}"
    return await cache.encode(
        texts, Asked(model, input_type, truncate, windows, dimensions), compute
    )


def count_encoded(service: Service, route: str, encoded: Vectors) -> None:
    """Add an encoding to the metrics."""
    metrics = service.metrics
    metrics.tokens.labels(route).inc(encoded.tokens)
    metrics.texts.labels(route).inc(len(encoded.truncated))
    if cut := sum(encoded.truncated):
        metrics.truncated.inc(cut)


def timing_headers(scope: Scope, encoded: Vectors | None) -> dict[str, str]:
    """Say in headers where a request's time went, in milliseconds, and how many tokens it had.

    The total runs from the request's headers to the writing of these; what it has beyond the other
    three is the service's own work: reading, checking, searching, writing. Without an encoding
    there is but the total.
    """
    total_s = time.perf_counter() - scope["state"]["started"]
    if encoded is None:
        total = f"{1000 * total_s:.3f}"
        return {"x-tyntegra-total-ms": total, "server-timing": f"total;dur={total}"}
    timings = encoded.timings
    tokenize, queue, inference, total = (
        f"{1000 * seconds:.3f}"
        for seconds in (timings.tokenize_s, timings.queue_s, timings.inference_s, total_s)
    )
    return {
        "x-tyntegra-tokens": str(encoded.tokens),
        "x-tyntegra-tokenize-ms": tokenize,
        "x-tyntegra-queue-ms": queue,
        "x-tyntegra-inference-ms": inference,
        "x-tyntegra-total-ms": total,
        "server-timing": f"tokenize;dur={tokenize}, queue;dur={queue}, "
        f"inference;dur={inference}, total;dur={total}",
    }
