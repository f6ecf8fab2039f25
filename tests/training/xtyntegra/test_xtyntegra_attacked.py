"""Cells under attacks by texts: what is counted, and that all models are asked the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.errors import InvalidInputError
from training.xtyntegra.attacked import Attacked, TextAttacks
from training.xtyntegra.entries import low_resource_side
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.known import KnownTexts, read_table, write_table
from training.xtyntegra.measure import rank_cell
from training.xtyntegra.perturbed import SHARED_FAMILIES, Recipe, perturb_texts
from training.xtyntegra.plan import Plan, full_plan, quick_plan, sample
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import Cell, Pool
from training.xtyntegra.tracks import LOW_RESOURCE_TRACK
from training.xtyntegra.vectors import Vectors

from .attacked_cells import ENGLISH, HINDI, cell, encode

DRAWING = Drawing(resamples=200)
NONE = KnownTexts("nothing", {})
PLAN = Plan(families=("typo", "romanization", "digits"), draws=2, cells=(), queries=None)


def attack(
    cells: list[Cell], folder: Path, plan: Plan = PLAN
) -> tuple[TextAttacks, dict[tuple[str, str], Attacked]]:
    attacks = TextAttacks(plan, folder, DRAWING, known=NONE)
    attacks.prepare(cells)
    vectors = Vectors(encode, encode)
    clean = {
        one.key: rank_cell(vectors.queries(one.queries), vectors.documents(one.pool), one)
        for one in cells
    }
    found = list(attacks.on(cells, clean, vectors))
    return attacks, {(one.cell, one.entries[0]["attack"]["family"]): one for one in found}


def test_text_attacks_give_the_ranks_of_the_perturbed_texts(tmp_path: Path) -> None:
    english = cell()
    _, found = attack([english], tmp_path)
    typo = found[english.key, "typo"]
    texts = perturb_texts("own", "eng_Latn", ENGLISH, Recipe("typo", (1, 2), 2))
    documents = encode(english.pool.texts)
    clean = encode(ENGLISH)
    ranks = np.empty((2, 2, len(ENGLISH)), dtype=int)
    for (edits, draw), column in texts.variants.items():
        asked = [column[texts.places[text]] or text for text in ENGLISH]
        scores = encode(asked) @ documents.T
        ranks[edits - 1, draw] = 1 + (scores > scores.diagonal()[:, None] + 1e-5).sum(axis=1)
    names = [one.condition for one in typo.measured]
    assert names == [f"typo/edits={edits}/draw={draw}" for edits in (1, 2) for draw in (0, 1)]
    for one, judged in zip(typo.measured, ranks.reshape(4, -1), strict=True):
        assert one.ranks.tolist() == judged.tolist()
    before = 1 + ((clean @ documents.T) > (clean * documents).sum(1)[:, None] + 1e-5).sum(axis=1)
    right = before == 1
    for place, entry in enumerate(typo.entries):
        rate = entry["attack"]["success_rate"]
        lost = right & (ranks[place].max(axis=0) > 1)
        assert (entry["attack"]["right_clean"], rate["n"]) == (right.sum(), right.sum())
        assert rate["value"] == pytest.approx(lost.sum() / right.sum())
        assert entry["metrics"]["accuracy@1"]["value"] == pytest.approx((ranks[place] == 1).mean())
    assert {entry["condition"] for entry in typo.entries} == {"typo/edits=1", "typo/edits=2"}


def test_text_attacks_leave_queries_they_cannot_act_on_as_they_are(tmp_path: Path) -> None:
    english, hindi = cell(), cell("hin_Deva", HINDI)
    attacks, found = attack([english, hindi], tmp_path)
    for one in found[english.key, "romanization"].entries:
        assert one["attack"]["not_applicable"] == len(ENGLISH)
        assert one["attack"]["success_rate"]["value"] is None
        assert one["attack"]["relative_drop"]["value"] == 0.0
    digits = found[english.key, "digits"].entries[0]["attack"]
    assert digits["not_applicable"] == len(ENGLISH) - 1  # 24 children
    assert found[hindi.key, "romanization"].entries[0]["attack"]["not_applicable"] == 0
    assert {one["what"] for one in attacks.not_measured} == {
        "romanization on own: eng_Latn",
        "digits on own: hin_Deva",
    }


def test_text_attacks_least_shift_is_that_of_the_nearest_text_that_broke(tmp_path: Path) -> None:
    english = cell()
    _, found = attack([english], tmp_path, replace(PLAN, families=("word_deletion",)))
    one = found[english.key, "word_deletion"]
    texts = perturb_texts("own", "eng_Latn", ENGLISH, Recipe("word_deletion", (1, 2), 2))
    clean, least = encode(ENGLISH), np.full(len(ENGLISH), np.inf)
    right = rank_cell(clean, encode(english.pool.texts), english).ranks == 1
    for measured, column in zip(one.measured, texts.variants.values(), strict=True):
        asked = encode([column[texts.places[text]] or text for text in ENGLISH])
        moved = np.linalg.norm(asked - clean, axis=1)
        least = np.where(right & (measured.ranks > 1), np.minimum(least, moved), least)
    assert np.isfinite(least).any()
    np.testing.assert_allclose(one.shifts, least, atol=1e-6)


def test_text_attacks_of_a_sample_are_those_of_its_queries(tmp_path: Path) -> None:
    english = cell()
    _, whole = attack([english], tmp_path / "a")
    _, some = attack([english], tmp_path / "b", replace(PLAN, queries=4))
    few, all_of_them = some[english.key, "typo"], whole[english.key, "typo"]
    assert len(few.rows) == 4
    assert few.entries[0]["queries"] == 4
    assert few.query_ids == [english.query_ids[row] for row in few.rows]
    for mine, theirs in zip(few.measured, all_of_them.measured, strict=True):
        assert mine.ranks.tolist() == theirs.ranks[few.rows].tolist()


def test_sample_depends_on_ids_alone_and_grows_by_adding() -> None:
    english = cell()
    turned = replace(
        english,
        queries=english.queries[::-1],
        query_ids=english.query_ids[::-1],
        relevant=english.relevant[::-1],
    )
    four, six = sample(english, 4).cell, sample(english, 6).cell
    assert set(four.query_ids) == set(sample(turned, 4).cell.query_ids)
    assert set(four.query_ids) < set(six.query_ids)
    assert sample(english, 99).whole
    assert not sample(english, 4).whole


def test_text_attacks_read_the_same_texts_again_and_name_them_by_hash(tmp_path: Path) -> None:
    english = cell()
    first, _ = attack([english], tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")}
    second, _ = attack([english], tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.gz")} == files
    assert len(files) == 3
    assert first.protocol() == second.protocol()
    named = first.protocol()[0]
    assert named == {
        "family": "typo", "edits": 1, "draws": 2, "seed": 0, "sha256": named["sha256"],
        "known": "unknown",
    }  # fmt: skip
    hashes = [one["sha256"] for one in first.protocol()]
    assert hashes[0] != hashes[1]
    assert hashes[2] == hashes[3]  # one edit romanizes the whole text, two cannot do more


def test_text_attacks_with_texts_other_than_known_are_refused_or_flagged(tmp_path: Path) -> None:
    english = cell()
    recipe = Recipe("typo", (1, 2), 2)
    same = perturb_texts("own", "eng_Latn", ENGLISH, recipe)
    plan = replace(PLAN, families=("typo",))
    attacks = TextAttacks(plan, tmp_path, DRAWING, known=read_table(write_table([same])))
    attacks.prepare([english])
    assert {one["known"] for one in attacks.protocol()} == {"same"}
    swapped = dict(same.variants)
    swapped[1, 0] = same.variants[1, 1]
    known = read_table(write_table([replace(same, variants=swapped)]))
    with pytest.raises(BenchmarkError, match=r"edits=1/draw=0; .*accept changed texts"):
        TextAttacks(plan, tmp_path, DRAWING, known=known).prepare([english])
    flagged = TextAttacks(plan, tmp_path, DRAWING, known=known, accept_changed=True)
    flagged.prepare([english])
    assert len(flagged.changed) == 1
    assert {one["known"] for one in flagged.protocol()} == {"changed"}


def test_text_attacks_of_pooled_cells_carry_extras_and_the_track(tmp_path: Path) -> None:
    english = cell()
    langs = ["eng_Latn", "swh_Latn"] * 5
    pool = Pool("own:*", english.pool.texts, langs, english.pool.doc_ids)
    pooled = replace(english, document_lang="*", pool=pool, setting="pooled")
    _, found = attack([pooled], tmp_path)
    entry = found[pooled.key, "typo"].entries[0]
    assert entry["extras"]
    assert entry["track"] == "other"
    assert entry["documents"] == len(langs)
    assert low_resource_side(pooled) == "eng_Latn"
    assert low_resource_side(replace(english, document_lang="swh_Latn")) == "swh_Latn"
    assert low_resource_side(cell("swh_Latn")) == "swh_Latn"


def test_plan_covers_its_cells_and_languages_alone() -> None:
    english, swahili = cell(), cell("swh_Latn")
    plan = Plan(cells=("own/to-english",), languages=("swh_Latn",))
    assert [plan.covers(one) for one in (english, swahili)] == [False, True]
    assert replace(plan, whole_tasks=("own",)).covers(english)
    assert not replace(plan, cells=("flores200/to-english",)).covers(swahili)
    assert full_plan().covers(english)
    assert full_plan().families == SHARED_FAMILIES
    assert full_plan().draws == 10
    assert set(quick_plan().languages) <= set(LOW_RESOURCE_TRACK)
    assert len(set(quick_plan().languages)) == 48
    assert quick_plan(["bho_Deva"]).languages == ("bho_Deva",)


@pytest.mark.parametrize(
    "choices",
    [
        {"families": ("typo", "typo")},
        {"families": ("token_neighbor",)},
        {"queries": 0},
        {"epsilons": (0.0,)},
        {"smoothing": -1.0},
        {"draws": 0},
    ],
)
def test_plan_that_cannot_be_followed_is_refused(choices: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="expected"):
        replace(PLAN, **choices)
