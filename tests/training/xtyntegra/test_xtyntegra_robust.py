"""All attacks and certificates of a run together, and the probe's own search."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.xtyntegra.encoders import OpenEncoder, open_encoder
from training.xtyntegra.known import KnownTexts
from training.xtyntegra.measure import Measured, rank_cell
from training.xtyntegra.plan import Plan
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.robust import Part, Robustness
from training.xtyntegra.schema import Cell as Entry
from training.xtyntegra.schema import Certified, NotMeasured
from training.xtyntegra.searched import CellStore, Search, search_cell
from training.xtyntegra.task import Cell
from training.xtyntegra.vectors import Vectors

from .attacked_cells import ENGLISH, HINDI, cell, encode

DRAWING = Drawing(resamples=200)
NONE = KnownTexts("nothing", {})
FAKE = OpenEncoder("fake", "url", "trigrams", encode, encode)
PLAN = Plan(families=("typo", "word_deletion"), draws=2, cells=(), queries=8)
DEFAULT = Path(__file__).parents[3] / "app" / "default" / "encoder"


def clean_of(cells: list[Cell], vectors: Vectors) -> dict[str, Measured]:
    return {
        one.key: rank_cell(vectors.queries(one.queries), vectors.documents(one.pool), one)
        for one in cells
    }


def robust_parts(
    folder: Path, plan: Plan = PLAN, encoder: OpenEncoder = FAKE
) -> tuple[Robustness, list[Part]]:
    cells = [cell(), cell("hin_Deva", HINDI)]
    robust = Robustness(encoder, plan, folder, DRAWING, known=NONE)
    robust.prepare(cells)
    vectors = Vectors(encoder.encode_query, encoder.encode_document)
    return robust, list(robust.on(cells, clean_of(cells, vectors), vectors))


def shares(part: Part, kind: str) -> list[float]:
    return [one["share"]["value"] for one in part.certified if one["kind"] == kind]


def test_robustness_of_a_service_has_texts_and_margins_and_says_what_it_lacks(
    tmp_path: Path,
) -> None:
    robust, parts = robust_parts(tmp_path)
    assert [part.cell for part in parts] == [
        "own/to-english/eng_Latn>eng_Latn",
        "own/to-english/hin_Deva>eng_Latn",
    ]
    for part in parts:
        assert {entry["condition"] for entry in part.entries} == {
            f"{family}/edits={edits}" for family in PLAN.families for edits in (1, 2)
        }
        assert len(part.queries) == 8  # each draw
        assert all(len(found.ranks) == len(ids) for found, ids in part.queries)
        assert part.not_measured == []
        # What is proven is never more than what no attack broke.
        for proven, unbroken in zip(
            shares(part, "output-margin"), shares(part, "unbroken"), strict=True
        ):
            assert proven <= unbroken
    left = {one["what"]: one["why"] for one in robust.not_measured}
    assert "no gradient graph" in left["white-box"]
    assert "attacks by token_neighbor" in left
    assert robust.epsilons == []
    assert [one["family"] for one in robust.attacks] == [
        "typo", "typo", "word_deletion", "word_deletion",
    ]  # fmt: skip


def test_robustness_entries_are_what_a_result_may_hold(tmp_path: Path) -> None:
    robust, parts = robust_parts(tmp_path)
    for part in parts:
        for entry in part.entries:
            Entry.model_validate(entry)
        for entry in part.certified:
            Certified.model_validate(entry)
        json.dumps([part.entries, part.certified, robust.attacks], allow_nan=False)
    for left in robust.not_measured:
        NotMeasured.model_validate(left)


def test_robustness_leaves_out_cells_beside_the_plan_and_names_them(tmp_path: Path) -> None:
    robust, parts = robust_parts(tmp_path, replace(PLAN, languages=("hin_Deva",)))
    assert len(parts) == 1
    assert "attacks on 1 cells of own/to-english" in {one["what"] for one in robust.not_measured}


def test_robustness_of_the_default_encoder_is_the_same_twice(tmp_path: Path) -> None:
    plan = replace(PLAN, inside_queries=4, epsilons=(0.2,), smoothing=0.1, samples=50)
    with open_encoder(str(DEFAULT)) as encoder:
        first, parts = robust_parts(tmp_path, plan, encoder)
        _, again = robust_parts(tmp_path, plan, encoder)
    assert first.epsilons == [0.2]
    assert [part.entries for part in parts] == [part.entries for part in again]
    assert [part.certified for part in parts] == [part.certified for part in again]
    kinds = {one["kind"] for one in parts[0].certified}
    assert kinds == {"output-margin", "unbroken", "smoothed-embeddings"}
    conditions = {entry["condition"] for entry in parts[0].entries}
    assert {"white-box/epsilon=0.2", "white-box-noise/epsilon=0.2"} < conditions
    assert not [one for part in parts for one in part.not_measured]


def test_search_cell_breaks_no_fewer_queries_than_one_random_text(tmp_path: Path) -> None:
    english = cell()
    vectors = Vectors(encode, encode)
    clean = clean_of([english], vectors)
    plan = replace(PLAN, families=("word_deletion",), edits=(1,), draws=1, queries=None)
    found, left = search_cell(
        english, clean[english.key], vectors, plan, DRAWING, Search(queries=32)
    )
    assert left == []
    (one,) = found
    entry: dict[str, Any] = one.entries[0]
    assert entry["condition"] == "probe:word_deletion/edits=1"
    assert entry["attack"]["search"] == "probe"
    robust = Robustness(FAKE, plan, tmp_path, DRAWING, known=NONE)
    robust.prepare([english])
    (part,) = robust.on([english], clean, vectors)
    random = part.entries[0]["attack"]
    assert entry["attack"]["right_clean"] == random["right_clean"]
    assert entry["attack"]["success_rate"]["value"] >= random["success_rate"]["value"]
    assert entry["attack"]["success_rate"]["value"] > 0.0
    broken = np.isfinite(one.shifts)
    assert (one.measured[0].ranks[broken] > 1).all()
    assert broken.sum() == round(
        entry["attack"]["success_rate"]["value"] * entry["attack"]["right_clean"]
    )


def test_search_cell_reports_families_that_cannot_act() -> None:
    english = cell()
    vectors = Vectors(encode, encode)
    plan = replace(PLAN, families=("romanization",), edits=(1,), queries=None)
    clean = clean_of([english], vectors)[english.key]
    (one,), _ = search_cell(english, clean, vectors, plan, DRAWING)
    assert one.entries[0]["attack"]["not_applicable"] >= (clean.ranks == 1).sum()
    assert one.measured[0].ranks.tolist() == clean.ranks.tolist()


def test_search_cell_with_documents_that_do_not_compete_is_not_measured() -> None:
    english = cell()
    excluding = replace(english, excluded=[np.array([0])] * len(ENGLISH))
    vectors = Vectors(encode, encode)
    clean = clean_of([english], vectors)[english.key]
    found, left = search_cell(excluding, clean, vectors, PLAN, DRAWING)
    assert found == []
    assert "do not compete" in left[0]["why"]


def test_search_in_a_plan_adds_conditions_of_its_own(tmp_path: Path) -> None:
    plan = replace(PLAN, families=("spacing",), edits=(1,), search=True, queries=3)
    _, parts = robust_parts(tmp_path, plan)
    assert [entry["condition"] for entry in parts[0].entries] == [
        "spacing/edits=1",
        "probe:spacing/edits=1",
    ]


def test_cell_store_searches_and_lists_the_pool() -> None:
    english = cell()
    store = CellStore(english, encode(english.pool.texts))
    hits = store.search("cell", encode(english.pool.texts[:2]), 3)
    assert [[hit.rank for hit in row] for row in hits] == [[1, 2, 3]] * 2
    assert [row[0].document.doc_id for row in hits] == ["0", "1"]
    page = store.scan("cell", vectors=True)
    assert page.vectors is not None
    assert len(page.documents) == len(page.vectors) == len(ENGLISH)
    assert [one.doc_id for one in store.get("cell", ["3", "99"])] == ["3"]
    with pytest.raises(Exception, match="no collection"):
        store.describe("another")
