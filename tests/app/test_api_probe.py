"""POST /probe/adversarial."""

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import app.api.probe as probe_api
from app.robustness.probe import run_probe
from app.text.perturbations.registry import FAMILIES

pytestmark = pytest.mark.anyio

TEXTS = {
    "water": "boil the river water for a minute before you drink it",
    "maize": "plant the maize when the first rain has fallen",
    "fever": "a child with fever needs water and rest",
}
BODY = {
    "collection": "a",
    "queries": [{"query_id": "q1", "text": "boil the river water", "lang": "eng_Latn"}],
    "attacks": ["typo", "spacing"],
    "budget": {"edits": 2, "queries": 16, "seconds": 5},
    "top_k": 1,
    "seed": 3,
}


async def fill(running: Any) -> None:
    await running.client.put("/collections/a")
    documents = [{"doc_id": key, "text": text} for key, text in TEXTS.items()]
    await running.client.post("/collections/a/documents", json={"documents": documents})


async def post(running: Any, **changes: Any) -> Any:
    return await running.client.post("/probe/adversarial", json=BODY | changes)


async def test_probe_answers_each_query_under_each_attack(start: Any) -> None:
    async with start() as running:
        await fill(running)
        response = await post(running, stats={"confidence": 0.9})
        metrics = (await running.client.get("/metrics")).text
    answer = response.json()
    assert response.status_code == 200
    assert [result["attack"] for result in answer["results"]] == ["typo", "spacing"]
    assert answer["seed"] == 3
    assert answer["collection"] == "a"
    assert answer["budget"] == BODY["budget"] | {"total_queries": None}
    assert answer["stats"] == {"confidence": 0.9, "bootstrap": 2000}
    assert answer["model"] == "fake@000000000000"
    assert answer["status"] == "complete"
    assert set(answer["summary"]) >= {"clean", "attacked", "attack_success_rate", "by_attack"}
    assert set(answer["summary"]["attack_success_rate"]) >= {"value", "low", "high", "n"}
    assert answer["summary"]["by_lang"].keys() == {"eng_Latn"}
    assert f"tyntegra_probe_queries_total {answer['spent']['queries']}.0" in metrics


async def test_probe_adversarial_text_searched_again_has_the_rank_reported(start: Any) -> None:
    async with start() as running:
        await fill(running)
        results = (await post(running)).json()["results"]
        for result in results:
            body = {"collection": "a", "queries": result["adversarial_text"], "top_k": 1000}
            found = (await running.client.post("/search", json=body)).json()["results"][0]
            ranks = {hit["doc_id"]: hit["rank"] for hit in found["hits"]}
            assert ranks["water"] == result["worst_rank"]
            text = BODY["queries"][0]["text"]
            for edit in reversed(result["edits"]):
                assert text[edit["start"] : edit["end"]] == edit["before"]
                text = text[: edit["start"]] + edit["after"] + text[edit["end"] :]
            assert text == result["adversarial_text"]
    assert any(result["edits"] for result in results)


async def test_attacks_lists_each_with_its_scripts(start: Any) -> None:
    async with start() as running:
        listed = (await running.client.get("/probe/attacks")).json()
    assert [attack["name"] for attack in listed] == list(FAMILIES)
    known = "typo diacritics confusable invisible case spacing bidi form digits punctuation ocr"
    known += " romanization native_script mixed_script word_order word_deletion word_repetition"
    known += " synonym code_switch token_neighbor"
    assert {attack["name"] for attack in listed} >= set(known.split())
    assert all(attack["description"] and attack["scripts"] for attack in listed)
    assert all(attack["cost"] >= 1 for attack in listed)


async def test_probe_same_seed_gives_the_same_texts(start: Any) -> None:
    async with start() as running:
        await fill(running)
        first, second = [(await post(running)).json()["results"] for _ in range(2)]
    assert first == second


async def test_probe_switches_words_to_the_languages_wanted(start: Any) -> None:
    async with start() as running:
        await fill(running)
        switched = await post(running, attacks=["code_switch"], switch_to=["swh_Latn"])
        nowhere = await post(running, attacks=["code_switch"], switch_to=["abs_Latn"])
    (result,) = switched.json()["results"]
    assert result["queries"] == 3  # river, water, and both
    assert {edit["after"] for edit in result["edits"]} <= {"mto", "maji"}
    (result,) = nowhere.json()["results"]
    assert result["outcome"] == "not_applicable"


async def test_probe_takes_the_neighbors_of_words_from_the_encoder(start: Any) -> None:
    async with start() as running:
        await fill(running)
        asked = {"attacks": ["token_neighbor"], "budget": {"queries": 16, "seconds": 60}}
        first, again = [await post(running, **asked) for _ in range(2)]
    (result,) = first.json()["results"]
    assert result["queries"] >= 1
    assert (result,) == tuple(again.json()["results"])


