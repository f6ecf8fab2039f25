"""The encoder that serves: artifact in, texts to unit vectors out, by one queue for everybody.

Blocking callers (store, probe, evaluation) and the event loop share the batcher and its one
inference thread, so that a priority means something and no two runs fight for the same cores.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.artifact import GOLDEN, TOKENIZER, Manifest, Precision, read_artifact
from app.encoder.batcher import BULK, SEARCH, Batcher
from app.encoder.golden import require_golden, unpack_golden
from app.encoder.session import Device, Session, choose_precision, likely_provider
from app.encoder.split import Cost
from app.encoder.tokenizer import InputType, Tokenizer, Tokens
from app.errors import InvalidInputError

QUEUE_TEXTS = 4096

# Up to here a request is tokenized on the event loop; a thread would cost more than it frees.
INLINE_TEXTS = 8
INLINE_CHARACTERS = 4096

# Blocking callers send their texts in blocks: one in the session, the others on their way.
BLOCK_TEXTS = 256
BLOCKS_AHEAD = 3

# A run should not keep the next one waiting for long, nor leave the processor's cache.
RUN_S = 0.02
LEAST_RUN_TOKENS, MOST_RUN_TOKENS = 1024, 4096


@dataclass(frozen=True, slots=True)
class Encoded:
    """What became of some texts.

    Attributes:
        vectors: Unit rows, shape (texts, dim), float32.
        truncated: For each text whether it was cut to the encoder's ``max_tokens``.
        tokens: Tokens of all texts together, special tokens included.
    """

    vectors: NDArray[np.float32]
    truncated: list[bool]
    tokens: int


class TextEncoder:
    """Texts to unit vectors; made by ``open``.

    Attributes:
        manifest: The artifact's manifest.
        precision: The precision in use.
        provider: The execution provider in use, as the session says.
        threads: CPU threads of one run.
    """

    def __init__(
        self, manifest: Manifest, precision: Precision, tokenizer: Tokenizer, session: Session
    ) -> None:
        self.manifest = manifest
        self.precision: Precision = precision
        self.provider = session.provider
        self.threads = session.threads
        self._tokenizer = tokenizer
        self._session = session
        self._pool = ThreadPoolExecutor(max_workers=2, thread_name_prefix="tokenizer")

    @classmethod
    def open(
        cls,
        artifact: Path,
        *,
        device: Device = "auto",
        precision: str = "auto",
        threads: int = 0,
        max_batch_tokens: int = 0,
        queue_texts: int = QUEUE_TEXTS,
    ) -> Self:
        """Check an artifact, load it, compare its golden vectors and start to serve.

        Args:
            artifact: The folder that export wrote.
            device: Where to run; "cuda" refuses to run anywhere else.
            precision: Which graph to run, or "auto".
            threads: CPU threads of one run; 0 is as many as the container allows.
            max_batch_tokens: Most padded tokens of one run; 0 is measured.
            queue_texts: Most texts admitted and not yet finished.

        Raises:
            ArtifactError: If the artifact is not what its manifest says, or computes other vectors.
            ProviderError: If CUDA is asked for and does not come up.
        """
        provider = likely_provider(device)

        def chosen(manifest: Manifest) -> Precision:
            return choose_precision(manifest, precision, provider)

        manifest, contents = read_artifact(
            artifact, lambda m: (TOKENIZER, GOLDEN, m.precisions[chosen(m)].graph)
        )
        tokenizer = Tokenizer(contents[TOKENIZER], manifest)
        graph = contents[manifest.precisions[chosen(manifest)].graph]
        session = Session(graph, manifest, device=device, threads=threads)
        encoder = cls(manifest, chosen(manifest), tokenizer, session)
        encoder._start(contents[GOLDEN], max_batch_tokens, queue_texts)
        return encoder

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
        dimensions: int | None = None,
        priority: int = BULK,
    ) -> Encoded:
        """Encode any number of texts; blocks, waits for room in the queue, and is thread-safe.

        Args:
            texts: Texts, none of them empty.
            input_type: Which prompt to put before each.
            truncate: Cut what is too long rather than refuse it.
            dimensions: Keep this many leading dimensions and normalize again.
            priority: Who goes first; see ``app.encoder.batcher``.

        Raises:
            InvalidInputError: If a text is empty or invisible, or ``dimensions`` does not fit.
            TooLargeError: If a text is too long and is not to be cut.
            InferenceError: If the session failed.
            NotReadyError: If the encoder is closed or its thread is gone.
        """
        self._require_dimensions(dimensions)
        rows: list[Tokens] = []
        blocks: list[NDArray[np.float32]] = []
        running: deque[Future[NDArray[np.float32]]] = deque()
        size = min(BLOCK_TEXTS, self._queue_texts)
        try:
            for first in range(0, len(texts), size):
                block = self._tokenizer.tokenize(
                    texts[first : first + size], input_type, truncate=truncate, first=first
                )
                if len(running) >= BLOCKS_AHEAD:
                    blocks.append(running.popleft().result())
                self._batcher.admit(len(block), wait=True)
                running.append(self._batcher.submit([row.ids for row in block], priority))
                rows += block
            while running:
                blocks.append(running.popleft().result())
        finally:
            for future in running:
                future.cancel()
        empty = np.empty((0, self.dim), dtype=np.float32)
        return _encoded(np.concatenate([empty, *blocks]), rows, dimensions)

    async def encode_async(
        self,
        texts: Sequence[str],
        input_type: InputType,
        *,
        truncate: bool = True,
        dimensions: int | None = None,
        priority: int = SEARCH,
    ) -> Encoded:
        """Encode the texts of one request; cancelling the caller takes them out of the queue.

        Raises:
            OverloadedError: If the queue has no room, at once and before any work.
            TooLargeError: If the queue could never hold so many texts; or as ``encode``.
            InvalidInputError: As ``encode``.
            InferenceError: As ``encode``.
            NotReadyError: As ``encode``.
        """
        self._require_dimensions(dimensions)
        if not texts:
            raise InvalidInputError("got no texts; expected at least one: send some.")
        self._batcher.admit(len(texts))
        try:
            rows = await self._tokenize_async(texts, input_type, truncate)
        except BaseException:
            self._batcher.release(len(texts))
            raise
        future = self._batcher.submit([row.ids for row in rows], priority)
        return _encoded(await asyncio.wrap_future(future), rows, dimensions)

    def encode_query(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode queries, blocking; an ``Encode``."""
        return self.encode(texts, "query").vectors

    def encode_document(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode documents, blocking; an ``Encode``."""
        return self.encode(texts, "document").vectors

    def healthy(self) -> str | None:
        """Say what is wrong, or None."""
        return self._batcher.healthy()

    def close(self) -> None:
        """Stop; texts still waiting fail with NotReadyError. May be called twice."""
        self._batcher.close()
        self._pool.shutdown(wait=False)

    def _start(self, golden: bytes, max_batch_tokens: int, queue_texts: int) -> None:
        """Warm up: compare the golden vectors, measure what runs cost, start the thread."""
        texts, expected = unpack_golden(golden, self.precision, self.dim)
        rows = [row.ids for row in self._tokenizer.tokenize(texts, "document")]
        require_golden(texts, self._session.run(rows), expected)
        cost = _measure_cost(self._session, rows[0], self.manifest.max_tokens, max_batch_tokens)
        self._queue_texts = queue_texts
        self._batcher = Batcher(self._session.run, cost, queue_texts, canary=rows[:1])

    async def _tokenize_async(
        self, texts: Sequence[str], input_type: InputType, truncate: bool
    ) -> list[Tokens]:
        def tokenize() -> list[Tokens]:
            return self._tokenizer.tokenize(texts, input_type, truncate=truncate)

        if len(texts) <= INLINE_TEXTS and sum(map(len, texts)) <= INLINE_CHARACTERS:
            return tokenize()
        return await asyncio.get_running_loop().run_in_executor(self._pool, tokenize)

    def _require_dimensions(self, dimensions: int | None) -> None:
        if dimensions is not None and not 1 <= dimensions <= self.dim:
            raise InvalidInputError(
                f"got dimensions={dimensions}; expected 1 to {self.dim}, the encoder's own: send "
                "another number, or none for all of them."
            )


def _encoded(
    vectors: NDArray[np.float32], rows: Sequence[Tokens], dimensions: int | None
) -> Encoded:
    if dimensions is not None and dimensions < vectors.shape[1]:
        vectors = np.ascontiguousarray(vectors[:, :dimensions])
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        # What was cut off may have been all there was; any direction is then as good as another.
        vectors = np.where(norms > 1e-6, vectors, np.float32(1))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Encoded(
        vectors=vectors,
        truncated=[row.truncated for row in rows],
        tokens=sum(len(row.ids) for row in rows),
    )


def _measure_cost(
    session: Session, row: Sequence[int], max_tokens: int, max_batch_tokens: int
) -> Cost:
    """Time a smallest and a full run, which gives a run's fixed cost and its budget in tokens."""
    length = min(max_tokens, 32)
    full = [(list(row) * length)[:length]] * (LEAST_RUN_TOKENS // length)
    smallest_s, full_s = (
        min(_seconds(session, rows) for _ in range(3)) for rows in ([full[0][:1]], full)
    )
    per_token_s = max(full_s - smallest_s, 1e-9) / (length * len(full))
    budget = max_batch_tokens or int(
        np.clip(RUN_S / per_token_s, LEAST_RUN_TOKENS, MOST_RUN_TOKENS)
    )
    return Cost(overhead_tokens=min(smallest_s / per_token_s, budget), max_tokens=budget)


def _seconds(session: Session, rows: Sequence[Sequence[int]]) -> float:
    started = time.perf_counter()
    session.run(rows)
    return time.perf_counter() - started
