"""The nodes of a Qdrant cluster: calls that go to another node when one fails, and its errors.

Every call made here may be repeated: points have ids of their own, deletions name what is to go,
and changes of aliases are worked out anew from what is there. So a call whose answer was lost is
simply sent again, after a pause with some chance in it, until it succeeds or its time is over.
"""

import json
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, TypeVar

import httpx
from pydantic import ValidationError
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from app.errors import (
    InvalidInputError,
    NotFoundError,
    NotReadyError,
    ServiceError,
    StoreError,
    TooLargeError,
)

S = TypeVar("S")
T = TypeVar("T")
Failure = ResponseHandlingException | UnexpectedResponse | ResourceExhaustedResponse
_FAILURES = (ResponseHandlingException, UnexpectedResponse, ResourceExhaustedResponse)
_UNKNOWN = (json.JSONDecodeError, AssertionError)
"""What the client raises on answers that are no JSON, or lack the result."""
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_LOST = frozenset({429, 502, 503, 504})
_LONGEST_WAIT_S = 5.0
_THREADS = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cluster:
    """How collections are spread and how nodes are asked.

    Attributes:
        prefix: What the names of our collections begin with on the server.
        key: API key; None: none is sent.
        shards: Parts that a collection is created with; above 1 the server has to be a cluster.
        replicas: Copies of each.
        write_replicas: Copies that must have a write before it counts; 0: all.
        read: Copies that are asked, and must agree, for a read.
        timeout_s: Seconds that a call may take, with everything that is tried again.
    """

    prefix: str = "tyntegra"
    key: str | None = None
    shards: int = 1
    replicas: int = 1
    write_replicas: int = 0
    read: Literal["one", "majority", "quorum", "all"] = "one"
    timeout_s: float = 30.0

    def require_consistent(self) -> None:
        """See that a read asks at least one copy that has every write that counts.

        Raises:
            InvalidInputError: If a search might miss what was acknowledged.
        """
        written = self.write_replicas or self.replicas
        most = self.replicas // 2 + 1
        asked = {"one": 1, "majority": most, "quorum": most, "all": self.replicas}[self.read]
        if written > self.replicas or written + asked <= self.replicas:
            raise InvalidInputError(
                f"Writes to {written} and reads of {asked} of {self.replicas} replicas cannot be: "
                "both together must be more than there are. Correct TYNTEGRA_QDRANT_REPLICAS, "
                "_WRITE_REPLICAS or _READ."
            )


class GoneError(NotFoundError):
    """The server has no such collection (any more)."""


