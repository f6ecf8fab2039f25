"""POST /search: answers and filters that would be too large are refused, and the refusal helps."""

from typing import Any

import pytest

from app.retrieval.documents import Document

from .conftest import fake_encode

pytestmark = pytest.mark.anyio


async def fill(running: Any, count: int) -> None:
    """Documents of 100 characters in two passages, as windows make them."""
    await running.client.put("/collections/a")
    texts = [f"rain {number:04} ".ljust(50, "x") + "y" * 50 for number in range(count)]
    documents = [Document(f"d{number}", text, "eng_Latn") for number, text in enumerate(texts)]
    rows = fake_encode([part for text in texts for part in (text[:50], text[50:])])
    running.store.upsert("a", documents, rows, [[(0, 50), (50, 100)]] * count)


async def search(running: Any, **fields: Any) -> Any:
    return await running.client.post(
        "/search", json={"collection": "a", "queries": "rain"} | fields
    )


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
async def test_search_whose_hits_have_too_much_text_is_refused(start: Any, mode: str) -> None:
    # A hit has a text of 100 characters and a passage of 50: 8 of them 1,200.
    async with start(max_hits=8, max_text_chars=150) as running:
        await fill(running, 9)
        room = await search(running, queries=["rain", "rain xx"], top_k=4, mode=mode)
    assert room.status_code == 200
    async with start(max_hits=8, max_text_chars=140) as running:
        await fill(running, 9)
        refused = await search(running, queries=["rain", "rain xx"], top_k=4, mode=mode)
        fewer = await search(running, queries=["rain", "rain xx"], top_k=3, mode=mode)
    assert refused.status_code == 422
    assert "over 1120 characters of text" in refused.json()["detail"]
    assert "top_k" in refused.json()["detail"]
    assert fewer.status_code == 200


async def test_balance_with_the_deepest_filter_is_refused_by_name(start: Any) -> None:
    where: dict[str, Any] = {"script": ["Latn"]}
    for _ in range(6):
        where = {"not": where}
    async with start() as running:
        await fill(running, 3)
        fits = await search(running, filter=where, balance="calibrated")
        plain = await search(running, filter={"not": where})
        refused = await search(running, filter={"not": where}, balance="calibrated")
    assert (fits.status_code, plain.status_code, refused.status_code) == (200, 200, 422)
    assert "balance" in refused.json()["detail"]
    assert "8 levels" in refused.json()["detail"]
