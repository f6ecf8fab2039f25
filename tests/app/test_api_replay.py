"""POST /probe/replay."""

from typing import Any

import pytest

from app.robustness.stored import undo_edits
from app.text.perturbations.edits import Edit, apply_edits

from .test_api_jobs import until
from .test_api_probe import TEXTS, fill, post

pytestmark = pytest.mark.anyio

QUERIES = [
    {"query_id": "q1", "text": "boil the river water", "lang": "eng_Latn"},
    {"query_id": "q2", "text": "plant the maize", "lang": "eng_Latn"},
    {"query_id": "q3", "text": "a child with fever"},
]


async def report_of(running: Any) -> Any:
    return (await post(running, queries=QUERIES)).json()


async def replay(running: Any, **body: Any) -> Any:
    return await running.client.post("/probe/replay", json={"collection": "a"} | body)


async def test_replay_of_a_report_on_what_it_was_found_on_changes_nothing(start: Any) -> None:
    async with start() as running:
        await fill(running)
        report = await report_of(running)
        response = await replay(running, report=report)
        ranks = {}
        for result in report["results"]:
            body = {"collection": "a", "queries": result["adversarial_text"], "top_k": 1000}
            hits = (await running.client.post("/search", json=body)).json()["results"][0]["hits"]
            found = {hit["doc_id"]: hit["rank"] for hit in hits}
            ranks[result["query_id"], result["attack"]] = found[result["relevant"][0]]
    answer = response.json()
    assert response.status_code == 200
    assert answer["status"] == "complete"
    assert answer["attack_success_rate"] == report["summary"]["attack_success_rate"]
    assert answer["top_k"] == 1
    assert answer["change"]["p_value"] == 1.0
    assert answer["change"]["difference"]["value"] == 0.0
    found = {(one["query_id"], one["attack"]): one["rank"] for one in answer["results"]}
    assert found == ranks
    assert all(one["rank"] == one["stored_rank"] for one in answer["results"])
    assert answer["by_attack"].keys() == {"typo", "spacing"}
    assert answer["by_lang"].keys() == {"eng_Latn", "und"}


async def test_replay_of_texts_counts_each_query_once(start: Any) -> None:
    texts = [
        {"query": TEXTS["water"], "text": TEXTS["maize"], "success": False},
        {"query": TEXTS["water"], "text": TEXTS["water"] + "."},
        {"query": TEXTS["fever"], "text": TEXTS["fever"], "relevant": ["fever"], "success": True},
        {"query": TEXTS["fever"], "text": TEXTS["fever"], "relevant": ["maize"], "query_id": "x"},
    ]
    async with start() as running:
        await fill(running)
        answer = (await replay(running, texts=texts, top_k=1)).json()
    outcomes = [one["outcome"] for one in answer["results"]]
    assert outcomes == ["success", "held", "held", "not_eligible"]
    rate = answer["attack_success_rate"]
    assert (rate["successes"], rate["n"], answer["not_eligible"]) == (1, 2, 1)
    change = answer["change"]
    assert (change["queries"], change["only_before"], change["only_now"]) == (2, 1, 1)
    assert change["difference"]["value"] == 0.0
    # water 3 (clean and two texts), fever once clean and once as its text, once more for maize
    assert answer["queries"] == 6


async def test_replay_of_a_job(start: Any) -> None:
    async with start() as running:
        await fill(running)
        begun = await post(running, queries=QUERIES, background=True)
        path = begun.headers["location"]
        await until(running, path, "done")
        answer = await replay(running, job=path.rpartition("/")[2])
        report = (await running.client.get(f"{path}/report")).json()
        table = await running.client.get(f"{path}/report?format=csv")
        page = await running.client.get(f"{path}/report?format=html")
        gone = await replay(running, job="20261125t101500z-0123456789ab")
    rate = answer.json()["attack_success_rate"]
    assert rate == report["summary"]["attack_success_rate"]
    assert gone.status_code == 404
    assert table.headers["content-type"].startswith("text/csv")
    assert "q2" in table.text
    assert page.headers["content-type"].startswith("text/html")
    assert "sandbox" in page.headers["content-security-policy"]


