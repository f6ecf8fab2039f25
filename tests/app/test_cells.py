"""Cells, curves, seeds and the drop of recall, against values computed by hand."""

import pytest

from app.robustness.cells import find
from app.robustness.goal import SEARCH_DEPTH, Standing
from app.robustness.report import ProbeResult
from app.robustness.request import Budget, ProbeRequest
from app.robustness.statistics import Row


def row(query, attack, worst, *, lang="swh_Latn", calls=None, edits=None, seed=0, outcome=None):
    """A row of a query that was first; ``worst`` is a rank, 0 for beyond the depth."""
    won = worst == 0 or worst > 3
    outcome = outcome or ("success" if won else "held")
    won = outcome == "success"
    result = ProbeResult(
        query_id=query,
        attack=attack,
        lang=lang,
        outcome=outcome,
        reason=None,
        relevant=("a",),
        clean_rank=1,
        worst_rank=worst or None,
        beyond_depth=not worst,
        success=won,
        adversarial_text="",
        edits=(),
        queries=20,
        complete=True,
        seed=seed,
        calls_to_success=calls if won else None,
        edits_to_success=edits if won else None,
    )
    clean = Standing(1, 0.1, 1, 16)
    return Row(result, clean, Standing(worst or None, 0.0, int(0 < worst <= 3), 16))


ROWS = [
    row("q1", "typo", 9, calls=4, edits=1),
    row("q2", "typo", 0, calls=8, edits=2),
    row("q3", "typo", 2),
    row("q4", "typo", 5, calls=8, edits=2, lang="hin_Deva"),
    row("q5", "typo", 1, lang="hin_Deva"),
    row("q6", "typo", 1, lang="hin_Deva"),
    row("q1", "case", 1),
    row("q4", "case", 1, lang="hin_Deva", outcome="not_applicable"),
]
ASKED = ProbeRequest("demo", (), ("typo", "case"), Budget(edits=2), top_k=3)


@pytest.fixture(scope="module")
def findings():
    return find(ROWS, ASKED)


def cell(findings, lang, attack):
    return next(c for c in findings.cells if (c.lang, c.attack) == (lang, attack))


def test_cells_are_every_language_under_every_attack(findings):
    assert [(c.lang, c.script, c.attack) for c in findings.cells] == [
        ("swh_Latn", "Latn", "typo"),
        ("hin_Deva", "Deva", "typo"),
        ("swh_Latn", "Latn", "case"),
        ("hin_Deva", "Deva", "case"),
    ]


def test_cell_counts_and_ranks(findings):
    found = cell(findings, "swh_Latn", "typo")
    assert (found.success.successes, found.success.n, found.censored) == (2, 3, 1)
    assert found.queries_mean == 20
    assert found.median_queries == 8
    assert found.recall_drop.value == pytest.approx(2 / 3)
    assert (found.worst_rank.median, found.worst_rank.max) == (9, SEARCH_DEPTH + 1)
    assert found.worst_rank.beyond_depth == 1
    assert cell(findings, "hin_Deva", "case").not_applicable == 1
    assert cell(findings, "hin_Deva", "case").success.value is None


def test_cell_p_values_are_fishers_and_adjusted(findings):
    # Of 6 queries 3 broke: 2 or 3 of the 3 in one language have 10 of the 20 ways, 1 to 3 have 19.
    high, low = (cell(findings, lang, "typo") for lang in ("swh_Latn", "hin_Deva"))
    assert high.p_value == pytest.approx(10 / 20)
    assert low.p_value == pytest.approx(19 / 20)
    assert (high.p_adjusted, low.p_adjusted) == pytest.approx((0.95, 0.95))
    assert cell(findings, "swh_Latn", "case").p_value is None


def test_curves_against_texts_are_kaplan_meier(findings):
    curve = findings.curves.by_attack["typo"].queries
    assert [(step.calls, step.at_risk, step.successes) for step in curve.steps] == [
        (4, 6, 1),
        (8, 5, 2),
    ]
    assert [step.share for step in curve.steps] == pytest.approx([1 / 6, 1 / 2])
    assert (curve.attacks, curve.censored, curve.median) == (6, 3, 8)


def test_curves_against_edits_count_the_fewest(findings):
    steps = findings.curves.by_attack["typo"].edits
    assert [(step.edits, step.share.successes, step.share.n) for step in steps] == [
        (1, 1, 6),
        (2, 3, 6),
    ]


def test_curves_overall_take_the_attack_that_needs_least(findings):
    assert findings.curves.overall.queries.attacks == 6
    assert findings.curves.overall.edits[1].share.successes == 3


def test_languages_and_recall_drop_are_over_queries(findings):
    languages = findings.languages
    assert languages
    assert languages.macro == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert languages.worst == "swh_Latn"
    assert findings.recall_drop.value == pytest.approx(3 / 6)
    assert findings.recall_drop.queries == 6


def test_seeds_of_one_query_count_once_in_cells_and_apart_in_the_spread():
    rows = [
        row("q1", "typo", 9, calls=3, edits=1, seed=0),
        row("q1", "typo", 1, seed=1),
        row("q2", "typo", 1, seed=0),
        row("q2", "typo", 1, seed=1),
    ]
    found = find(rows, ASKED)
    assert cell(found, "swh_Latn", "typo").success.successes == 1
    assert cell(found, "swh_Latn", "typo").success.n == 2
    assert found.seeds
    assert (found.seeds.overall.mean, found.seeds.overall.high) == (0.25, 0.5)
    assert found.seeds.by_attack["typo"].seeds == 2


def test_findings_of_nothing_eligible_are_empty():
    found = find([row("q1", "typo", 1, outcome="not_eligible")], ASKED)
    assert found.languages is None
    assert found.seeds is None
    assert found.curves.overall.queries.attacks == 0
    assert found.cells[0].worst_rank.median is None
