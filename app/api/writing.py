"""Writes that wait while their collection is exchanged."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from app.api.state import Service
from app.guard import HeldUpError
from app.retrieval.store import VectorStore

T = TypeVar("T")


async def in_writing(service: Service, call: Callable[[VectorStore], T]) -> T:
    """Run blocking store calls that write, again while the guard holds writers up.

    No thread of the store's is taken while it waits.

    Raises:
        HeldUpError: If that takes longer than half of the time of a request.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + service.settings.request_timeout_s / 2
    while True:
        try:
            return await service.in_store(call)
        except HeldUpError as error:
            if loop.time() > deadline:
                raise
            await asyncio.sleep(error.retry_after_s)
