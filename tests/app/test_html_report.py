import re

import pytest

from app.errors import InvalidInputError
from app.robustness.html_report import to_html
from app.robustness.style import style_sheet

from .reports import Page, a_cell, a_certificate, a_curve, a_lang_attack, a_rate, a_report, a_result

HEAT = "Share of queries broken, by language and attack"
CURVES = "How many texts, and how many edits, a success takes"
PROVEN = "Certified radius beside the smallest change that broke a query"
SHIFTS = "By how many ranks the document fell, in the worst case of each query"


def test_to_html_first_version_of_reports_has_its_numbers():
    results = [a_result("boil water", (0, 1, "p")), a_result("wash hands", query_id="q2")]
    page = Page(to_html(a_report(*results)))
    assert "1 of 2 queries broke: 50% [25, 75]" in page.text
    assert "fake@1 with 5 queries in 1 language, under 1 kind of attack" in page.text
    assert "found a relevant document in the first 10 hits" in page.text
    assert "50% \u2192 25%" in page.text  # first hit right
    assert "0.438 \u2192 0.438" in page.text  # mean reciprocal rank
    row = page.tables["Each language"][1]
    assert row[:6] == ["eng_Latn", "5", "2", "1", "50%\u2020", "[25, 75]"]
    assert row[-3:] == ["2", "1", "0"]
    assert "Only this was tried." in page.text
    assert "spacing" in page.text  # a family that was not tried is named
    assert "This report has no cells" in page.text


def test_to_html_heat_map_has_each_share_with_n_and_marks_small_cells():
    cells = [
        a_lang_attack("eng_Latn", "typo", 9, 40, p_adjusted=0.6),
        a_lang_attack("swh_Latn", "typo", 3, 4, p_adjusted=0.01),
        a_lang_attack("swh_Latn", "case", 0, 0, not_applicable=4),
    ]
    page = Page(to_html(a_report(cells=cells)))
    head, first, second = page.tables[HEAT]
    assert head == ["language", "typo", "case"]
    low, high = (round(100 * one) for one in (9 / 80, (1 + 9 / 40) / 2))
    assert first == ["eng_Latn", f"22%[{low}, {high}] n=40", "\u2013none eligible"]
    assert second[1].startswith("75%\u2020\u25b2")
    assert second[2] == "\u2013not applicable"
    kinds = [attrs.get("class") for tag, attrs in page.tags if tag == "td" and "class" in attrs]
    assert kinds[:4] == ["h1", "none", "h3 small", "none"]


def test_to_html_curves_show_the_kaplan_meier_estimate():
    edits = [{"edits": 1, "share": a_rate(1, 4)}, {"edits": 2, "share": a_rate(3, 4)}]
    curve = a_curve([2, 5, 9, 20], [True, True, True, False], edits)
    tried = a_result("a", queries=20)
    html = to_html(a_report(tried, curves={"overall": curve, "by_attack": {"typo": curve}}))
    rows = Page(html).tables[CURVES]
    assert rows[1][:4] == ["all attacks", "4", "1", "5 texts"]
    assert rows[1][-2:] == ["25% [12, 62]", "75% [38, 88]"]
    assert rows[2][0] == "typo"
    line = re.search(r'curve-queries-d.*?class="line a" d="M44\.0 206\.0([^"]*)', html, re.S)
    assert line
    # From x 44 (0 texts) to 388 (20) and y 206 (0%) to 34 (100%): steps of a quarter are 43 high.
    assert line[1] == "H78.4V163.0H130.0V120.0H198.8V77.0H388"
    assert html.count('<path class="band a"') == 2


def test_to_html_rank_shifts_are_the_worst_of_each_query():
    results = [
        a_result("a", (0, 1, "b"), worst_rank=3),
        a_result("a", (0, 1, "c"), attack="case", worst_rank=40),
        a_result("b", query_id="q2"),
        a_result("c", (0, 1, "d"), query_id="q3", worst_rank=None, beyond_depth=True),
        a_result("d", query_id="q4", outcome="not_eligible"),
    ]
    rows = dict(line[:2] for line in Page(to_html(a_report(*results))).tables[SHIFTS][1:])
    assert rows == {
        "0": "1",
        "1\u20133": "0",
        "4\u201310": "0",
        "11\u201330": "0",
        "31\u2013100": "1",
        "101\u2013300": "0",
        ">300": "0",
        "lost": "1",
    }


def test_to_html_promotion_counts_how_far_the_target_rose():
    result = a_result("a", (0, 1, "b"), clean_value=50, worst_value=4)
    page = Page(to_html(a_report(result, goal={"type": "promotion", "target": "x"})))
    title = "By how many ranks the target rose, in the worst case of each query"
    assert ["31\u2013100", "1", "100%"] in page.tables[title]
    assert "brought the chosen document into the first 10 hits" in page.text


