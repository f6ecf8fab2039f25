"""Every adversarial text that a probe of the demo reports, sent to /search as anybody would."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.demo import DOCUMENTS
from app.main import create_app
from app.settings import Settings
from app.text.perturbations.registry import FAMILIES

pytestmark = pytest.mark.anyio
DEPTH = 468
AT_ONCE = 8


@asynccontextmanager
async def default_service(state: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The service as it comes: its own encoder, its own collection."""
    settings = Settings.model_validate({"state": state, "demo": True, "log": "error"})
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            async with asyncio.timeout(120):
                while (await client.get("/health/ready")).status_code != 200:
                    await asyncio.sleep(0.05)
            yield client


def queries(count: int) -> list[dict[str, Any]]:
    """Queries of the demo, spread over its languages; each has its own documents."""
    lines = (DOCUMENTS.parent / "queries.jsonl").read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    names = ("query_id", "text", "lang")
    return [{name: row[name] for name in names} for row in rows[:: len(rows) // count]][:count]


async def ranks(client: httpx.AsyncClient, results: list[dict[str, Any]]) -> list[int | None]:
    """The rank that each text's best relevant document has in a search for it."""
    found: list[int | None] = []
    for start in range(0, len(results), AT_ONCE):
        some = results[start : start + AT_ONCE]
        texts = [one["adversarial_text"] for one in some]
        body = {"collection": "demo", "queries": texts, "top_k": DEPTH}
        answer = await client.post("/search", json=body)
        assert answer.status_code == 200, answer.text
        for one, shown in zip(some, answer.json()["results"], strict=True):
            hits = shown["hits"]
            found.append(
                next((hit["rank"] for hit in hits if hit["doc_id"] in one["relevant"]), None)
            )
    return found


async def test_all_reported_texts_searched_again_have_the_rank_reported(
    tmp_path: Path,
) -> None:
    asked = queries(8)
    body = {"collection": "demo", "queries": asked, "attacks": list(FAMILIES), "top_k": 3}
    body |= {"budget": {"edits": 2, "queries": 8, "seconds": 100}}
    async with default_service(tmp_path) as client:
        answer = await client.post("/probe/adversarial", json=body)
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        again = await ranks(client, results)
    assert len({one["lang"] for one in results}) == len(asked)
    assert len(results) == len(asked) * len(FAMILIES)
    assert sum(one["success"] for one in results) > 10
    wrong = [
        (one["query_id"], one["attack"], one["worst_rank"], rank)
        for one, rank in zip(results, again, strict=True)
        if rank != one["worst_rank"]
    ]
    assert wrong == []
