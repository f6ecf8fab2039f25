"""The documentation: complete, and without anything from elsewhere."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

pytestmark = pytest.mark.anyio


class Page(HTMLParser):
    """Collects links, loaded resources and ids; knows which elements are open."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        assert not any(name.startswith("on") or name == "style" for name in found)
        if tag == "a":
            self.links.append(found["href"])
        elif "href" in found or "src" in found:
            self.loads.append(found.get("href") or found["src"])
        if "id" in found:
            self.ids.append(found["id"])
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


async def test_root_leads_to_the_docs(start: Any) -> None:
    async with start() as running:
        response = await running.client.get("/", follow_redirects=True)
    assert response.status_code == 200
    assert str(response.url) == "http://localhost/docs"


async def test_docs_load_nothing_from_elsewhere_and_link_right(start: Any) -> None:
    async with start() as running:
        response = await running.client.get("/docs")
        style = await running.client.get("/docs.css")
    page = Page()
    page.feed(response.text)
    assert page.open == []
    assert page.loads == ["docs.css", "data:,"]
    assert style.headers["content-type"].startswith("text/css")
    assert not page.tags & {"script", "style", "img", "iframe"}
    assert len(set(page.ids)) == len(page.ids)
    assert set(page.links) - {"openapi.json"} <= {f"#{name}" for name in page.ids}


async def test_docs_show_every_route_with_its_answers(start: Any) -> None:
    async with start() as running:
        html = (await running.client.get("/docs")).text
        document = (await running.client.get("/openapi.json")).json()
    operations = [
        (path, method) for path, methods in document["paths"].items() for method in methods
    ]
    assert len(operations) >= 14
    for path, method in operations:
        assert f"<code>{method.upper()} {path}</code></h2>" in html


async def test_openapi_documents_problems_and_references_resolve(start: Any) -> None:
    async with start() as running:
        response = await running.client.get("/openapi.json")
    document = response.json()
    schemas = document["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/(\w+)"', response.text):
        assert reference in schemas
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            statuses = set(operation["responses"])
            assert statuses >= {"400", "401", "500"}, (path, method)
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    kind = "json" if path.startswith("/v1/") else "problem+json"
                    assert list(answer["content"]) == [f"application/{kind}"]
            if "requestBody" in operation:
                wrong = "400" if path.startswith("/v1/") else "422"
                assert statuses >= {"413", "415", wrong, "429", "503"}
            if "429" in statuses:
                assert "Retry-After" in operation["responses"]["429"]["headers"]


@pytest.mark.parametrize(
    ("field", "bounds"),
    [
        ("top_k", "integer, 1 to "),
        ("inputs", "string, at least 1 characters or list of 1 to 4096 times string, at least 1"),
        ("seconds", "number, over 0, at most "),
        ("query_id", "string, 1 to 128 characters"),
        ("collection", "string, matching ^"),
        ("metadata", "object, at most 64 entries"),
        ("stride", "integer, 1 to 32768"),
        ("dimensions", "integer, 1 to 65536 or null"),
    ],
)
async def test_docs_show_the_bounds_of_a_field(start: Any, field: str, bounds: str) -> None:
    async with start() as running:
        html = (await running.client.get("/docs")).text
    assert f"<th><code>{field}</code></th><td>{bounds}" in html


async def test_docs_show_what_fields_may_be_declared_and_how_to_upload(start: Any) -> None:
    async with start() as running:
        html = (await running.client.get("/docs")).text
    kinds = " or ".join(
        f"&quot;{kind}&quot;" for kind in ("string", "integer", "number", "boolean")
    )
    assert f"object of {kinds}, at most 32 entries, names matching ^[A-Za-z_]" in html
    assert "Content-Type: application/x-ndjson&#x27; -T documents.jsonl" in html
    assert "{snapshot}&#x27;" not in html


async def test_docs_show_the_pattern_of_a_name_in_the_path(start: Any) -> None:
    async with start() as running:
        html = (await running.client.get("/docs")).text
    assert "<code>name</code>, name of the collection, matching ^" in html
