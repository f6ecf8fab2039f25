"""Errors on the wire: one table from error codes to statuses, one shape for all of them (RFC 9457).

Below /v1 they take OpenAI's shape, for its clients.

Nothing that a client sent comes back in a problem, except names that were checked against a
pattern first: an echo would leak texts to logs of proxies, and FastAPI's own echo cannot even be
written when the input holds NaN or a lone surrogate.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Scope

from app.api.openai_errors import is_openai, openai_error, openai_status
from app.api.wire import known_names
from app.errors import InferenceError, OverloadedError, ServiceError
from app.telemetry import describe_exception, log

MEDIA_TYPE = "application/problem+json"
MAX_FIELD_ERRORS = 10

STATUSES: Mapping[str, tuple[int, str]] = {
    "malformed-request": (400, "The request is malformed"),
    "unauthorized": (401, "A valid API key is required"),
    "not-found": (404, "There is no such thing"),
    "model-not-found": (404, "The model is not in service"),
    "method-not-allowed": (405, "This method is not allowed here"),
    "timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "The request contradicts what is stored"),
    "too-large": (413, "The request is too large"),
    "unsupported-media-type": (415, "The body is not plain JSON"),
    "invalid-input": (422, "The request cannot be carried out"),
    "overloaded": (429, "There is no room for this request now"),
    "headers-too-large": (431, "The headers are too large"),
    "inference-failed": (500, "The model failed"),
    "internal": (500, "The service failed"),
    "not-ready": (503, "The service is not ready"),
    "store-failed": (503, "The store failed"),
}
"""Error code -> status and title; the only place that knows statuses."""

_SECOND = frozenset({"internal", "store-failed", "model-not-found"})
_CODES_OF_STATUS = {status: c for c, (status, _) in STATUSES.items() if c not in _SECOND}
OPAQUE = "The details are in the service's log under this request's id."


class FieldError(BaseModel):
    """What is wrong with one field of a request."""

    pointer: str = Field(description="where: a JSON pointer into the body, or a parameter's name")
    detail: str = Field(description="what was expected")


class Problem(BaseModel):
    """A problem in the manner of RFC 9457."""

    type: str = Field(description="kind of the problem, a URN that never changes")
    title: str = Field(description="the kind in words")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was got, what was expected, what to do")
    instance: str = Field(description="this occurrence: a URN with the request's id")
    errors: list[FieldError] = Field(default=[], description="the fields at fault, if known")


def request_id(scope: Scope) -> str:
    """The id that the outermost middleware gave this request."""
    return scope.get("state", {}).get("request_id", "unknown")


def problem(
    scope: Scope,
    code: str,
    detail: str,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Write a problem as a response."""
    status, title = STATUSES[code]
    if is_openai(scope):
        status = openai_status(code, status)
        content = orjson.dumps(openai_error(code, status, detail, errors))
        return Response(content, status, dict(headers or {}), "application/json")
    body: dict[str, Any] = {
        "type": f"urn:tyntegra:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:tyntegra:request:{request_id(scope)}",
    }
    if errors:
        body["errors"] = list(errors)
    return Response(orjson.dumps(body), status, dict(headers or {}), MEDIA_TYPE)


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Document problems for OpenAPI: those given and those that any route may answer."""
    return _documented(codes, MEDIA_TYPE, "Problem")


def openai_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The same for a route below /v1."""
    return _documented(codes, "application/json", "OpenAIError", openai_status)


def _documented(
    codes: Sequence[str],
    media_type: str,
    schema: str,
    status_of: Callable[[str, int], int] = lambda _, status: status,
) -> dict[int | str, dict[str, Any]]:
    always = ("malformed-request", "unauthorized", "internal")
    documented: dict[int | str, dict[str, Any]] = {}
    for code in sorted({*always, *codes}, key=lambda code: (STATUSES[code][0], code)):
        status = status_of(code, STATUSES[code][0])
        documented[status] = {
            "description": STATUSES[code][1],
            "content": {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
        if code in ("overloaded", "not-ready"):
            documented[status]["headers"] = {
                "Retry-After": {
                    "description": "seconds after which to try again",
                    "schema": {"type": "integer", "minimum": 1},
                }
            }
    return documented


def install(app: FastAPI) -> None:
    """Let the application answer every error with a problem."""
    app.add_exception_handler(ServiceError, _service_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(ClientGoneError, _client_gone)


class ClientGoneError(Exception):
    """The client closed the connection before its answer was ready."""


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it; the metrics count it


async def _service_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServiceError):
        raise error
    headers: dict[str, str] = {}
    code, detail = error.code, error.message
    if isinstance(error, OverloadedError):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
        reason = getattr(error, "reason", "encoder")
        request.app.state.service.metrics.shed.labels(reason).inc()
    if code not in STATUSES:
        code = "internal"
    if STATUSES[code][0] == 503:
        headers["retry-after"] = "2"
    if STATUSES[code][0] == 500:
        detail = OPAQUE
        kept = error.message if isinstance(error, InferenceError) else ""
        log(
            logging.ERROR,
            "request failed",
            request_id=request_id(request.scope),
            error=describe_exception(error),
            message=kept,
        )
    return problem(request.scope, code, detail, headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    code = _CODES_OF_STATUS.get(error.status_code, "internal")
    if code == "not-found":
        detail = "No route answers to this path; GET /docs lists those that exist."
    elif code == "method-not-allowed":
        allowed = (error.headers or {}).get("Allow", "others")
        if "GET" in allowed:
            allowed += ", HEAD"
        detail = f"This path does not answer to this method; expected {allowed}."
        return problem(request.scope, code, detail, headers={"allow": allowed})
    else:
        detail = HTTPStatus(error.status_code).phrase
    return problem(request.scope, code, detail, headers=error.headers)


async def _validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    detail, fields = describe_fields(error.errors())
    return problem(request.scope, "invalid-input", detail, errors=fields)


def describe_fields(found: Sequence[Mapping[str, Any]]) -> tuple[str, list[dict[str, str]]]:
    """Say in a sentence, and field by field, what pydantic found wrong with a body."""
    fields = [
        {"pointer": _pointer(each["loc"]), "detail": str(each["msg"])}
        for each in found[:MAX_FIELD_ERRORS]
    ]
    first = fields[0]
    more = f" ({len(found) - 1} more)" if len(found) > 1 else ""
    return f"{first['pointer']}: {first['detail']}{more}; correct it and send it again.", fields


def _pointer(loc: Sequence[str | int]) -> str:
    known = known_names()
    where, *rest = [str(part) if isinstance(part, int) or part in known else "*" for part in loc]
    return "#" + "".join(f"/{part}" for part in rest) if where == "body" else "/".join(rest)
