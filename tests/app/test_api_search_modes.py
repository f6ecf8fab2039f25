"""POST /search: words, fusion, balance, pages, filters, passages, and what is refused."""

import re
from typing import Any

import numpy as np
import pytest

from app.api.cursor import write_cursor
from app.retrieval.documents import Document

from .conftest import FakeEncoded, fake_encode

pytestmark = pytest.mark.anyio

TEXTS = {
    "part": ("Order part AB-12.7 today", "eng_Latn", {"year": 1999, "kind": "part"}),
    "rain": ("It will rain on the coast", "eng_Latn", {"year": 2004, "kind": "news"}),
    "mvua": ("Mvua itanyesha pwani", "swh_Latn", {"year": 2004, "kind": "news"}),
    "ojo": ("Òjò yóò rọ̀ ní ọ̀nà", "yor_Latn", {"year": 2010}),
    "dozhd": ("Завтра будет дождь", "rus_Cyrl", {"wet": True}),
}


MANY_WORDS = ["few", " ".join(f"w{number}" for number in range(1025))]


async def fill(running: Any) -> None:
    await running.client.put("/collections/a")
    documents = [
        {"doc_id": name, "text": text, "lang": lang, "metadata": metadata}
        for name, (text, lang, metadata) in TEXTS.items()
    ]
    response = await running.client.post("/collections/a/documents", json={"documents": documents})
    assert response.status_code == 200, response.text


async def ask(running: Any, **fields: Any) -> Any:
    return await running.client.post(
        "/search", json={"collection": "a", "queries": "rain"} | fields
    )


def ids(response: Any) -> list[str]:
    assert response.status_code == 200, response.text
    return [hit["doc_id"] for hit in response.json()["results"][0]["hits"]]


@pytest.mark.parametrize(
    ("query", "found"), [("ab-12.7", "part"), ("ona", "ojo"), ("ДОЖДЬ", "dozhd"), ("qqq", None)]
)
async def test_lexical_search_finds_words_and_codes_alone(
    start: Any, query: str, found: str | None
) -> None:
    async with start() as running:
        await fill(running)
        response = await ask(running, queries=query, mode="lexical")
    assert ids(response)[:1] == ([found] if found else [])


async def test_lexical_search_encodes_nothing_and_says_so(start: Any) -> None:
    async with start() as running:
        await fill(running)
        # The encoder of these tests fails on this text.
        response = await ask(running, queries="!inference", mode="lexical")
        dense = await ask(running, queries="!inference", mode="hybrid")
        missing = await ask(running, collection="b", mode="lexical")
    assert (response.status_code, dense.status_code, missing.status_code) == (200, 500, 404)
    assert "x-tyntegra-tokens" not in response.headers
    assert float(response.headers["x-tyntegra-total-ms"]) > 0


async def test_lexical_search_does_not_care_which_encoder_filled_the_collection(start: Any) -> None:
    async with start() as running:
        await fill(running)
        running.encoder.model_id = "other@111111111111"
        by_words = await ask(running, mode="lexical")
        refused = [(await ask(running, mode=mode)).status_code for mode in ("dense", "hybrid")]
    assert ids(by_words) == ["rain"]
    assert refused == [409, 409]


async def test_hybrid_search_says_what_its_scores_are_made_of(start: Any) -> None:
    async with start() as running:
        await fill(running)
        response = await ask(running, queries="part AB-12.7", mode="hybrid", top_k=3)
    first, second, _ = response.json()["results"][0]["hits"]
    assert first["doc_id"] == "part"
    assert first["score"] == pytest.approx(2 / 61)
    assert set(first["scores"]) == {"dense", "lexical"}
    assert first["scores"]["lexical"] > 1 >= first["scores"]["dense"]
    assert set(second["scores"]) == {"dense"}


async def test_dense_search_has_no_scores_and_no_passage_beside(start: Any) -> None:
    async with start() as running:
        await fill(running)
        response = await ask(running)
    assert set(response.json()["results"][0]["hits"][0]) == {
        "rank", "doc_id", "score", "lang", "text", "metadata",
    }  # fmt: skip


