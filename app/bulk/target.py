"""Where a job's documents go: a service that runs, or a store with an encoder of our own."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from app.bulk.work import Sink
from app.errors import ConflictError
from app.retrieval.store import FieldType
from app.settings import PREFIX, Settings
from app.windows import Windows

if TYPE_CHECKING:
    from app.retrieval.store import VectorStore

CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class Target:
    """A collection, and how to write to it.

    Attributes:
        collection: Its name; created if there is none.
        url: The service; None: ``settings`` say which store and encoder.
        key: The service's API key.
        settings: Settings that differ from the environment's, by name.
        fields: Metadata fields to declare when it is created.
        windows: Passages to declare when it is created.
        batch: Most documents of a call.
        patience_s: How long to wait for a service that is away or busy.
    """

    collection: str
    url: str | None = None
    key: str | None = field(default=None, repr=False)
    settings: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, FieldType] = field(default_factory=dict)
    windows: Windows | None = None
    batch: int = 256
    patience_s: float = 120.0

    def named(self) -> str:
        """Where it is, without secrets: the URL, or the store's."""
        place = self.url or self.chosen().store
        if self.url is None and place == "embedded":
            return f"embedded:{self.chosen().state.absolute()}"
        head, at, tail = place.rpartition("@")
        return f"{head.partition('://')[0]}://{tail}" if at else place

    def chosen(self) -> Settings:
        """The settings of a store opened here.

        Raises:
            InvalidInputError: If one does not fit.
        """
        return choose(self.settings)


def choose(given: Mapping[str, str]) -> Settings:
    """Read the settings from the environment, some of them given.

    Raises:
        InvalidInputError: If one does not fit.
    """
    named = {f"{PREFIX}{name.upper()}": value for name, value in given.items()}
    return Settings.from_env({**os.environ, **named})


def open_sink(target: Target, stop: Event | None = None) -> Sink:
    """Open a target, creating the collection if there is none.

    Args:
        target: The target.
        stop: Ends waits when it is set.

    Raises:
        ServiceError: If it cannot be opened, or the collection does not fit.
    """
    if target.url is not None:
        from app.bulk.service import ServiceSink

        return ServiceSink(target, stop or Event())
    from app.bulk.direct import StoreSink

    return StoreSink.open(target)


def open_named_store(settings: Settings) -> "VectorStore":
    """Open the store that settings name.

    Raises:
        ConflictError: If it is embedded and another process holds it.
        ServiceError: If it cannot be opened.
    """
    from app.opening import open_store

    try:
        return open_store(settings)
    except ConflictError as error:
        raise ConflictError(
            f"{error.message} If that process is the service, send the documents to it with --url."
        ) from None


def default_ledger(target: Target, kind: str = "index") -> Path:
    """Where a ledger lies unless told otherwise: in a folder beside the state."""
    from hashlib import blake2b

    state = target.chosen().state
    digest = blake2b(target.named().encode(), digest_size=4).hexdigest()
    return state.with_name(f"{state.name}-bulk") / f"{kind}-{target.collection}-{digest}.ledger"
