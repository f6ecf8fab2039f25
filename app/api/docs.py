"""/, /docs and /openapi.json: the API described, in HTML that needs nothing from elsewhere.

The usual documentation pages load their scripts from another site, which a service that must work
without internet access, and under a strict content security policy, cannot do. This one is plain
HTML written from the OpenAPI document.
"""

import json
import re
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from app.api.streams import NDJSON
from app.api.wire import JSON

SNAPSHOT = "20261125t101500z-0123ab"
JOB = "20261125t101500z-0123456789ab"

router = APIRouter(include_in_schema=False)

STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8881; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 0.9rem/1.45 ui-monospace, monospace; }
h2 code, h3 { font-size: 1.15rem; font-weight: 600; }
pre { background: var(--soft); padding: 0.75rem; border-radius: 4px; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.25rem 0.6rem 0.25rem 0; }
tr + tr { border-top: 1px solid var(--line); }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
nav ul { columns: 2 22rem; padding-left: 1rem; }
h2 code, nav code { overflow-wrap: anywhere; }
caption { text-align: left; font-weight: 600; padding-top: 0.75rem; }
"""


@router.get("/")
async def index() -> Response:
    """Lead whoever opens the service in a browser to its documentation."""
    return RedirectResponse("docs", status_code=307)


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """The OpenAPI document."""
    return JSON(request.app.openapi())


@router.get("/docs.css")
async def style() -> Response:
    """The style sheet of the documentation."""
    return Response(STYLE, media_type="text/css")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """The OpenAPI document as a page."""
    state = request.app.state
    if not hasattr(state, "docs"):
        state.docs = render(request.app.openapi())
    return Response(state.docs, media_type="text/html")


def render(document: dict[str, Any]) -> str:
    """Write an OpenAPI document as one HTML page without scripts."""
    info = document["info"]
    operations = [
        (path, method.upper(), operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    links = "".join(
        f'<li><a href="#{operation["operationId"]}"><code>{method} {escape(path)}</code></a></li>'
        for path, method, operation in operations
    )
    sections = "".join(_operation(document, *each) for each in operations)
    schemas = "".join(
        f'<h3 id="schema-{name}">{name}</h3>{_fields(schema)}'
        for name, schema in document["components"]["schemas"].items()
    )
    title = escape(f"{info['title']} {info['version']}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="stylesheet" href="docs.css">'
        '<link rel="icon" href="data:,"></head>'
        f"<body><header><h1>{title}</h1><p>{escape(info['description'])} "
        'The same as a machine reads it: <a href="openapi.json">openapi.json</a>.</p></header>'
        f'<nav aria-label="Routes"><ul>{links}</ul></nav><main>{sections}'
        f"<h2>Schemas</h2>{schemas}</main></body></html>"
    )


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<section><h2 id="{operation["operationId"]}"><code>{method} {escape(path)}</code></h2>',
        f"<p><strong>{escape(operation['summary'])}.</strong> ",
        f"{_prose(operation.get('description', ''))}</p>",
    ]
    parts += [
        f"<p>In the {parameter['in']}: <code>{escape(parameter['name'])}</code>, "
        f"{escape(parameter.get('description', '') + _bounds(parameter['schema']))}</p>"
        for parameter in operation.get("parameters", [])
    ]
    url = f"http://localhost:8000{path}".replace("{name}", "demo").replace("{doc_id}", "a")
    url = url.replace("{model}", "tyntegra-static").replace("{snapshot}", SNAPSHOT)
    url = url.replace("{job_id}", JOB)
    command = f"curl -X {method} '{url}'" if method != "GET" else f"curl '{url}'"
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        named = _reference(schema)
        parts.append(f'<p>Body: <a href="#schema-{named}">{named}</a></p>')
        body = json.dumps(_example(document["components"]["schemas"][named]), ensure_ascii=False)
        if body != "{}":
            command += f" -H 'Content-Type: application/json' -d '{body}'"
        if NDJSON in operation["requestBody"]["content"]:
            command += f"\ncurl -X {method} '{url}' -H 'Content-Type: {NDJSON}' -T documents.jsonl"
    parts.append(f"<pre>{escape(command)}</pre><table><caption>Answers</caption>")
    for status, response in operation["responses"].items():
        content = response.get("content", {})
        kind = next(iter(content), "")
        named = _reference(content[kind].get("schema", {})) if kind else ""
        link = f'<a href="#schema-{named}">{named}</a>' if named else escape(kind)
        parts.append(
            f"<tr><th>{status}</th><td>{escape(response['description'])}</td><td>{link}</td></tr>"
        )
    return "".join([*parts, "</table></section>"])


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", [])
    rows = "".join(
        f"<tr><th><code>{escape(name)}</code></th><td>{escape(_kind(field))}</td>"
        f"<td>{'required' if name in required else _default(field)}</td>"
        f"<td>{_prose(field.get('description', ''))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    )
    return f"<p>{_prose(schema.get('description', ''))}</p><table>{rows}</table>"


def _prose(text: str) -> str:
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", escape(text)).replace("\n\n", "</p><p>")


def _kind(field: dict[str, Any]) -> str:
    if named := field.get("$ref", "").rpartition("/")[2]:
        return named
    if "anyOf" in field:
        return " or ".join(_kind(choice) for choice in field["anyOf"])
    if "enum" in field:
        return " or ".join(f'"{value}"' for value in field["enum"])
    kind = field.get("const", field.get("type", "any"))
    if kind == "array":
        bounds = _range(field, "minItems", "maxItems")
        many = f"list of {bounds} times " if bounds else "list of "
        return many + _kind(field.get("items", {}))
    for pattern, values in field.get("patternProperties", {}).items():
        return f"{kind} of {_kind(values)}{_bounds(field)}, names matching {pattern}"
    return kind + _bounds(field)


_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minProperties", "maxProperties", " entries"),
)


def _bounds(field: dict[str, Any]) -> str:
    """What a value must keep to beside its kind, such as ", 1 to 128 characters"."""
    said = [
        f", {bounds}{unit}"
        for least, most, unit in _RANGES
        if (bounds := _range(field, least, most))
    ]
    if "exclusiveMinimum" in field:
        said.insert(0, f", over {_number(field['exclusiveMinimum'])}")
    if "pattern" in field:
        said.append(f", matching {field['pattern']}")
    return "".join(said)


def _range(field: dict[str, Any], least: str, most: str) -> str:
    low, high = (_number(field[name]) if name in field else "" for name in (least, most))
    if low and high:
        return f"{low} to {high}"
    return f"at least {low}" if low else f"at most {high}" if high else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _default(field: dict[str, Any]) -> str:
    return f"default {escape(json.dumps(field['default']))}" if "default" in field else "optional"


def _reference(schema: dict[str, Any]) -> str:
    choices = [schema, *schema.get("anyOf", [])]
    found = [choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice]
    return found[0] if found else ""


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties", {})
    return {name: field["examples"][0] for name, field in properties.items() if "examples" in field}
