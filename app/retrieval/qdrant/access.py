"""From a name to work on the collection that has it, also while another takes its place."""

import itertools
import time
from collections.abc import Callable
from typing import TypeVar

from qdrant_client import models

from app.errors import NotFoundError, NotReadyError, StoreError
from app.retrieval.points import require_name
from app.retrieval.qdrant.names import Names, Target
from app.retrieval.qdrant.nodes import Cluster, GoneError, Nodes
from app.retrieval.qdrant.reads import Reader
from app.retrieval.store import Collection

T = TypeVar("T")
_KNOWN_S = 1.0
"""Seconds for which a name is taken to mean the same collection, as far as reads go."""
_INDEXED_WITHIN_S = 60.0


class Access:
    """Finds collections by name, and works on them.

    Args:
        nodes: The cluster, closed with this.
        cluster: How collections are spread and read.
    """

    def __init__(self, nodes: Nodes, cluster: Cluster) -> None:
        self.names = Names(nodes, cluster)
        self._nodes = nodes
        self._known: dict[str, tuple[float, Target]] = {}
        self._closed = False

    def work(self, name: str, work: Callable[[Target], T], *, fresh: bool = False) -> T:
        """Work on a collection; once more if another has taken its place meanwhile.

        Args:
            name: Its name.
            work: What to do.
            fresh: Ask the server which one has the name now, as for writes.
        """
        target = self.find(name, fresh=fresh)
        try:
            return work(target)
        except GoneError:
            again = self.find(name)
            if again.physical == target.physical:
                raise
        return work(again)

    def find(self, name: str, *, fresh: bool = True) -> Target:
        """Find the collection of a name."""
        require_name(name)
        self.require_open()
        then, target = self._known.get(name, (-_KNOWN_S, None))
        if target is None or fresh or time.monotonic() - then > _KNOWN_S:
            self.forget(name)
            target = self.names.find(name)
            self._known[name] = (time.monotonic(), target)
        return target

    def forget(self, name: str) -> None:
        """Ask the server the next time."""
        self._known.pop(name, None)

    def aliases(self, *names: str) -> dict[str, str]:
        """Map all names to what the server calls their collections; those given must be there."""
        for name in names:
            require_name(name)
        self.require_open()
        aliases = self.names.aliases()
        for name in names:
            if name not in aliases:
                raise NotFoundError(f"There is no collection {name}; create it first.")
        return aliases

    def all(self) -> dict[str, tuple[Collection | None, str]]:
        """Describe all collections, by name; with what is wrong with those that something is."""

        def look(name: str) -> tuple[Collection | None, str]:
            try:
                target = self.find(name)
                return self.describe(target), target.trouble
            except NotFoundError:  # Dropped meanwhile
                return None, ""
            except StoreError as error:
                return None, error.message

        names = sorted(self.aliases())
        return dict(zip(names, self._nodes.each(look, names), strict=True))

    def describe(self, target: Target) -> Collection:
        """Describe a collection."""
        count = self.reader(target).count([])
        return Collection(target.name, target.dim, target.model, count, target.options)

    def reader(self, target: Target) -> Reader:
        """Read from a collection."""
        return Reader(self._nodes, target)

    def settle(self, target: Target) -> None:
        """Wait until the server has nothing left to build, at most a minute."""
        deadline = time.monotonic() + _INDEXED_WITHIN_S
        for attempt in itertools.count(1):
            info = self._nodes.call(
                f"reading the state of {target.name}",
                lambda client: client.get_collection(target.physical),
            )
            if info.status != models.CollectionStatus.YELLOW or time.monotonic() > deadline:
                return
            time.sleep(min(2.0, 0.05 * 2**attempt))

    def require_open(self) -> None:
        """Refuse to work after the end.

        Raises:
            NotReadyError: If the store was closed.
        """
        if self._closed:
            raise NotReadyError("The store is closed; open it again.")

    def close(self) -> None:
        """Close the connections."""
        if not self._closed:
            self._closed = True
            self._nodes.close()