async def test_hit_of_a_long_document_has_its_best_passage(start: Any) -> None:
    text = "the first part is dull 🙂 but boil the water"
    spans = [(0, 24), (25, 43)]
    async with start() as running:
        await fill(running)
        rows = fake_encode([text[begin:end] for begin, end in spans])
        running.store.upsert("a", [Document("long", text)], rows, [spans])
        dense = await ask(running, queries="but boil the water", top_k=1)
        words = await ask(running, queries="boil", top_k=1, mode="lexical")
    for response in (dense, words):
        (hit,) = response.json()["results"][0]["hits"]
        assert hit["doc_id"] == "long"
        assert hit["text"] == text
        assert hit["passage"] == {"start": 25, "end": 43, "text": "but boil the water"}


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ({"script": ["Cyrl"]}, {"dozhd"}),
        ({"doc_id": ["part", "ojo"]}, {"part", "ojo"}),
        ({"metadata": {"kind": "news"}}, {"rain", "mvua"}),
        ({"metadata": {"year": {"gte": 2000, "lt": 2010}}}, {"rain", "mvua"}),
        ({"metadata": {"wet": True}}, {"dozhd"}),
        ({"lang": ["eng_Latn"], "not": {"metadata": {"kind": ["part"]}}}, {"rain"}),
        ({"or": [{"lang": ["yor_Latn"]}, {"metadata": {"year": 1999}}]}, {"ojo", "part"}),
        ({"metadata": {"nothing": 1}}, set()),
    ],
)
@pytest.mark.parametrize("mode", ["dense", "hybrid"])
async def test_filters_restrict_the_hits(
    start: Any, sent: dict[str, Any], expected: set[str], mode: str
) -> None:
    async with start() as running:
        await fill(running)
        response = await ask(running, filter=sent, mode=mode)
    assert set(ids(response)) == expected


async def test_wrong_filter_is_refused_at_its_place_without_an_echo(start: Any) -> None:
    async with start() as running:
        await fill(running)
        wrong = await ask(running, filter={"and": [{"not": {"lang": ["secret"]}}]})
        key = await ask(running, filter={"metadata": {"secret": None}})
        empty = await ask(running, filter={"or": [{"lang": []}]})
        deep: dict[str, Any] = {"lang": ["eng_Latn"]}
        for _ in range(200):
            deep = {"not": deep}
        too_deep = await ask(running, filter=deep)
    assert wrong.json()["errors"][0]["pointer"] == "#/filter/and/0/not/lang/0"
    assert key.json()["errors"][0]["pointer"] == "#/filter/metadata"
    assert "filter.or[0] has no condition" in empty.json()["detail"]
    assert "more than 8 levels" in too_deep.json()["detail"]
    for response in (wrong, key, empty, too_deep):
        assert response.status_code == 422
        assert "secret" not in response.text


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mode": "lexical", "queries": ["rain part", "mvua"]},
        {"mode": "hybrid"},
        {"balance": "calibrated"},
        {"balance": "interleaved"},
        {"exact": True},
    ],
)
async def test_cursor_reads_on_to_the_end(start: Any, fields: dict[str, Any]) -> None:
    async with start() as running:
        await fill(running)
        whole = (await ask(running, **fields)).json()
        assert whole["next"] is None
        pages, cursor = [], None
        while not pages or cursor is not None:
            page = (await ask(running, **fields, top_k=2, cursor=cursor)).json()
            pages.append(page)
            cursor = page["next"]
            assert len(pages) < 9
    for number, result in enumerate(whole["results"]):
        together = [hit for page in pages for hit in page["results"][number]["hits"]]
        assert [hit["doc_id"] for hit in together] == [hit["doc_id"] for hit in result["hits"]]
        assert [hit["rank"] for hit in together] == list(range(1, len(together) + 1))


async def test_cursor_of_another_request_or_encoder_is_refused(start: Any) -> None:
    async with start() as running:
        await fill(running)
        cursor = (await ask(running, top_k=2)).json()["next"]
        changed = [
            await ask(running, **({"top_k": 2, "cursor": cursor} | change))
            for change in (
                {"queries": "snow"},
                {"top_k": 3},
                {"filter": {"script": ["Latn"]}},
                {"mode": "hybrid"},
                {"exact": True},
                {"min_score": 0.1},
                {"cursor": "x"},
                {"cursor": cursor[:-1] + ("A" if cursor[-1] != "A" else "B")},
            )
        ]
        running.encoder.model_id = "other@111111111111"
        changed.append(await ask(running, top_k=2, cursor=cursor))
    assert [response.status_code for response in changed] == [422] * 9
    assert all("cursor" in response.json()["detail"] for response in changed)


