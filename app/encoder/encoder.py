"""The encoder that serves: artifact in, texts to unit vectors out, by one queue for everybody.

Blocking callers (store, probe, evaluation) and the event loop share the batcher and its one
inference thread, so that a priority means something and no two runs fight for the same cores.
"""

import asyncio
import time
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.artifact import Manifest, Precision
from app.encoder.batcher import Batcher
from app.encoder.encoded import Encoded, Timings, pool_windows, shorten
from app.encoder.hardware import Device, Hardware
from app.encoder.jobs import BULK, SEARCH, Batched
from app.encoder.reading import How, Reader
from app.encoder.replicas import Replicas, open_replicas
from app.encoder.tokenizer import InputType, Windows
from app.errors import InvalidInputError

QUEUE_TEXTS = 4096

# Blocking callers send their texts in blocks: one in the session, the others on their way.
BLOCK_TEXTS = 256
BLOCKS_AHEAD = 3


class TextEncoder:
    """Texts to unit vectors; made by ``open``.

    Attributes:
        manifest: The artifact's manifest.
        precision: The precision in use.
        provider: The execution provider in use, as the session says.
        threads: CPU threads of one run.
    """

    def __init__(self, replicas: Replicas, queue_texts: int) -> None:
        self.manifest: Manifest = replicas.manifest
        self.precision: Precision = replicas.precision
        self.provider = replicas.sessions[0].provider
        self.threads = replicas.sessions[0].threads
        self._sessions = replicas.sessions
        self._reader = Reader(replicas.tokenizer)
        self._queue_texts = queue_texts
        runs = [session.run for session in replicas.sessions]
        self._batcher = Batcher(runs, replicas.cost, queue_texts, replicas.canary)

    @classmethod
    def open(
        cls,
        artifact: Path,
        *,
        device: Device | Hardware = "auto",
        precision: str = "auto",
        max_batch_tokens: int = 0,
        queue_texts: int = QUEUE_TEXTS,
    ) -> Self:
        """Check an artifact, load it, compare its golden vectors and start to serve.

        Args:
            artifact: The folder that export wrote.
            device: Where to run: a name, or all that there is to choose.
            precision: Which graph to run, or "auto".
            max_batch_tokens: Most padded tokens of one run; 0 is measured.
            queue_texts: Most texts admitted and not yet finished.

        Raises:
            ArtifactError: If the artifact is not what its manifest says, or computes other vectors.
            ProviderError: If CUDA is asked for and does not come up.
        """
        hardware = device if isinstance(device, Hardware) else Hardware(device)
        return cls(open_replicas(artifact, hardware, precision, max_batch_tokens), queue_texts)

    @property
    def model_id(self) -> str:
        """Name and fingerprint of tokenizer and weights; changes when vectors do."""
        return self.manifest.model_id

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.manifest.dim

    @property
    def waiting_texts(self) -> int:
        """Texts admitted and not yet finished."""
        return self._batcher.waiting_texts

    def encode(
        self,
        texts: Sequence[str],
        input_type: InputType,
        *,
        truncate: bool = True,
        windows: bool = False,
        dimensions: int | None = None,
        priority: int = BULK,
    ) -> Encoded:
        """Encode any number of texts; blocks, waits for room in the queue, and is thread-safe.

        Args:
            texts: Texts, none of them empty.
            input_type: Which prompt to put before each.
            truncate: Cut what is too long rather than refuse it.
            windows: Neither cut nor refuse it: split it in windows and average their vectors.
            dimensions: Keep this many leading dimensions and normalize again.
            priority: Who goes first; see ``app.encoder.batcher``.

        Raises:
            InvalidInputError: If a text is empty or invisible, or ``dimensions`` does not fit.
            TooLargeError: If a text is too long and is not to be cut.
            InferenceError: If the session failed.
            NotReadyError: If the encoder is closed or its threads are gone.
        """
        self._require_dimensions(dimensions)
        how = How(input_type, truncate, windows)
        size = min(BLOCK_TEXTS, self._queue_texts)
        ready: list[Windows] = []
        blocks: list[Batched] = []
        running: deque[Future[Batched]] = deque()
        tokenize_s = 0.0
        try:
            for first in range(0, len(texts), size):
                started = time.perf_counter()
                block = self._reader.read(texts[first : first + size], how, first)
                tokenize_s += time.perf_counter() - started
                ready += block
                for part in _parts([row for text in block for row in text.rows], size):
                    if len(running) >= BLOCKS_AHEAD:
                        blocks.append(running.popleft().result())
                    self._batcher.admit(len(part), wait=True)
                    running.append(self._batcher.submit(part, priority))
            while running:
                blocks.append(running.popleft().result())
        finally:
            for future in running:
                future.cancel()
        if not blocks:
            blocks.append(Batched(np.empty((0, self.dim), dtype=np.float32), 0.0, 0.0))
        return _encoded(blocks, ready, tokenize_s, dimensions)

    async def encode_async(
        self,
        texts: Sequence[str],
        input_type: InputType,
        *,
        truncate: bool = True,
        windows: bool = False,
        dimensions: int | None = None,
        priority: int = SEARCH,
    ) -> Encoded:
        """Encode the texts of one request; cancelling the caller takes them out of the queue.

        Raises:
            OverloadedError: If the queue has no room, at once and before any work; with windows
                also once it is known how many there are.
            TooLargeError: If the queue could never hold so many texts; or as ``encode``.
            InvalidInputError: As ``encode``.
            InferenceError: As ``encode``.
            NotReadyError: As ``encode``.
        """
        reading = self._reader.texts(texts, How(input_type, truncate, windows))
        return await self._answer(reading, len(texts), dimensions, priority)

    async def encode_ids_async(
        self,
        rows: Sequence[Sequence[int]],
        *,
        dimensions: int | None = None,
        priority: int = SEARCH,
    ) -> Encoded:
        """Encode texts given as token ids of this encoder's own tokenizer; no prompt is added.

        Raises:
            InvalidInputError: If a row is empty or holds what is no token id of this encoder.
            TooLargeError: If a row has more than ``max_tokens`` tokens; or as ``encode_async``.
            OverloadedError: As ``encode_async``.
            InferenceError: As ``encode``.
            NotReadyError: As ``encode``.
        """
        return await self._answer(self._reader.ids(rows), len(rows), dimensions, priority)

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries, blocking; an ``Encode``."""
        return self.encode(texts, "query").vectors

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode documents, blocking; an ``Encode``."""
        return self.encode(texts, "document").vectors

    def token_starts(self, texts: Sequence[str]) -> list[NDArray[np.intp]]:
        """Find where the tokens of normalized texts begin, in code points; blocks."""
        return self._reader.tokenizer.starts(texts)

    @property
    def document_room(self) -> int:
        """Tokens of a document that are encoded for certain, its prompt not counted."""
        return self._reader.tokenizer.room("document")

    def healthy(self) -> str | None:
        """Say what is wrong, or None."""
        return self._batcher.healthy()

    def recheck(self, timeout_s: float) -> str | None:
        """Say what is wrong, or None, after trying a session that failed anew; blocks."""
        return self._batcher.recheck(timeout_s)

    def close(self) -> None:
        """Stop; texts still waiting fail with NotReadyError. May be called twice."""
        self._batcher.close()
        self._reader.close()
        for session in self._sessions:
            session.close()

    async def _answer(
        self,
        reading: Coroutine[Any, Any, list[Windows]],
        texts: int,
        dimensions: int | None,
        priority: int,
    ) -> Encoded:
        try:
            self._require_dimensions(dimensions)
            if not texts:
                raise InvalidInputError("got no texts; expected at least one: send some.")
            self._batcher.admit(texts)
        except BaseException:
            reading.close()  # refused before it began
            raise
        started = time.perf_counter()
        try:
            ready = await reading
        except BaseException:
            self._batcher.release(texts)
            raise
        tokenize_s = time.perf_counter() - started
        rows = [row for text in ready for row in text.rows]
        if len(rows) > texts:
            self._batcher.release(texts)
            self._batcher.admit(len(rows))
        future = self._batcher.submit(rows, priority)
        return _encoded([await asyncio.wrap_future(future)], ready, tokenize_s, dimensions)

    def _require_dimensions(self, dimensions: int | None) -> None:
        trained = (*self.manifest.matryoshka, self.dim)
        if dimensions is None or dimensions in trained:
            return
        if len(trained) == 1:
            raise InvalidInputError(
                f"got dimensions={dimensions}; expected {self.dim} or none, because this encoder "
                "was not trained to be cut to fewer: leave dimensions out."
            )
        raise InvalidInputError(
            f"got dimensions={dimensions}; expected one of {', '.join(map(str, trained))}, which "
            "this encoder was trained to be cut to: send one of them, or none for all."
        )


def _encoded(
    blocks: Sequence[Batched], ready: Sequence[Windows], tokenize_s: float, dimensions: int | None
) -> Encoded:
    counts = [len(text.rows) for text in ready]
    vectors = blocks[0].vectors
    if len(blocks) > 1:
        vectors = np.concatenate([block.vectors for block in blocks])  # (windows, dim)
    pooled = pool_windows(vectors, counts, [weight for text in ready for weight in text.weights])
    lengths = [sum(map(len, text.rows)) for text in ready]
    return Encoded(
        vectors=shorten(pooled, dimensions),
        truncated=[text.truncated for text in ready],
        tokens=sum(lengths),
        lengths=lengths,
        windows=counts,
        timings=Timings(
            tokenize_s=tokenize_s,
            queue_s=max(block.queue_s for block in blocks),
            inference_s=sum(block.inference_s for block in blocks),
        ),
    )


def _parts(rows: list[list[int]], size: int) -> Iterator[list[list[int]]]:
    """Cut a list in parts of at most ``size``."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
