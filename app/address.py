"""Where the store is: the value of ``TYNTEGRA_STORE``, checked, and shown without its secrets."""

import re
from typing import Literal
from urllib.parse import SplitResult, urlsplit

Engine = Literal["embedded", "postgresql", "qdrant"]
EMBEDDED = "embedded"
_SCHEMES: dict[str, Engine] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "http": "qdrant",
    "https": "qdrant",
}
_EXPECTED = (
    "give 'embedded', postgresql://user@host:5432/database, or http(s)://host:6333 of a Qdrant "
    "(several nodes by commas, its key in TYNTEGRA_QDRANT_KEY)"
)


def engine_of(store: str) -> Engine:
    """Name the engine that an address is of.

    Raises:
        ValueError: If it is not an address; the message does not repeat it.
    """
    if store == EMBEDDED:
        return "embedded"
    engine = _SCHEMES.get(store.partition("://")[0])
    if engine is None or "://" not in store:
        raise ValueError(f"it names no engine that is known; {_EXPECTED}")
    return engine


def require_address(store: str) -> str:
    """Return the address of a store if an engine may be found there.

    Raises:
        ValueError: If not; the message does not repeat it, because it may hold a password.
    """
    engine = engine_of(store)
    if engine == "embedded":
        return store
    if re.search(r"[\s\x00-\x1f\x7f]", store):
        raise ValueError(f"it has a space or a control character; {_EXPECTED}")
    try:
        for node in store.split(",") if engine == "qdrant" else [store]:
            _require_parts(urlsplit(node), engine)
    except ValueError:
        raise ValueError(
            f"host or port cannot be read; {_EXPECTED}, with '@', '/', ':', '?' and '#' of a "
            "password written as %40, %2F, %3A, %3F and %23"
        ) from None
    return store


def without_secrets(store: str) -> str:
    """Write an address that is not well formed for a message: its password may stand anywhere."""
    return store if re.fullmatch(r"[\w.-]*", store) else "***"


def _require_parts(url: SplitResult, engine: Engine) -> None:
    several = engine == "postgresql" and "," in url.netloc  # One of several hosts, each with a port
    if not several and url.port == 0:
        raise ValueError
    if url.fragment or url.netloc.count("@") > 1:
        raise ValueError
    if engine == "qdrant" and (
        url.scheme not in ("http", "https") or not url.hostname or url.query or "@" in url.netloc
    ):
        raise ValueError
