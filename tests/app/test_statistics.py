from dataclasses import replace

import pytest

from app.robustness.binomial import share_interval
from app.robustness.goal import Standing
from app.robustness.limits import limits_of
from app.robustness.report import ProbeResult
from app.robustness.request import ProbeRequest
from app.robustness.statistics import Row, summarize


def row(query, attack, outcome, clean, worst, lang=None, queries=10, complete=True, relevant="a"):
    """A result row; ``clean`` and ``worst`` are ranks, 0 for beyond the depth, None not reached."""

    def standing(rank):
        return None if rank is None else Standing(rank or None, 0.0, int(0 < rank <= 3), 16)

    result = ProbeResult(
        query, attack, lang, outcome, None, tuple(relevant), clean or None, worst or None,
        worst == 0, outcome == "success", query, (), queries, complete,
    )  # fmt: skip
    return Row(result, standing(clean), standing(worst))


ROWS = [
    row("q1", "typo", "success", 1, 9, "swh_Latn"),
    row("q1", "case", "held", 1, 2, "swh_Latn"),
    row("q2", "typo", "held", 2, 3, "swh_Latn"),
    row("q2", "case", "success", 2, 0, "swh_Latn"),
    row("q3", "typo", "held", 1, 1, "hin_Deva"),
    row("q3", "case", "not_applicable", 1, 1, "hin_Deva", queries=0),
    row("q4", "typo", "not_eligible", 5, 5, queries=0),
    row("q4", "case", "not_eligible", 5, 5, queries=0),
]


def test_summarize_counts_a_query_once_by_its_worst_attack():
    summary = summarize(ROWS)
    rate = summary.attack_success_rate
    assert (rate.successes, rate.n, rate.value) == (2, 3, pytest.approx(2 / 3))
    assert (rate.low, rate.high) == pytest.approx(share_interval(2, 3))
    assert summary.overall.all == 4
    assert summary.overall.not_eligible == 1
    assert summary.overall.not_applicable == 0
    assert summary.overall.queries == 50


def test_summarize_quality_is_over_all_queries_clean_and_attacked():
    summary = summarize(ROWS)
    assert summary.clean.n == summary.attacked.n == 4
    assert summary.clean.accuracy_at_1 == pytest.approx(2 / 4)
    assert summary.clean.recall_at_k == pytest.approx(3 / 4)
    assert summary.clean.mrr == pytest.approx((1 + 1 / 2 + 1 + 1 / 5) / 4)
    assert summary.attacked.accuracy_at_1 == pytest.approx(1 / 4)
    assert summary.attacked.recall_at_k == pytest.approx(1 / 4)
    assert summary.attacked.mrr == pytest.approx((1 / 9 + 0 + 1 + 1 / 5) / 4)


def test_summarize_by_attack_has_its_own_denominators():
    cells = summarize(ROWS).by_attack
    assert list(cells) == ["typo", "case"]
    assert (cells["typo"].attack_success_rate.successes, cells["typo"].attack_success_rate.n) == (
        1,
        3,
    )
    assert cells["case"].attack_success_rate.n == 2
    assert cells["case"].not_applicable == 1
    assert cells["case"].all == 4


def test_summarize_by_lang_puts_queries_without_one_together():
    cells = summarize(ROWS).by_lang
    assert {lang: cell.all for lang, cell in cells.items()} == {
        "swh_Latn": 2,
        "hin_Deva": 1,
        "und": 1,
    }
    assert cells["swh_Latn"].attack_success_rate.value == 1.0
    assert cells["und"].attack_success_rate.value is None


def test_summarize_recall_with_several_relevant_is_the_share_found():
    summary = summarize([row("q1", "typo", "held", 1, 1, relevant="abcd")])
    assert summary.clean.recall_at_k == pytest.approx(1 / 4)


def test_summarize_not_reached_queries_are_counted_and_left_out_of_rates():
    rows = [*ROWS, row("q5", "typo", "not_reached", None, None, queries=0, complete=False)]
    rows.append(row("q6", "typo", "held", 1, 1, queries=3, complete=False))
    overall = summarize(rows).overall
    assert (overall.not_reached, overall.incomplete, overall.all) == (1, 1, 6)
    assert overall.clean.n == 5
    assert overall.attack_success_rate.n == 4


def test_summarize_nothing_eligible_has_no_rate():
    rate = summarize(ROWS[-2:]).attack_success_rate
    assert (rate.value, rate.low, rate.high, rate.n) == (None, None, None, 0)


ASKED = ProbeRequest("demo", (), top_k=3)


def test_limits_name_each_weakness_that_is_there():
    text = " ".join(limits_of(summarize(ROWS), ASKED, 3, ["A stage has a note"]))
    assert "1 of the 10 seeds" in text
    assert text.endswith("A stage has a note.")
    assert "not proven safe" in text
    assert "Only 3 eligible queries" in text
    assert "1 of 4 queries had no relevant document" in text
    assert "lower top_k" in text
    assert "Time ran out" not in text


def test_limits_of_a_large_clean_probe_are_few():
    rows = [row(f"q{i}", "typo", "held", 1, 1) for i in range(40)]
    assert len(limits_of(summarize(rows), replace(ASKED, seeds=10), 100)) == 2