def test_to_html_certificates_stand_beside_what_broke():
    html = to_html(a_report(certificates=[a_certificate()]))
    page = Page(html)
    assert page.tables[PROVEN][1] == [
        "output margin",
        "distance of unit vectors",
        "3",
        "2",
        "33%",
        "0.125",
        "0.5",
        "0.01",
        "200",
        "yes",
    ]
    assert "Which texts those are." in page.text
    # Two of three are proven at first, one (without a bound) beyond 0.125; one is never broken.
    proven, held = re.findall(r'<path class="line [ab]" d="(M44\.0 [^"]*)"/>', html)
    assert re.findall(r"(?:V|M44\.0 )([\d.]+)", proven) == ["91.3", "148.7"]
    assert re.findall(r"(?:V|M44\.0 )([\d.]+)", held) == ["34.0", "91.3", "148.7"]


def test_to_html_sizes_far_apart_get_a_logarithmic_axis():
    queries = [{"radius": 1e-5, "empirical": 3.0}, {"radius": 1e-320, "empirical": 1e305}]
    html = to_html(a_report(certificates=[a_certificate(queries=queries)]))
    assert ">0.001<" in html
    assert "nan" not in html
    assert "inf" not in html.replace("info", "")


def test_to_html_white_box_shows_each_radius():
    attack = {"attack": "pgd", "epsilon": 0.25, "ball": "text", "success": a_rate(3, 4)}
    page = Page(to_html(a_report(white_box=[attack | {"calls": 1200, "complete": True}])))
    (rows,) = (rows for name, rows in page.tables.items() if name.startswith("Attacks from"))
    assert rows[1][:7] == ["pgd", "0.25 (text)", "3 of 4", "75%", "[38, 88]", "1,200", "yes"]


def test_to_html_page_asks_for_nothing_from_outside():
    page = Page(to_html(a_report(a_result("a", (0, 1, "b")))))
    assert "http" not in style_sheet()
    assert "url(" not in style_sheet()
    assert "@import" not in style_sheet()
    policy = [attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs]
    assert (policy[0] or "").startswith("default-src 'none'")
    assert not any({"src", "href", "srcset", "action"} & attrs.keys() for _, attrs in page.tags)


def test_to_html_plots_have_titles_and_ids_of_their_own():
    curve = a_curve([1, 2], [True, False], [{"edits": 1, "share": a_rate(1, 2)}])
    html = to_html(
        a_report(
            a_result("a", (0, 1, "b")),
            curves={"overall": curve},
            certificates=[a_certificate(), a_certificate(method="word_deletion")],
        )
    )
    page = Page(html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) == 2 * html.count("<svg")
    for tag, attrs in page.tags:
        if tag == "svg":
            assert attrs["role"] == "img"
            assert set((attrs["aria-labelledby"] or "").split()) <= set(ids)
    assert all(page.within("title"))
    assert len(page.within("desc")) == html.count("<svg") == 5


def test_to_html_no_eligible_query_says_nothing_can_be_told():
    result = a_result("a", outcome="not_eligible", clean_rank=None, worst_rank=None)
    report = a_report(result, certificates=[a_certificate(n=0, queries=[], median=None)])
    report["summary"]["attack_success_rate"] = a_rate(0, 0)
    page = Page(to_html(report))
    assert "says nothing of how it breaks" in page.text
    assert "No query has a rank both clean and under attack." in page.text
    assert "Nothing to draw." in page.text


def test_to_html_languages_stand_by_share_and_those_without_one_last() -> None:
    report = a_report()
    cells = {"aaa": a_cell(0, 0), "bbb": a_cell(0, 2), "ccc": a_cell(1, 2)}
    report["summary"]["by_lang"] = cells
    rows = Page(to_html(report)).tables["Each language"][1:]
    assert [row[0] for row in rows] == ["ccc", "bbb", "aaa"]


def test_to_html_collection_budget_and_confidence_are_named_where_known() -> None:
    budget = {"edits": 1, "queries": 64, "seconds": 20.0, "total_queries": None}
    known = {"collection": "<b>mine", "budget": budget, "stats": {"confidence": 0.9}}
    page = Page(to_html(a_report(a_result("a"), **known)))
    assert "Probed was the encoder fake@1 on the collection <b>mine with 4 queries" in page.text
    assert "An attack on a query had up to 1 edit and 64 tried texts." in page.text
    assert "The whole probe had up to 20 seconds." in page.text
    assert "the share lies with a confidence of 90%." in page.text
    older = Page(to_html(a_report(a_result("a"))))
    assert "Probed was the encoder fake@1 with 4 queries" in older.text
    assert "had up to" not in older.text
    assert "with the confidence that was asked for (95% unless asked otherwise)." in older.text


def test_to_html_partial_report_says_why():
    page = Page(to_html(a_report(status="partial", reason="Time ran out.")))
    assert "Not complete: Time ran out." in page.text


@pytest.mark.parametrize(
    "changes",
    [
        {"cells": 3},
        {"cells": [{"success": {"value": "much"}}]},
        {"curves": {"overall": {"queries": {"steps": [{"calls": 10**400}]}}}},
        {"limits": [None]},
        {"model": 3},
        {"top_k": 1.5},
        {"certificates": [{"queries": [{"radius": True}]}]},
        {"collection": 3},
        {"budget": {"edits": "many"}},
        {"stats": 0.9},
    ],
)
def test_to_html_field_of_another_type_is_refused_by_name(changes):
    with pytest.raises(InvalidInputError, match="The report's '"):
        to_html(a_report(**changes))
