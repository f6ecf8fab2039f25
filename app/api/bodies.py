"""Reading a body: plain JSON in UTF-8, every oddity refused with a reason before validation.

Python's parser accepts NaN, Infinity, numbers that overflow to infinity, byte order marks, UTF-16
and repeated keys. None of them means what its sender thinks, so they end here.
"""

import asyncio
import inspect
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app.api.dependencies import OpenService, open_service
from app.api.problems import ClientGoneError, problem
from app.errors import InvalidInputError

INLINE_BYTES = 65_536
"""Bodies above this are parsed in a thread, so that the event loop goes on."""
MAX_DIGITS = 19
DIRECT = ["request", "body", "service"]
"""Routes that take just these are called without FastAPI's search for what they depend on."""


def parse_json(raw: bytes) -> Any:
    """Parse a body as strict JSON (RFC 8259 in UTF-8).

    Raises:
        InvalidInputError: If it is not JSON, not UTF-8, nested too deeply, repeats a key in an
            object, or holds NaN, an infinity or a number beyond 64 bits.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_constant,
            parse_float=_float,
            parse_int=_int,
        )
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"The body is not UTF-8 at byte {error.start}; expected JSON in UTF-8."
        ) from None
    except json.JSONDecodeError as error:
        raise InvalidInputError(
            f"The body is not JSON at character {error.pos}; expected an object in UTF-8 without "
            "a byte order mark."
        ) from None
    except RecursionError:
        raise InvalidInputError(
            "The body is nested too deeply; expected at most a handful of levels."
        ) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidInputError(
            "The body has an object with a repeated key; expected each key once."
        )
    return found


def _constant(name: str) -> NoReturn:
    raise InvalidInputError(f"The body holds {name}, which is not JSON; expected a finite number.")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise InvalidInputError("The body holds a number beyond 1.8e308; expected a finite number.")
    return value


def _int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise InvalidInputError(
            f"The body holds an integer of more than {MAX_DIGITS} digits; expected 64 bits."
        )
    return int(digits)


class _ReadRequest(Request):
    """A request whose body has been read and parsed."""

    _read: tuple[bytes, Any]

    async def body(self) -> bytes:
        return self._read[0]

    async def json(self) -> Any:
        return self._read[1]


Handle = Callable[[Request], Coroutine[Any, Any, Response]]
HandleParsed = Callable[[Request, bytes, Any], Coroutine[Any, Any, Response]]


class StrictRoute(APIRoute):
    """A route that takes nothing but strict JSON as its body."""

    def get_route_handler(self) -> Handle:
        """Read, check and parse the body before FastAPI's handler, or the route, sees it."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        takes = inspect.signature(self.endpoint).parameters
        direct = list(takes) == DIRECT and takes["service"].annotation is OpenService
        handle_parsed = self._directly() if direct else _by(handle)

        async def read_and_handle(request: Request) -> Response:
            try:
                raw = await request.body()
            except ClientDisconnect:
                raise ClientGoneError from None
            if not raw:
                return await handle(request)
            if refusal := media_type_refusal(request):
                return problem(request.scope, "unsupported-media-type", refusal)
            inline = len(raw) <= INLINE_BYTES
            parsed = parse_json(raw) if inline else await asyncio.to_thread(parse_json, raw)
            return await handle_parsed(request, raw, parsed)

        return read_and_handle

    def _directly(self) -> HandleParsed:
        """Do what FastAPI would for such a route, at half the cost of a small request."""
        field = self.body_field
        if field is None:
            raise TypeError(f"{self.path} takes no body")

        async def handle_parsed(request: Request, raw: bytes, parsed: Any) -> Response:
            service = await open_service(request)
            body, errors = field.validate(parsed, {}, loc=("body",))
            if errors:
                raise RequestValidationError(errors)
            return await self.endpoint(request=request, body=body, service=service)

        return handle_parsed


def _by(handle: Handle) -> HandleParsed:
    async def handle_parsed(request: Request, raw: bytes, parsed: Any) -> Response:
        read = _ReadRequest(request.scope, request.receive)
        read._read = (raw, parsed)
        return await handle(read)

    return handle_parsed


def media_type_refusal(request: Request, expected: str = "application/json") -> str | None:
    """Say what is wrong with a body's media type or encoding, or None."""
    sent = dict(request.scope["headers"])
    if sent.get(b"content-type") == expected.encode() and b"content-encoding" not in sent:
        return None
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return "The body is compressed; expected no Content-Encoding: send it uncompressed."
    kind, *parameters = request.headers.get("content-type", "").lower().split(";")
    charsets = [p.partition("=")[2].strip().strip('"') for p in parameters if "charset" in p]
    if kind.strip() != expected or any(c not in ("utf-8", "utf8") for c in charsets):
        return f"The body's Content-Type is not JSON in UTF-8; expected {expected}."
    return None
