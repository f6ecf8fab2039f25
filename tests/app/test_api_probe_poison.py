"""POST /probe/adversarial from the corpus side, through the process that it runs in."""

from typing import Any

import pytest

from app.encoder.encoder import TextEncoder

from .test_api_search_smoothing import TEXTS, encoder, fill  # noqa: F401 - a fixture

pytestmark = pytest.mark.anyio

QUERIES = ["maji safi ya kunywa", "boil the river water", "when does the bus leave", "holidays"]


@pytest.mark.parametrize(
    ("poison", "kind"),
    [({"calls": 24}, "poison"), ({"promote": "bus", "chars": 20, "calls": 24}, "promotion")],
)
async def test_probe_from_the_corpus_side_reports_and_writes_nothing(
    start: Any,
    encoder: TextEncoder,  # noqa: F811
    poison: dict[str, Any],
    kind: str,
) -> None:
    body = {
        "collection": "a",
        "queries": [{"query_id": str(n), "text": text} for n, text in enumerate(QUERIES)],
        "attacks": ["case"],
        "budget": {"queries": 2, "seconds": 60},
        "poison": poison,
    }
    async with start(encoder) as running:
        await fill(running)
        response = await running.client.post("/probe/adversarial", json=body)
        lines = await running.client.get("/collections/a/documents")
    assert response.status_code == 200, response.text
    (found,) = response.json()["poisoning"]
    assert found["kind"] == kind
    assert found["complete"]
    assert [one["share"]["n"] for one in found["shares"]] == [2] * 7
    assert found["documents"][0]["text"]
    assert all(text in lines.text for text in TEXTS.values())
    assert len(lines.text.splitlines()) == len(TEXTS)
