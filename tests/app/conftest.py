"""Fakes of the encoder and the store, and a client that speaks to a service built of them."""

import asyncio
import hashlib
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any, Literal

import httpx
import numpy as np
import pytest
from fastapi import FastAPI
from numpy.typing import NDArray
from pydantic import BaseModel

from app.api.state import Openers, Service
from app.encoder.encoded import Timings
from app.errors import (
    InferenceError,
    InvalidInputError,
    OverloadedError,
)
from app.main import create_app
from app.server import bind, build_server
from app.settings import Settings

from .engines import *  # noqa: F403  # the fixtures of the contract suite
from .reference_store import ReferenceStore

DIM = 32


def fake_encode(texts: Sequence[str]) -> NDArray[np.float32]:
    """Hashed character trigrams as unit rows: texts that share trigrams are near."""
    rows = np.zeros((len(texts), DIM), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        padded = f"  {text.lower()}  "
        for start in range(len(padded) - 2):
            digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=4).digest()
            row[int.from_bytes(digest, "little") % DIM] += 1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class FakePrompts(BaseModel):
    query: str = ""
    document: str = ""


class FakeManifest(BaseModel):
    name: str = "fake"
    dim: int = DIM
    prompts: FakePrompts = FakePrompts()


@dataclass
class FakeEncoded:
    vectors: NDArray[np.float32]
    truncated: list[bool]
    tokens: int
    lengths: list[int]
    windows: list[int]
    timings: Timings = field(default_factory=lambda: Timings(0.001, 0.002, 0.003))


@dataclass
class FakeEncoder:
    """Encodes at once; texts that begin with ``!`` make it fail in the way they name."""

    model_id: str = "fake@000000000000"
    dim: int = DIM
    provider: str = "CPUExecutionProvider"
    precision: str = "fp32"
    document_room: int = 100
    manifest: FakeManifest = field(default_factory=FakeManifest)
    reason: str | None = None
    cancelled: int = 0
    rechecks: int = 0
    mends: bool = False
    closed: bool = False

    def encode(
        self,
        texts: Sequence[str],
        input_type: Literal["query", "document"],
        *,
        truncate: bool = True,
        windows: bool = False,
        dimensions: int | None = None,
        priority: int = 1,
    ) -> FakeEncoded:
        vectors = fake_encode(texts)
        if dimensions is not None:
            if dimensions > self.dim:
                raise InvalidInputError(f"got dimensions={dimensions}; expected 1 to {self.dim}")
            vectors = vectors[:, :dimensions]
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        long = [len(text) > 100 for text in texts]
        counts = [1 + (len(text) - 1) // 100 if windows else 1 for text in texts]
        cut = [is_long and not windows for is_long in long]
        lengths = [len(text) for text in texts]
        return FakeEncoded(vectors, cut, sum(lengths), lengths, counts)

    async def encode_ids_async(
        self,
        rows: Sequence[Sequence[int]],
        *,
        dimensions: int | None = None,
        priority: int = 0,
    ) -> FakeEncoded:
        texts = [" ".join(map(str, row)) for row in rows]
        return self.encode(texts, "document", dimensions=dimensions)

    async def encode_async(
        self,
        texts: Sequence[str],
        input_type: Literal["query", "document"],
        *,
        truncate: bool = True,
        windows: bool = False,
        dimensions: int | None = None,
        priority: int = 0,
    ) -> FakeEncoded:
        if texts[0] == "!overloaded":
            raise OverloadedError("the queue is full; try again later.", retry_after_s=2.5)
        if texts[0] == "!inference":
            raise InferenceError("node 7 failed")
        if texts[0] == "!bug":
            raise KeyError("a secret text")
        if texts[0].startswith("!slow"):
            try:
                await asyncio.sleep(float(texts[0].partition(" ")[2] or 30))
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return self.encode(
            texts, input_type, truncate=truncate, windows=windows, dimensions=dimensions
        )

    def token_starts(self, texts: Sequence[str]) -> list[NDArray[np.intp]]:
        """Tokens are words."""
        return [
            np.array([match.start() for match in re.finditer(r"\S+", text)], np.intp)
            for text in texts
        ]

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return fake_encode(texts)

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return fake_encode(texts)

    def healthy(self) -> str | None:
        return self.reason

    def recheck(self, timeout_s: float) -> str | None:
        self.rechecks += 1
        if self.mends:
            self.reason = None
        return self.reason

    def close(self) -> None:
        self.closed = True


class FakeStore(ReferenceStore):
    """A store in memory."""


@dataclass
class Running:
    """A service in its lifespan, with a client for it."""

    app: FastAPI
    client: httpx.AsyncClient
    encoder: FakeEncoder
    store: FakeStore

    @property
    def service(self) -> Service:
        return self.app.state.service


Start = Callable[..., Any]


@asynccontextmanager
async def running(
    encoder: FakeEncoder | None = None, store: FakeStore | None = None, **chosen: Any
) -> AsyncIterator[Running]:
    """Run a service of fakes until it is ready; ``chosen`` are settings."""
    encoder, store = encoder or FakeEncoder(), store or FakeStore()
    async with AsyncExitStack() as stack:
        state = stack.enter_context(TemporaryDirectory(prefix="tyntegra-"))
        default = {"demo": False, "log": "error", "state": state}
        settings = Settings.model_validate(default | chosen)
        app = create_app(settings, openers=Openers(lambda _: encoder, lambda _: store))
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with asyncio.timeout(30):
                while app.state.service.phase == "starting":
                    await asyncio.sleep(0.005)
            yield Running(app, client, encoder, store)


@pytest.fixture
def start() -> Start:
    """The context manager that runs a service of fakes."""
    return running


@pytest.fixture(scope="module")
def start_module() -> Start:
    """The same for fixtures of a module."""
    return running


@dataclass
class Live:
    """A service of fakes that listens on a port."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path)


@contextmanager
def listening(**chosen: Any) -> Iterator[Live]:
    """Run a service of fakes behind the bounded protocol until it is ready."""
    default = {"demo": False, "log": "error", "shutdown_s": 2}
    openers = Openers(lambda _: FakeEncoder(), lambda _: FakeStore())
    with bind("127.0.0.1", 0) as listener, TemporaryDirectory(prefix="tyntegra-") as state:
        settings = Settings.model_validate(default | {"state": state} | chosen)
        app = create_app(settings, openers=openers)
        server = build_server(app, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        live = Live(listener.getsockname()[1], app.state.service)
        try:
            deadline = time.monotonic() + 20
            while live.service.phase == "starting" and time.monotonic() < deadline:
                time.sleep(0.01)
            yield live
        finally:
            server.should_exit = True
            thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def serving() -> Callable[..., Any]:
    """The context manager that runs a service of fakes on a port."""
    return listening


@pytest.fixture(scope="module")
def fakes_module() -> Callable[[], tuple[FakeEncoder, FakeStore]]:
    """Makes an encoder and a store."""
    return lambda: (FakeEncoder(), FakeStore())


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