async def test_min_score_ends_the_hits(start: Any) -> None:
    async with start() as running:
        await fill(running)
        scores = [hit["score"] for hit in (await ask(running)).json()["results"][0]["hits"]]
        some = await ask(running, min_score=scores[2])
        none = await ask(running, min_score=0.999)
        words = await ask(running, mode="lexical", min_score=50)
    assert len(ids(some)) == 3
    assert ids(none) == ids(words) == []
    assert some.json()["next"] is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "lexical", "exact": True}, "exact with mode lexical"),
        ({"mode": "lexical", "balance": "calibrated"}, "balance with mode lexical"),
        ({"mode": "hybrid", "balance": "interleaved"}, "balance with mode hybrid"),
        ({"mode": "hybrid", "min_score": 0.5}, "min_score with mode hybrid"),
        ({"min_score": 3}, "a cosine is from -1 to 1"),
        ({"mode": "sparse"}, "#/mode"),
        ({"balance": "fair"}, "#/balance"),
        ({"exact": 1}, "#/exact"),
        ({"min_score": "0.5"}, "#/min_score"),
        ({"cursor": 7}, "#/cursor"),
        ({"queries": ["a"] * 64, "top_k": 65}, "4096 hits"),
        ({"mode": "lexical", "queries": MANY_WORDS}, "queries[1] has over 1024 different words"),
        ({"mode": "hybrid", "queries": MANY_WORDS}, "queries[1] has over 1024 different words"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    start: Any, fields: dict[str, Any], message: str
) -> None:
    async with start() as running:
        await fill(running)
        response = await ask(running, **fields)
    assert response.status_code == 422
    assert re.search(re.escape(message), response.json()["detail"])


async def test_balance_puts_languages_on_one_level(start: Any) -> None:
    # English is nearer by 0.3, whatever it says.
    def at(cosine: float) -> list[float]:
        return [cosine, (1 - cosine**2) ** 0.5, *[0.0] * 30]

    cosines = {"eng": [0.9, 0.7, 0.6, 0.5], "swh": [0.65, 0.2, 0.1, 0.0]}
    documents = [
        Document(f"{lang}{number}", "text", f"{lang}_Latn")
        for lang in cosines
        for number in range(4)
    ]
    rows = np.array([at(one) for some in cosines.values() for one in some], np.float32)
    query = np.array([at(1.0)], np.float32)
    async with start() as running:
        await running.client.put("/collections/a")
        running.store.upsert("a", documents, rows)
        running.encoder.encode = lambda texts, *_, **__: FakeEncoded(query, [False], 1, [1], [1])
        plain = ids(await ask(running))
        calibrated = await ask(running, balance="calibrated")
        interleaved = ids(await ask(running, balance="interleaved"))
    assert plain[:3] == ["eng0", "eng1", "swh0"]
    assert ids(calibrated)[:3] == ["eng0", "swh0", "eng1"]
    assert interleaved == [f"{lang}{n}" for n in range(4) for lang in ("eng", "swh")]
    second = calibrated.json()["results"][0]["hits"][1]
    assert second["scores"]["dense"] == pytest.approx(0.65)
    assert second["score"] == pytest.approx(0.65 + 0.0625)


async def test_deep_cursor_is_refused_with_a_way_out(start: Any) -> None:
    async with start() as running:
        await fill(running)
        sent = {
            "collection": "a", "queries": ["rain"], "top_k": 10, "filter": None, "mode": "dense",
            "min_score": None, "exact": False, "balance": None, "model": running.encoder.model_id,
        }  # fmt: skip
        at_the_end = await ask(running, cursor=write_cursor(10_000, sent))
        beyond = await ask(running, cursor=write_cursor(10_001, sent))
        balanced = await ask(
            running,
            balance="calibrated",
            cursor=write_cursor(1000, sent | {"balance": "calibrated"}),
        )
    assert at_the_end.status_code == 200
    assert (beyond.status_code, balanced.status_code) == (422, 422)
    assert "ends at 10000" in beyond.json()["detail"]
    assert "ends at 1000;" in balanced.json()["detail"]
