"""Texts of a request to rows of token ids: at once where that is quick, else beside the event loop.

A large request is tokenized some texts at a time, so that several take turns in the few threads
there are, and one that is cancelled stops soon.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from app.encoder.tokenizer import InputType, Tokenizer, Windows

# Up to here a request is tokenized on the event loop; a thread would cost more than it frees.
INLINE_TEXTS = 8
INLINE_CHARACTERS = 4096
# Beyond, by so many texts at a time.
POOL_TEXTS = 64
POOL_THREADS = 2


@dataclass(frozen=True, slots=True)
class How:
    """How texts become rows.

    Attributes:
        input_type: Which prompt to put before each.
        truncate: Cut what is too long rather than refuse it.
        windows: Neither cut nor refuse it, but split it.
    """

    input_type: InputType
    truncate: bool = True
    windows: bool = False


class Reader:
    """A tokenizer with threads of its own; ``close`` ends them."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="tokenizer")

    def read(self, texts: Sequence[str], how: How, first: int = 0) -> list[Windows]:
        """Tokenize texts, blocking.

        Args:
            texts: Texts from outside.
            how: How they become rows.
            first: Number of the first text, for error messages.

        Raises:
            InvalidInputError: If a text is empty or invisible.
            TooLargeError: If a text is too long and is not to be cut.
        """
        if how.windows:
            return self.tokenizer.windows(texts, how.input_type, first=first)
        rows = self.tokenizer.tokenize(texts, how.input_type, truncate=how.truncate, first=first)
        return [Windows([row.ids], [len(row.ids)], row.truncated) for row in rows]

    def read_ids(self, rows: Sequence[Sequence[int]], first: int = 0) -> list[Windows]:
        """Check token ids and put special tokens around them, blocking; errors as ``wrap``'s."""
        wrapped = self.tokenizer.wrap(rows, first=first)
        return [Windows([row.ids], [len(row.ids)]) for row in wrapped]

    async def texts(self, texts: Sequence[str], how: How) -> list[Windows]:
        """Tokenize texts without holding up the event loop; errors as ``read``'s."""
        return await self._by_parts(
            lambda first, last: self.read(texts[first:last], how, first),
            len(texts),
            sum(map(len, texts)),
        )

    async def ids(self, rows: Sequence[Sequence[int]]) -> list[Windows]:
        """Check token ids without holding up the event loop; errors as ``read_ids``'s."""
        return await self._by_parts(
            lambda first, last: self.read_ids(rows[first:last], first),
            len(rows),
            sum(map(len, rows)),
        )

    def close(self) -> None:
        """End the threads, whatever waits for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _by_parts(
        self, read: Callable[[int, int], list[Windows]], texts: int, size: int
    ) -> list[Windows]:
        if texts <= INLINE_TEXTS and size <= INLINE_CHARACTERS:
            return read(0, texts)
        loop, ready = asyncio.get_running_loop(), list[Windows]()
        for first in range(0, texts, POOL_TEXTS):
            last = min(first + POOL_TEXTS, texts)
            ready += await loop.run_in_executor(self._pool, read, first, last)
        return ready