def result(**changes: Any) -> dict[str, Any]:
    sound = {
        "query_id": "q",
        "attack": "typo",
        "outcome": "held",
        "relevant": [],
        "adversarial_text": "canary",
        "edits": [],
        "worst_rank": 1,
        "success": False,
    }
    return sound | changes


@pytest.mark.parametrize(
    ("body", "status", "where"),
    [
        ({}, 422, "neither"),
        ({"texts": [{"query": "a", "text": "b"}], "report": {}}, 422, "texts and report"),
        ({"report": {}}, 422, "report.results"),
        ({"report": {"results": "canary"}}, 422, "report.results"),
        ({"report": {"results": ["canary"]}}, 422, "report.results[0]"),
        ({"report": {"results": [{"canary": 1}]}}, 422, "report.results[0]"),
        ({"report": {"results": [result(outcome="not_eligible")]}}, 422, "nothing to replay"),
        ({"report": {"results": [result(relevant="canary")]}}, 422, "report.results[0]"),
        ({"report": {"results": [result(relevant=["canary"])]}}, 422, "text 0"),
        ({"report": {"results": [result(edits=[{"start": 1}])]}}, 422, "report.results[0]"),
        (
            {
                "report": {
                    "results": [result(edits=[{"start": -9, "end": 2, "before": "", "after": "y"}])]
                }
            },
            422,
            "report.results[0]",
        ),
        ({"report": {"results": [result()], "top_k": 0}}, 422, "report.top_k"),
        ({"report": {"results": [result()], "goal": {"type": "canary"}}}, 422, "report.goal"),
        ({"report": {"results": [result()], "goal": ["canary"]}}, 422, "report.goal"),
        ({"report": {"results": [result()] * 4097}}, 422, "4097"),
        ({"texts": []}, 422, "#/texts"),
        ({"texts": [{"query": "a", "text": " "}]}, 422, "texts[0].text"),
        ({"texts": [{"query": "a" * 8193, "text": "b"}]}, 413, "texts[0].query"),
        ({"texts": [{"query": "a", "text": "b", "relevant": ["canary"]}]}, 422, "text 0"),
        ({"texts": [{"query": "a", "text": "b"}], "collection": "none"}, 404, "none"),
        ({"texts": [{"query": "a", "text": "b"}], "seconds": 121}, 422, "at most 120"),
        (
            {"texts": [{"query": "a", "text": "b"}], "goal": {"type": "promotion"}},
            422,
            "goal.target",
        ),
        ({"job": "../../etc/passwd"}, 422, "#/job"),
    ],
)
async def test_replay_wrong_request_is_refused_by_its_place(
    start: Any, body: dict[str, Any], status: int, where: str
) -> None:
    async with start() as running:
        await fill(running)
        response = await replay(running, **body)
    assert response.status_code == status
    assert where in response.json()["detail"]
    assert "canary" not in response.text


async def test_replay_out_of_time_is_partial_and_says_so(start: Any) -> None:
    async with start() as running:
        await fill(running)
        texts = [{"query": "boil water", "text": "biol water"}]
        answer = (await replay(running, texts=texts, seconds=1e-9)).json()
    assert answer["status"] == "partial"
    assert answer["results"][0]["outcome"] == "not_reached"
    assert answer["attack_success_rate"]["n"] == 0
    assert answer["not_reached"] == 1


def test_undo_edits_finds_the_query_back() -> None:
    edits = [Edit(0, 1, "b", ""), Edit(3, 3, "", "xyz"), Edit(5, 8, "the", "teh!")]
    text = apply_edits("boil the river", edits)
    assert undo_edits(text, edits) == "boil the river"
    with pytest.raises(ValueError, match="does not fit"):
        undo_edits("another text", edits)