class Nodes:
    """Clients of the nodes of one cluster.

    Args:
        clients: One for each node, by its address.
        cluster: How they are asked.
    """

    def __init__(self, clients: dict[str, QdrantClient], cluster: Cluster) -> None:
        self.consistency = (
            None if cluster.read == "one" else models.ReadConsistencyType(cluster.read)
        )
        """Copies that have to agree on what is read, as the server names it."""
        self._clients = list(clients.items())
        self._timeout_s = cluster.timeout_s
        self._first = 0
        self._pool: ThreadPoolExecutor | None = None
        self._making = threading.Lock()
        self._closed = False

    @classmethod
    def connect(cls, urls: str, cluster: Cluster) -> "Nodes":
        """Make clients for one or several addresses, by commas; sends nothing yet.

        Raises:
            InvalidInputError: If an address is not one of http or https.
        """
        # A node that does not answer is to leave time for two others.
        try_s = max(1, math.ceil(cluster.timeout_s / 3))
        clients: dict[str, QdrantClient] = {}
        for url in filter(None, map(str.strip, urls.split(","))):
            address = _address(url)
            clients[address] = QdrantClient(
                url=url,
                timeout=try_s,
                check_compatibility=False,  # It would ask, and warn, before the first call
                headers={"api-key": cluster.key} if cluster.key else None,
                limits=httpx.Limits(max_connections=100, max_keepalive_connections=20),
            )
        if not clients:
            raise InvalidInputError(
                "No address of a Qdrant server is given; give http://host:6333."
            )
        return cls(clients, cluster)

    def call(self, action: str, send: Callable[[QdrantClient], T]) -> T:
        """Make a call that may be repeated, on one node after the other.

        Args:
            action: What is being done, for the message: "searching in demo".
            send: Makes the call.

        Raises:
            GoneError: If the collection is not there.
            NotReadyError: If no node answered in time.
            StoreError: If the server failed or refused.
        """
        deadline = time.monotonic() + self._timeout_s
        attempt = 0
        while True:
            first = self._first
            address, client = self._clients[first % len(self._clients)]
            try:
                return send(client)
            except _UNKNOWN as error:
                raise self._unknown(action) from error
            except _FAILURES as error:
                attempt += 1
                wait = _wait_s(error, attempt)
                if not _is_passing(error) or time.monotonic() + wait > deadline:
                    raise self._explain(error, action, attempt) from error
                _log.warning("%s failed at %s (%s); trying again", action, address, _reason(error))
            if self._first == first:  # No other call has left this node already
                self._first = first + 1
            time.sleep(wait)

    def each(self, work: Callable[[S], T], items: Sequence[S]) -> list[T]:
        """Do the same for several items, side by side; the work itself may not call this."""
        if len(items) < 2:
            return [work(item) for item in items]
        with self._making:
            if self._closed:
                raise NotReadyError("The store was closed meanwhile; open it again.")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_THREADS, "qdrant")
            found = self._pool.map(work, items)
        return list(found)

    def close(self) -> None:
        """Close all connections."""
        with self._making:
            self._closed = True
        if self._pool is not None:
            self._pool.shutdown()
        for _, client in self._clients:
            client.close()

    def _explain(self, error: Failure, action: str, attempts: int) -> ServiceError:
        where = "The Qdrant server"  # Callers need not know where it is; the log does
        status = _status(error)
        if status is None and isinstance(_source(error), ValidationError):
            return self._unknown(action)
        if status is None or status in _LOST:
            return NotReadyError(
                f"{where} did not serve while {action}: {_reason(error)}, {attempts} times. Check "
                "that it runs and that TYNTEGRA_STORE names it."
            )
        if status == 404:
            return GoneError(f"{where} has no such collection (any more) while {action}.")
        if status in (401, 403):
            return StoreError(
                f"{where} refused its key while {action} ({status}); correct TYNTEGRA_QDRANT_KEY."
            )
        if status == 413:
            return TooLargeError(f"{where} takes no message this long while {action}; send less.")
        return StoreError(f"{where} failed while {action}: {_reason(error)}. See its log.")

    def _unknown(self, action: str) -> StoreError:
        return StoreError(
            f"What should be the Qdrant server answered something unknown while {action}; let "
            "TYNTEGRA_STORE name one of version 1.20 or near it."
        )


def _address(url: str) -> str:
    try:
        parsed = httpx.URL(url)
        host, port = parsed.host, parsed.port or 6333
    except httpx.InvalidURL:
        parsed, host, port = httpx.URL(), "", 0
    if parsed.scheme not in ("http", "https") or not host or parsed.userinfo:
        raise InvalidInputError(
            "An address of a Qdrant server is not http://host:6333 or https://host:6333; correct "
            "TYNTEGRA_STORE. A key belongs into TYNTEGRA_QDRANT_KEY."
        )
    return f"{parsed.scheme}://{host}:{port}"


def _source(error: Failure) -> Exception:
    return error.source if isinstance(error, ResponseHandlingException) else error


def _status(error: Failure) -> int | None:
    if isinstance(error, ResourceExhaustedResponse):
        return 429
    return error.status_code if isinstance(error, UnexpectedResponse) else None


def _is_passing(error: Failure) -> bool:
    status = _status(error)
    if status is None:
        return isinstance(_source(error), httpx.TransportError)
    return status in _PASSING


def _wait_s(error: Failure, attempt: int) -> float:
    least = error.retry_after_s if isinstance(error, ResourceExhaustedResponse) else 0
    # Some chance, so that those sent away together do not come back together.
    return least + random.uniform(0.05, 0.15) * min(2**attempt, _LONGEST_WAIT_S / 0.15)


def _reason(error: Failure) -> str:
    if isinstance(error, UnexpectedResponse):
        try:
            detail = error.structured()["status"]["error"]
        except (ValueError, KeyError, TypeError):
            detail = error.reason_phrase
        return f"{error.status_code}: {detail!s:.300}"
    source = _source(error)
    return f"{type(source).__name__} {source!s:.200}".strip()
