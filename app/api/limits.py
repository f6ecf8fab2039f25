"""Bounds of work: body bytes, texts, threads with a waiting room, clients that have gone."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import regex
from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import ClientGoneError, problem
from app.api.streams import is_stream
from app.encoder.excerpt import is_visible
from app.errors import InvalidInputError, OverloadedError, TooLargeError
from app.settings import Settings
from app.text.normalize import require_text

T = TypeVar("T")
INLINE_CHARS = 16_384
"""More text than this is normalized in a thread."""
MOST_MARKS = 256
_MARKS = regex.compile(rf"\p{{M}}{{{MOST_MARKS + 1}}}")


class ShedError(OverloadedError):
    """A queue of the API is full or too slow; ``reason`` says which."""

    def __init__(self, message: str, reason: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.reason = reason


class BodyLimit:
    """Refuses bodies above a size, by Content-Length at once and by count otherwise.

    Bodies without end pass; their route bounds each line of them.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self._refusal = (
            f"The body has more than {max_bytes} bytes; send it in smaller parts, or raise "
            "TYNTEGRA_MAX_BODY_BYTES."
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, with a body that ends in an error at the limit."""
        if scope["type"] != "http" or _is_stream(scope):
            await self.app(scope, receive, send)
            return
        declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if declared.isdigit() and int(declared[:20]) > self.max_bytes:
            await problem(scope, "too-large", self._refusal)(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_bytes:
                raise TooLargeError(self._refusal)
            return message

        await self.app(scope, counted, send)


def _is_stream(scope: Scope) -> bool:
    sent = next((value for name, value in scope["headers"] if name == b"content-type"), b"")
    return is_stream(scope["method"], scope["path"], sent.decode("latin-1"))


class Gate:
    """A few threads with a bounded waiting room; who finds it full is sent away at once."""

    def __init__(self, name: str, running: int, waiting: int) -> None:
        self.name = name
        self._room = running + waiting
        self._pool = ThreadPoolExecutor(running, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._busy = 0

    @property
    def busy(self) -> int:
        """Calls that run or wait."""
        return self._busy

    async def run(self, call: Callable[[], T]) -> T:
        """Run a blocking call in a thread.

        Cancelling drops a call that waits; one that runs goes on and keeps its place.

        Raises:
            OverloadedError: If the waiting room is full.
        """
        with self._lock:
            if self._busy >= self._room:
                raise ShedError(
                    f"{self._busy} {self.name} calls run or wait already, the most there may be; "
                    "try again later.",
                    self.name,
                    retry_after_s=2.0,
                )
            self._busy += 1
        future = self._pool.submit(call)
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def _leave(self, _: "Future[Any]") -> None:
        with self._lock:
            self._busy -= 1

    def close(self) -> None:
        """Drop what waits and wait for what runs."""
        self._pool.shutdown(wait=True, cancel_futures=True)


async def answer_in_time(
    request: Request, work: Coroutine[object, object, T], timeout_s: float
) -> T:
    """Do the work of a request unless its client leaves or its time runs out.

    Raises:
        OverloadedError: If the time ran out.
        ClientGoneError: If the client closed the connection; the work was cancelled.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({task, gone}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientGoneError
        raise ShedError(
            f"The request was not done within {timeout_s:g} s, because others are before it; "
            "try again later, or send less at a time.",
            "timeout",
            retry_after_s=min(timeout_s, 5.0),
        )
    finally:
        gone.cancel()
        task.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def require_count(items: int, name: str, most: int) -> None:
    """Refuse a list that is too long.

    Raises:
        InvalidInputError: If it is.
    """
    if items > most:
        raise InvalidInputError(
            f"{name} has {items} items; expected at most {most}: send them in parts."
        )


async def clean_texts(texts: Sequence[str], name: str, most: int, settings: Settings) -> list[str]:
    """Normalize the texts of a request and hold them to their bounds.

    Args:
        texts: The texts as sent.
        name: What the caller calls the list, such as ``inputs``.
        most: How many there may be.
        settings: Has the bound of a text's length.

    Raises:
        InvalidInputError: If there are too many, or one is empty or no Unicode.
        TooLargeError: If one is too long.
    """
    require_count(len(texts), name, most)
    chars = settings.max_text_chars
    if sum(map(len, texts)) > INLINE_CHARS:
        return await asyncio.to_thread(_clean, texts, name, chars)
    return _clean(texts, name, chars)


def _clean(texts: Sequence[str], name: str, most_chars: int) -> list[str]:
    return [clean_text(text, f"{name}[{index}]", most_chars) for index, text in enumerate(texts)]


def clean_text(text: str, name: str, most_chars: int) -> str:
    """Normalize a text and hold it to its bounds.

    Args:
        text: The text as sent.
        name: What the caller calls it, such as ``inputs[3]``.
        most_chars: How many characters it may have once normalized.

    Raises:
        InvalidInputError: If it is empty or no Unicode, or nobody could read it.
        TooLargeError: If it is too long.
    """
    # Bounded before as well: normalizing has a cost of its own, and sorting the marks on one letter
    # takes the square of their number.
    if not text.isascii() and _MARKS.search(text):
        raise InvalidInputError(
            f"{name} has more than {MOST_MARKS} marks on one letter; expected fewer: drop those "
            "that nobody can read."
        )
    if not any(map(is_visible, text)) and text.strip():
        raise InvalidInputError(
            f"{name} has nothing but invisible characters; expected at least one that shows: send "
            "some text."
        )
    long = len(text) > 2 * most_chars
    short = text if long else require_text(text, name)
    if len(short) > most_chars:
        raise TooLargeError(
            f"{name} has {len(short)} characters; expected at most {most_chars} once normalized: "
            "split it."
        )
    return short
