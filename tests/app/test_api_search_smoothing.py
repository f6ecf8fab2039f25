"""POST /search with smoothing: what a probe certifies under noise is what is served."""

from typing import Any

import pytest

from app.encoder.encoder import TextEncoder
from app.insight import open_access
from app.robustness.smoothing import Noise, smoothed_vectors
from app.robustness.substitution import row_of
from app.settings import DEFAULT_ARTIFACT

pytestmark = pytest.mark.anyio

QUERIES = ["maji safi ya kunywa", "boil the river water"]
TEXTS = {
    "water": "Boil water from the river before you drink it.",
    "bus": "The bus to town leaves at nine in the morning.",
    "maji": "Chemsha maji ya mto kabla ya kuyanywa.",
    "school": "The school is closed during the holidays.",
}


@pytest.fixture
def encoder() -> TextEncoder:
    return TextEncoder.open(DEFAULT_ARTIFACT, device="cpu")  # the service closes it


async def fill(running: Any) -> None:
    await running.client.put("/collections/a")
    documents = [{"doc_id": name, "text": text} for name, text in TEXTS.items()]
    done = await running.client.post("/collections/a/documents", json={"documents": documents})
    assert done.status_code == 200


async def search(running: Any, **changes: Any) -> Any:
    body = {"collection": "a", "queries": QUERIES, "top_k": 4} | changes
    return await running.client.post("/search", json=body)


async def test_smoothed_search_ranks_by_the_vectors_that_are_certified(
    start: Any, encoder: TextEncoder
) -> None:
    noise = {"sigma": 0.5, "samples": 40, "seed": 3}
    async with start(encoder) as running:
        await fill(running)
        first = await search(running, smoothing=noise)
        again = await search(running, smoothing=noise)
        other = await search(running, smoothing=noise | {"seed": 4})
        alone = await search(running, queries=QUERIES[1], smoothing=noise)
        documents = encoder.encode_document(list(TEXTS.values()))

    assert first.status_code == 200
    access = open_access(DEFAULT_ARTIFACT)
    rows = [row_of(one) for one in access.speller.read(QUERIES)]
    expected = smoothed_vectors(access.inside, rows, Noise(0.5, 40, 3))
    scores = expected.vectors @ documents.T
    answer = first.json()
    for result, row in zip(answer["results"], scores, strict=True):
        found = {hit["doc_id"]: hit["score"] for hit in result["hits"]}
        assert found == pytest.approx(dict(zip(TEXTS, row.tolist(), strict=True)), abs=1e-5)
    assert answer["smoothing"] == noise | {"lengths": expected.lengths.tolist()}
    assert max(answer["smoothing"]["lengths"]) < 0.99
    assert again.json() == answer
    assert other.json()["results"] != answer["results"]
    assert alone.json()["results"] == answer["results"][1:]


async def test_smoothed_search_with_hardly_any_noise_is_the_plain_one(
    start: Any, encoder: TextEncoder
) -> None:
    async with start(encoder) as running:
        await fill(running)
        plain = (await search(running)).json()
        smoothed = (await search(running, smoothing={"sigma": 1e-6, "samples": 2})).json()

    assert "smoothing" not in plain
    for one, other in zip(plain["results"], smoothed["results"], strict=True):
        found, expected = ({hit["doc_id"]: hit["score"] for hit in x["hits"]} for x in (other, one))
        assert list(found) == list(expected)
        assert found == pytest.approx(expected, abs=1e-5)
    assert smoothed["smoothing"]["lengths"] == pytest.approx([1.0, 1.0])


async def test_smoothed_pages_are_those_of_one_ranking(start: Any, encoder: TextEncoder) -> None:
    asked: dict[str, Any] = {"queries": QUERIES[0], "smoothing": {"sigma": 0.5, "samples": 8}}
    async with start(encoder) as running:
        await fill(running)
        whole = (await search(running, **asked)).json()
        first = (await search(running, **asked, top_k=2)).json()
        second = await search(running, **asked, top_k=2, cursor=first["next"])
        plain = await search(running, queries=QUERIES[0], top_k=2, cursor=first["next"])

    parts = first["results"][0]["hits"] + second.json()["results"][0]["hits"]
    assert parts == whole["results"][0]["hits"]
    assert plain.status_code == 422


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"smoothing": {"sigma": 0, "samples": 2}}, "sigma"),
        ({"smoothing": {"sigma": 1e400, "samples": 2}}, "1.8e308"),
        ({"smoothing": {"samples": 2}}, "sigma"),
        ({"smoothing": {"sigma": 0.1, "samples": 0}}, "samples"),
        ({"smoothing": {"sigma": 0.1, "samples": 10_000}}, "over 16384"),
        ({"smoothing": {"sigma": 0.1, "draws": 2}}, "known are"),
        ({"smoothing": {"sigma": 0.1}, "mode": "lexical"}, "smoothing with mode lexical"),
    ],
)
async def test_smoothing_that_cannot_be_is_refused_with_what_to_do(
    start: Any, changes: dict[str, Any], told: str
) -> None:
    async with start() as running:
        await fill(running)
        if changes["smoothing"].get("sigma") == 1e400:
            body = '{"collection": "a", "queries": "x", "smoothing": {"sigma": 1e400}}'
            headers = {"content-type": "application/json"}
            refused = await running.client.post("/search", content=body, headers=headers)
        else:
            refused = await search(running, **changes)

    assert refused.status_code == 422
    assert told in refused.text
