"""Values of environment variables: lists, switches, paths and addresses, and why one is refused."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationError

from app.address import without_secrets

PREFIX = "TYNTEGRA_"

_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True}
_BOOLEANS |= {"false": False, "0": False, "no": False, "off": False}


def _expand(value: Any) -> Any:
    return Path(value).expanduser() if isinstance(value, str | Path) else value


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower(value: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.lower() for part in value)


def _boolean(value: Any) -> Any:
    return _BOOLEANS.get(value.strip().lower(), value) if isinstance(value, str) else value


def _require_urls(value: tuple[str, ...]) -> tuple[str, ...]:
    for url in value:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ValueError("expected addresses such as https://host:8000, without user and key")
        if parts.query or parts.fragment:
            raise ValueError("expected addresses without a query, such as https://host:8000")
    return tuple(url.rstrip("/") for url in value)


ExpandedPath = Annotated[Path, BeforeValidator(_expand)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_lower)]
Urls = Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_require_urls)]
Switch = Annotated[bool, BeforeValidator(_boolean)]


def unknown(variable: str, known: list[str]) -> str:
    """Say that there is no such variable, and which may have been meant."""
    close = difflib.get_close_matches(variable.upper(), known, n=1, cutoff=0.6)
    remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return f"{variable} is not a setting; {remedy}"


def explain(error: ValidationError, given: Mapping[str, str]) -> str:
    """Say which variable's value does not fit, and why; no secret is repeated."""
    first = error.errors(include_url=False, include_context=False)[0]
    field = str(first["loc"][0])
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if message.startswith("Input ") else message
    value = given.get(field, "")
    if field == "store":
        value = without_secrets(value)
    if field == "probe_endpoints":
        value = "..."  # It may have been written with a key
    return f"{PREFIX}{field.upper()}={value!r} cannot be used: {message}; correct it or unset it"