async def test_probe_uses_the_dictionaries_mounted(start: Any, tmp_path: Path) -> None:
    words = tmp_path / "own.tsv"
    words.write_text("eng_Latn\tboil\teng_Latn\tseethe\n", encoding="utf-8")
    async with start(dictionaries=words) as running:
        await fill(running)
        (result,) = (await post(running, attacks=["synonym"])).json()["results"]
    assert result["queries"] == 1


@pytest.mark.parametrize(
    ("changes", "status", "where"),
    [
        ({"collection": "none"}, 404, "none"),
        ({"attacks": []}, 422, "#/attacks"),
        ({"switch_to": ["english"]}, 422, "#/switch_to/0"),
        ({"switch_to": []}, 422, "#/switch_to"),
        ({"attacks": ["typo", "canary"]}, 422, "#/attacks/1"),
        ({"queries": []}, 422, "#/queries"),
        ({"queries": [*BODY["queries"], *BODY["queries"]]}, 422, "queries[1].query_id"),
        ({"queries": [{"query_id": "q", "text": " "}]}, 422, "queries[0]"),
        ({"queries": [{"query_id": "q", "text": "a", "relevant": ["canary"]}]}, 422, "queries[0]"),
        ({"budget": {"edits": 0}}, 422, "#/budget/edits"),
        ({"budget": {"seconds": 3601}}, 422, "#/budget/seconds"),
        ({"background": 1}, 422, "#/background"),
        ({"budget": {"seconds": True}}, 422, "#/budget/seconds:"),
        ({"budget": {"seconds": "1"}}, 422, "#/budget/seconds:"),
        ({"queries": [{"query_id": "q", "text": "a" * 8185}]}, 413, "at most 8184, so that"),
        ({"queries": [{"query_id": "q", "text": "\u200b \u00ad"}]}, 422, "queries[0] has nothing"),
        ({"budget": {"queries": 1e6}}, 422, "#/budget/queries"),
        ({"seed": -1}, 422, "#/seed"),
        ({"top_k": True}, 422, "#/top_k"),
    ],
)
async def test_probe_wrong_request_is_refused_by_its_place(
    start: Any, changes: dict[str, Any], status: int, where: str
) -> None:
    async with start() as running:
        await fill(running)
        response = await post(running, **changes)
    assert response.status_code == status
    assert where in response.json()["detail"]
    assert "canary" not in response.text


async def test_probes_beyond_the_waiting_room_are_429(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()

    def slow_probe(*args: Any, **kwargs: Any) -> Any:
        release.wait(10)
        return run_probe(*args, **kwargs)

    monkeypatch.setattr(probe_api, "run_probe", slow_probe)
    async with start(probe_threads=1, probe_waiting=1) as running:
        await fill(running)
        probes = [asyncio.create_task(post(running)) for _ in range(4)]
        await asyncio.sleep(0.2)
        embedded = await running.client.post("/embed", json={"inputs": "a"})
        release.set()
        responses = [await task for task in probes]
    assert embedded.status_code == 200
    assert sorted(response.status_code for response in responses) == [200, 200, 429, 429]
    refused = next(response for response in responses if response.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1


async def test_probe_of_a_client_that_leaves_is_cancelled(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = threading.Event()

    def watch(*args: Any, cancelled: Any, **kwargs: Any) -> Any:
        deadline = time.monotonic() + 5
        while not cancelled() and time.monotonic() < deadline:
            time.sleep(0.01)
        if cancelled():
            seen.set()
        return run_probe(*args, cancelled=cancelled, **kwargs)

    monkeypatch.setattr(probe_api, "run_probe", watch)
    async with start() as running:
        await fill(running)
        request = asyncio.create_task(post(running))
        await asyncio.sleep(0.1)
        assert not seen.is_set()
        request.cancel()
        assert await asyncio.to_thread(seen.wait, 2)


async def test_probe_running_at_shutdown_is_cancelled(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watch(*args: Any, cancelled: Any, **kwargs: Any) -> Any:
        while not cancelled():
            time.sleep(0.01)
        return run_probe(*args, cancelled=cancelled, **kwargs)

    monkeypatch.setattr(probe_api, "run_probe", watch)
    async with start() as running:
        await fill(running)
        request = asyncio.create_task(post(running))
        await asyncio.sleep(0.1)
    answer = (await asyncio.wait_for(request, 5)).json()
    assert answer["status"] == "partial"


async def test_probe_of_a_service_that_ends_is_partial_and_says_why(start: Any) -> None:
    async with start() as running:
        await fill(running)
        running.service.stopping.set()
        answer = (await post(running)).json()
    assert answer["status"] == "partial"
    assert answer["reason"] == "The service was told to end."
