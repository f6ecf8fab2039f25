"""POST /probe/adversarial: goals, searches, constraints, seeds, and the finer numbers."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from app.artifact import load_manifest
from app.errors import InvalidInputError
from app.insight import open_access
from app.robustness.smoothing import Lens
from app.robustness.substitution import row_of
from app.settings import DEFAULT_ARTIFACT

from .test_api_probe import fill, post

pytestmark = pytest.mark.anyio

CHOICES = {
    "goal": {"type": "promotion", "target": "fever"},
    "search": {"method": "beam", "width": 4, "after_success": False},
    "constraints": {"word_share": 0.5, "same_script": True, "protect": ["numbers", "urls"]},
    "budget": {"edits": 2, "queries": 12, "seconds": 30, "total_queries": 5000},
    "stats": {"confidence": 0.9, "bootstrap": 500},
    "seeds": 3,
}


async def test_probe_takes_goals_searches_constraints_and_seeds(start: Any) -> None:
    async with start() as running:
        await fill(running)
        response = await post(running, **CHOICES)
    answer = response.json()
    assert response.status_code == 200, answer
    assert answer["goal"] == {"type": "promotion", "target": "fever", "threshold": None}
    assert [(r["attack"], r["seed"]) for r in answer["results"]] == [
        (attack, seed) for attack in ("typo", "spacing") for seed in (3, 4, 5)
    ]
    for result in answer["results"]:
        assert result["queries"] <= 12
        assert result["clean_value"] >= 2
    assert answer["seeds"]["overall"]["seeds"] == 3
    assert {cell["attack"] for cell in answer["cells"]} == {"typo", "spacing"}
    assert answer["curves"]["overall"]["queries"]["attacks"] == 1
    assert len(answer["curves"]["by_attack"]["typo"]["edits"]) == 2
    assert [one["method"] for one in answer["certificates"]] == ["output_margin"]
    assert answer["white_box"] == []
    assert set(answer["digest"]) == {"config", "results"}
    assert len(answer["languages"]["worst_interval"]) == 2


async def test_probe_that_is_refused_begins_no_process(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[Any] = []
    monkeypatch.setattr("app.api.probe.run_apart", lambda *asked: began.append(asked))
    twice = {"attacks": ["pgd"], "epsilon": [0.1, 0.1]}
    async with start() as running:
        await fill(running)
        response = await post(running, white_box=twice)
    assert response.status_code == 422
    assert "white_box.epsilon" in response.text
    assert not began


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"goal": {"type": "winning"}}, "goal"),
        ({"goal": {"type": "promotion"}}, "goal.target"),
        ({"goal": {"type": "promotion", "target": "secret"}}, "goal.target"),
        ({"goal": {"threshold": 3}}, "threshold"),
        ({"search": {"method": "luck"}}, "search"),
        ({"search": {"width": 1}}, "width"),
        ({"constraints": {"protect": ["names"]}}, "protect"),
        ({"constraints": {"min_similarity": 0.5}}, "min_similarity"),
        ({"white_box": {"epsilon": []}}, "epsilon"),
        ({"white_box": {}, "goal": {"type": "disagreement"}}, "white_box"),
        ({"certify": {"samples": 1}}, "samples"),
        ({"stats": {"bootstrap": 10}}, "bootstrap"),
        ({"seeds": 0}, "seeds"),
        ({"budget": {"total_queries": 0}}, "total_queries"),
    ],
)
async def test_probe_choices_that_cannot_be_are_422(start: Any, changes: Any, field: str) -> None:
    async with start() as running:
        await fill(running)
        response = await post(running, **changes)
    assert response.status_code == 422
    assert field in response.text
    assert "secret" not in response.text


def test_open_access_sees_the_encoder_that_serves() -> None:
    access = open_access(DEFAULT_ARTIFACT)
    read = access.speller.read(["boil the river water"])
    assert read[0].end > read[0].begin
    vectors = Lens(access.inside).texts([row_of(one) for one in read])
    assert vectors.shape == (1, access.inside.box.manifest.dim)  # pyright: ignore
    assert abs(float((vectors**2).sum()) - 1.0) < 1e-5


def test_open_access_of_an_artifact_without_a_white_box_says_how_to_get_one(tmp_path: Path) -> None:
    manifest = load_manifest(DEFAULT_ARTIFACT)
    bare = {
        name: graph.model_copy(update={"lookup": None, "encode": None, "gradient": None})
        for name, graph in manifest.precisions.items()
    }
    shutil.copytree(DEFAULT_ARTIFACT, tmp_path, dirs_exist_ok=True)
    content = manifest.model_copy(update={"precisions": bare}).to_bytes()
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(InvalidInputError, match="has no white box"):
        open_access(tmp_path)
