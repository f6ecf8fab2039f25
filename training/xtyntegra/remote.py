"""Services as encoders: Tyntegra's own ``/embed``, and any ``/v1/embeddings``.

Tyntegra is asked in requests that its ``/info`` says it takes, and tells queries from documents. An
OpenAI-like service does not: where its model wants prompts, they are put before the texts here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx
import numpy as np
from numpy.typing import NDArray

from app.client import Client
from app.errors import NotReadyError, ServiceError
from app.probing.endpoint import Endpoint
from app.retrieval.store import Encode
from training.xtyntegra.errors import BenchmarkError

CALL_S = 120.0
"""Seconds of one request, with those that are tried again."""

_LEAST_BODY = 65_536
_TEXTS = 256


@dataclass(frozen=True, slots=True)
class Remote:
    """A service that encodes.

    Attributes:
        name: Of its model.
        identity: What its vectors follow from, as far as it says so.
        encode_query: Queries to unit rows.
        encode_document: Documents to unit rows.
        runtime: What it says of itself.
    """

    name: str
    identity: str
    encode_query: Encode
    encode_document: Encode
    runtime: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def open_remote(
    url: str,
    model: str | None,
    prompts: Mapping[str, str],
    key: str | None,
    transport: httpx.BaseTransport | None = None,
) -> Iterator[Remote]:
    """Open a service, for the time of a ``with``.

    Args:
        url: Where it is.
        model: Of ``/v1/embeddings``; None: a Tyntegra service.
        prompts: By role, for ``/v1/embeddings``.
        key: API key.
        transport: Another way to send, for tests.

    Raises:
        ServiceError: If it does not answer.
        BenchmarkError: If it answers something else.
    """
    if model is None:
        with Client(url, key=key, timeout_s=CALL_S, transport=transport) as client:
            yield _tyntegra(client, url)
        return
    with Endpoint(url.rstrip("/"), model, key=key, transport=transport) as endpoint:

        def prompted(prompt: str) -> Encode:
            return lambda texts: endpoint.encode([prompt + text for text in texts])

        before_query, before_document = prompts.get("query", ""), prompts.get("document", "")
        query = prompted(before_query)
        yield Remote(
            name=model,
            identity=f"model:{model}",
            encode_query=query,
            encode_document=query if before_query == before_document else prompted(before_document),
            runtime={"prompts": dict(prompts)},
        )


def _tyntegra(client: Client, url: str) -> Remote:
    try:
        info = client.info()
        model, precision = str(info["model"]), str(info["precision"])
        texts = int(info["limits"]["max_texts"])
        body = int(info["limits"]["max_body_bytes"])
        prompts = dict(info["manifest"]["prompts"])
    except NotReadyError:
        raise
    except (ServiceError, KeyError, TypeError, ValueError) as error:
        told = error.message if isinstance(error, ServiceError) else "its /info has no limits"
        raise BenchmarkError(
            f"{url} does not answer as Tyntegra does ({told}); expected a service that `tyntegra "
            "serve` runs (its key in TYNTEGRA_KEY), or --model NAME for another's /v1/embeddings."
        ) from error

    def role(input_type: Literal["query", "document"]) -> Encode:
        def encode(rows: Sequence[str]) -> NDArray[np.float32]:
            parts = [
                client.embed(part, input_type)
                for part in _requests(rows, min(texts, _TEXTS), max(body, _LEAST_BODY) // 2)
            ]
            if not parts:
                raise BenchmarkError("got no texts to encode; expected at least one.")
            vectors = np.concatenate(parts)
            return vectors.astype(np.float32, copy=False)

        return encode

    query = role("query")
    same = prompts.get("query", "") == prompts.get("document", "")
    return Remote(
        name=model,
        identity=f"{model}/{precision}",
        encode_query=query,
        encode_document=query if same else role("document"),
        runtime={
            "service": str(info.get("version")),
            "precision": precision,
            "provider": info.get("provider"),
        },
    )


def _requests(texts: Sequence[str], most: int, most_bytes: int) -> Iterator[list[str]]:
    """Cut texts in parts of at most so many, and so many bytes of JSON unless one has more."""
    part: list[str] = []
    size = 0
    for text in texts:
        # Written in JSON, a code point takes six bytes for each of its units in UTF-16 at most.
        longest = 6 * len(text.encode("utf-16-le")) // 2 + 4
        if part and (len(part) == most or size + longest > most_bytes):
            yield part
            part, size = [], 0
        part.append(text)
        size += longest
    if part:
        yield part
