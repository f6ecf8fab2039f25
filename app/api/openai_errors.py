"""Errors below /v1 in OpenAI's shape, which its clients turn into their own exceptions."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field
from starlette.types import Scope

PREFIX = "/v1/"

_CODES: Mapping[str, str | None] = {
    "invalid-input": None,
    "unauthorized": "invalid_api_key",
    "not-found": "unknown_url",
    "overloaded": "rate_limit_exceeded",
}
"""OpenAI's names of what our codes mean; others are ours with an underscore."""
_FIELD = re.compile(r"(?:inputs?(?=[ \[])|(?:got )?dimensions(?==)|The model(?= asked))")
_PARAMS = {"inputs": "input", "got dimensions": "dimensions", "The model": "model"}


class OpenAIErrorBody(BaseModel):
    """What went wrong, in OpenAI's words."""

    message: str = Field(description="what was got, what was expected, what to do")
    type: str = Field(description="invalid_request_error, rate_limit_error or server_error")
    param: str | None = Field(description="the field at fault, if known")
    code: str | None = Field(description="the kind of error, such as model_not_found")


class OpenAIError(BaseModel):
    """An error of the routes below /v1."""

    error: OpenAIErrorBody


def is_openai(scope: Scope) -> bool:
    """Tell whether a request is to one of OpenAI's routes."""
    path = scope.get("path", "")
    return path.removeprefix(scope.get("root_path", "")).startswith(PREFIX)


def openai_status(code: str, status: int) -> int:
    """The status of a problem below /v1: OpenAI answers 400 to what is 422 elsewhere."""
    return 400 if code == "invalid-input" else status


def openai_error(
    code: str, status: int, detail: str, errors: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """Write a problem as an error of OpenAI's."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    if status == 429:
        kind = "rate_limit_error"
    return {
        "error": {
            "message": detail.replace("inputs[", "input["),
            "type": kind,
            "param": _param(detail, errors),
            "code": _CODES.get(code, code.replace("-", "_")),
        }
    }


def _param(detail: str, errors: Sequence[Mapping[str, str]]) -> str | None:
    if errors:
        return errors[0]["pointer"].removeprefix("#").strip("/").partition("/")[0] or None
    found = _FIELD.match(detail)
    return _PARAMS.get(found[0], found[0]) if found else None
