"""What happens by itself while a store is open: flushes, and index builds where they are due."""

import logging
import threading
from collections.abc import Callable, Collection

from app.errors import NotFoundError, NotReadyError, StoreError
from app.retrieval.edge.collection import EdgeCollection

_TEND_EVERY_S = 1.0
_log = logging.getLogger(__name__)


class Upkeep:
    """Three threads that look after all open collections, until ``stop``.

    Args:
        collections: Returns those that are open now.
    """

    def __init__(self, collections: Callable[[], Collection[EdgeCollection]]) -> None:
        self._collections = collections
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._tend, args=(work,), daemon=True)
            for work in (_flush_one, _build_one, _scrub_one)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more; what is under way ends by itself."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for what is under way."""
        for thread in self._threads:
            thread.join()

    def _tend(self, work: Callable[[EdgeCollection], bool]) -> None:
        more = False
        while not self._stopped.wait(0.0 if more else _TEND_EVERY_S):
            more = False
            for collection in self._collections():
                try:
                    more = work(collection) or more
                except (NotFoundError, NotReadyError):  # Dropped or closed since
                    continue
                except (StoreError, OSError):
                    if not self._stopped.is_set():
                        _log.exception("upkeep of %s failed", collection.meta.name)


def _flush_one(collection: EdgeCollection) -> bool:
    collection.tend()
    return False


def _build_one(collection: EdgeCollection) -> bool:
    if collection.wants_build():
        collection.build(if_wanted=True)
    return False


def _scrub_one(collection: EdgeCollection) -> bool:
    return collection.scrub()
