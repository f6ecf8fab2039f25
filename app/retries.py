"""How the client tries again: what to send, how long to wait, what to raise; sends nothing itself.

A generator says what is to be done, and the clients do it, each in its own way: so the rules of
retrying are written once. A problem that the service answers becomes the exception of
``app.errors`` that it came from.
"""

import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from app import errors
from app.errors import OverloadedError, ServiceError
from app.lines import MEDIA_TYPE, Decoder, Lines

RETRIED = frozenset({429, 503})
LONGEST_WAIT_S = 10.0

_KINDS: Mapping[str, type[ServiceError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, ServiceError)
}


@dataclass(frozen=True, slots=True)
class Call:
    """One request to send."""

    method: str
    path: str
    body: Any = None
    timeout_s: float = 60.0


Steps = Generator[Call | float, httpx.Response | None, Any]
"""Yields a call to send, for which it is sent the response, or seconds to sleep."""


def steps(method: str, path: str, body: Any, timeout_s: float) -> Steps:
    """Go through the attempts of a call until it succeeds, fails for good or time is over.

    Returns:
        The JSON answer, a list of values if it is lines of JSON, or None if it was empty.

    Raises:
        ServiceError: As the service said, or that its answer was no JSON.
    """
    deadline = time.monotonic() + timeout_s
    attempt = 0
    while True:
        left = max(0.05, deadline - time.monotonic())
        response = yield Call(method, path, body, left)
        if response is None or response.is_success:
            return _answer(response)
        attempt += 1
        wait = _wait_s(response, attempt)
        once = isinstance(body, Lines) and not body.is_repeatable
        if once or response.status_code not in RETRIED or time.monotonic() + wait > deadline:
            raise error_of(response)
        yield wait


def _answer(response: httpx.Response | None) -> Any:
    if response is None or not response.content:
        return None
    try:
        if response.headers.get("content-type", "").startswith(MEDIA_TYPE):
            return list(Decoder().feed(response.content))
        return response.json()
    except ValueError:
        raise ServiceError(
            f"{response.url.host} answered {response.status_code} with something else than JSON; "
            "expected Tyntegra there: check the URL."
        ) from None


def _wait_s(response: httpx.Response, attempt: int) -> float:
    asked = response.headers.get("retry-after", "")
    least = float(asked) if asked.isdigit() else 0.0
    # Some jitter, so that clients sent away together do not come back together.
    return least + random.uniform(0.05, 0.2) * min(2**attempt, LONGEST_WAIT_S)


def error_of(response: httpx.Response) -> ServiceError:
    """Make the exception that a problem came from."""
    try:
        problem = response.json()
        code, detail = problem["type"].rpartition(":")[2], str(problem["detail"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return ServiceError(f"The service answered {response.status_code} without a reason.")
    kind = _KINDS.get(code, ServiceError)
    if kind is OverloadedError:
        return OverloadedError(detail, _wait_s(response, 0))
    return kind(detail)
