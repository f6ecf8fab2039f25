"""Another service's /v1/embeddings as an ``Encode``: bounded in size and time, no redirects.

Which services may be asked is the operator's choice (TYNTEGRA_PROBE_ENDPOINTS): a request that
could name any address would make this service ask whatever it can reach.
"""

import base64
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from app.errors import InvalidInputError, NotReadyError
from app.retrieval.store import Encode
from app.robustness.request import Constraints

BATCH = 64
MOST_BYTES = 16_777_216
"""Bytes of one answer: 64 vectors of 4,096 numbers written out are six million."""
MOST_DIM = 16_384
CALL_S = 30.0
_POLL_S = 0.05


class Endpoint:
    """Encodes by asking another service; use it in a ``with`` block.

    Args:
        url: The service, one of those that the operator allows.
        model: The model to ask for.
        cancelled: Asked before each call whether to stop, and while it goes on.
        deadline: When to stop at the latest, by ``time.monotonic``.
        key: API key, if the service asks for one.
        transport: Another way to send, for tests.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        cancelled: Callable[[], bool] = lambda: False,
        deadline: float = float("inf"),
        key: str | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url, self._model = url, model
        self._cancelled, self._deadline = cancelled, deadline
        self._dim: int | None = None
        # A call under way cannot be broken off; whoever cancels does not wait for its end.
        self._caller = ThreadPoolExecutor(1, thread_name_prefix="endpoint")
        # No proxies and credentials of the environment: the address is meant as it stands.
        self._http = httpx.Client(
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            timeout=CALL_S,
            headers={"authorization": f"Bearer {key}"} if key else {},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._caller.shutdown(wait=False, cancel_futures=True)
        self._http.close()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Texts to unit rows, shape (texts, dim).

        Raises:
            NotReadyError: If the service does not answer in time, or says that it cannot now.
            InvalidInputError: If it refuses, or answers something else than vectors.
        """
        parts = [self._ask(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(parts)

    def _ask(self, texts: Sequence[str]) -> NDArray[np.float32]:
        call = None
        while self._deadline > time.monotonic() and not self._cancelled():
            if call is None:
                call = self._caller.submit(self._call, texts)
            if wait([call], _POLL_S).done:
                return call.result()
        raise NotReadyError(
            "The time was over before the other service had encoded all texts; ask for more "
            "seconds, or use a smaller collection."
        )

    def _call(self, texts: Sequence[str]) -> NDArray[np.float32]:
        left = max(_POLL_S, self._deadline - time.monotonic())
        body = {"model": self._model, "input": list(texts), "encoding_format": "base64"}
        try:
            with self._http.stream(
                "POST", f"{self._url}/v1/embeddings", json=body, timeout=min(CALL_S, left)
            ) as response:
                content = self._read(response)
                status = response.status_code
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotReadyError(
                f"The other service did not answer ({type(error).__name__}); see that it runs, "
                "and that this one can reach it."
            ) from error
        if status in (429, 500, 502, 503, 504):
            raise NotReadyError(f"The other service answered {status}; try again later.")
        if status != 200:
            raise InvalidInputError(
                f"The other service answered {status}; expected 200: check the model's name, and "
                "whether the service asks for a key."
            )
        return self._rows(content, len(texts))

    def _read(self, response: httpx.Response) -> bytes:
        parts = bytearray()
        for part in response.iter_bytes():
            parts += part
            if len(parts) > MOST_BYTES:
                raise _no_vectors(f"more than {MOST_BYTES} bytes")
            if time.monotonic() > self._deadline:
                raise NotReadyError("The other service took too long to answer; try again later.")
        return bytes(parts)

    def _rows(self, content: bytes, count: int) -> NDArray[np.float32]:
        try:
            data = orjson.loads(content)["data"]
            data = sorted(data, key=lambda one: one["index"])
            if [one["index"] for one in data] != list(range(count)):
                raise ValueError
            rows = np.stack([_row(one["embedding"]) for one in data])
        except (ValueError, KeyError, TypeError):
            raise _no_vectors("something else") from None
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not np.isfinite(rows).all() or (lengths < 1e-9).any() or rows.shape[1] > MOST_DIM:
            raise _no_vectors("vectors without a direction")
        if self._dim not in (None, rows.shape[1]):
            raise _no_vectors(f"vectors of {rows.shape[1]} numbers after such of {self._dim}")
        self._dim = rows.shape[1]
        return (rows / lengths).astype(np.float32)


@contextmanager
def second_encoder(
    limits: Constraints, seconds: float, cancelled: Callable[[], bool]
) -> Iterator[Encode | None]:
    """Open the encoder that a probe's ``similarity_by`` names; None if it names none.

    Args:
        limits: The probe's constraints.
        seconds: Time for all that it is asked.
        cancelled: Asked while it works.
    """
    by = limits.similarity_by
    if by is None:
        yield None
        return
    deadline = time.monotonic() + seconds
    address = by.endpoint.rstrip("/")
    with Endpoint(address, by.model, cancelled=cancelled, deadline=deadline) as other:
        yield other.encode


def _row(sent: Any) -> NDArray[np.float64]:
    if isinstance(sent, str):
        return np.frombuffer(base64.b64decode(sent, validate=True), "<f4").astype(np.float64)
    row = np.array(sent, dtype=np.float64)
    if row.ndim != 1 or not row.size:
        raise ValueError
    return row


def _no_vectors(got: str) -> InvalidInputError:
    return InvalidInputError(
        f"The other service answered {got}; expected a vector for each text, as OpenAI's "
        "/v1/embeddings does: check its address."
    )
