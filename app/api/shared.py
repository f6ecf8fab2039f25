"""Blocking calls that many requests wait for and that run at most once at a time."""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedCall(Generic[T]):
    """A call that whoever comes while it runs waits for too.

    One that hangs costs one thread, however often it is asked for; the thread holds up no end of
    the process.
    """

    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call
        self._running: asyncio.Future[T] | None = None

    async def wait(self, timeout_s: float) -> T:
        """Wait for the present call, or for a new one.

        Raises:
            TimeoutError: If it takes longer; it goes on.
            Exception: Whatever the call raises.
        """
        if self._running is None or self._running.done():
            self._running = self._begin()
        async with asyncio.timeout(timeout_s):
            return await asyncio.shield(self._running)

    def _begin(self) -> "asyncio.Future[T]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        # Who waited may have left; an error that nobody asks for is not to be complained of.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())

        def answer(give: Callable[[], None]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(lambda: future.done() or give())

        def run() -> None:
            try:
                result = self._call()
            except Exception as error:  # told to those who wait
                failure = error
                answer(lambda: future.set_exception(failure))
            else:
                answer(lambda: future.set_result(result))

        threading.Thread(target=run, name="health", daemon=True).start()
        return future
