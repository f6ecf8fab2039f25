import json
import re
import time
import unicodedata
from typing import Any

import pytest

from app.errors import InvalidInputError
from app.robustness.binomial import share_interval
from app.robustness.html_report import to_html
from app.robustness.reading import interval, percent, short
from app.robustness.style import DARK, LIGHT, READ_ON, heat_class, style_sheet
from app.robustness.survival import calls_to_success

from .reports import Page, a_cell, a_rate, a_report, a_result

HEAT = "Share of queries broken, by language and attack"
CURVES = "How many texts, and how many edits, a success takes"
PROVEN = "Certified radius beside the smallest change that broke a query"
SHIFTS = "By how many ranks the document fell, in the worst case of each query"


def a_lang_attack(lang, attack, successes, n, **changes):
    return {"lang": lang, "attack": attack, "success": a_rate(successes, n)} | changes


def a_curve(calls, succeeded, edits):
    curve = calls_to_success(calls, succeeded)
    steps = [{name: getattr(one, name) for name in one.__slots__} for one in curve.steps]
    known = {name: getattr(curve, name) for name in curve.__slots__}
    return {"queries": known | {"steps": steps}, "edits": edits}


def a_certificate(**changes: Any):
    return {
        "method": "output_margin",
        "parameter": None,
        "unit": "distance of unit vectors",
        "covers": "Every change below it.",
        "does_not_cover": "Which texts those are.",
        "n": 3,
        "certified": 2,
        "abstain_rate": 1 / 3,
        "median": 0.125,
        "empirical_median": 0.5,
        "alpha": 0.01,
        "samples": 200,
        "complete": True,
        "queries": [
            {"query_id": "q1", "radius": 0.125, "abstained": False, "empirical": 0.5},
            {"query_id": "q2", "radius": None, "abstained": False, "empirical": None},
            {"query_id": "q3", "radius": None, "abstained": True, "empirical": 0.25},
        ],
    } | changes


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


def test_to_html_examples_name_code_points_and_mark_clusters():
    result = a_result("pay cafe\u0301", (1, 2, "\u0430"), (3, 3, "\u200b"), (8, 9, ""), lang="fr")
    page = Page(to_html(a_report(result)))
    assert "U+0430 CYRILLIC SMALL LETTER A instead of" in page.text
    assert "U+200B ZERO WIDTH SPACE" in page.text
    assert page.within("ins")[1:] == ["\u0430", "ZWSP"]  # the first is the legend's
    assert page.within("del")[1:] == ["a", "e\u0301"]
    assert ("bdi", {"dir": "ltr", "lang": "fr"}) in page.tags
    assert "rank 1 \u2192 14" in page.text


def test_to_html_examples_are_one_a_query_and_few_an_attack() -> None:
    results = [
        a_result("boil", (0, 1, "p"), query_id=name, attack=attack, worst_rank=rank)
        for name, attack, rank in [
            *(("q1", f"a{n}", 900 - n) for n in range(5)),
            *((f"q{n}", "typo", 700 - n) for n in range(2, 9)),
            ("q9", "case", 11),
        ]
    ]
    page = Page(to_html(a_report(*results)))
    heads = "".join(page.within("article"))
    shown = re.findall(r"(q\d) \u00b7 (\w+)", heads)
    assert shown == [("q1", "a0"), ("q2", "typo"), ("q3", "typo"), ("q4", "typo"), ("q9", "case")]


def test_to_html_both_texts_run_as_the_query_does() -> None:
    # The look-alike is a letter that runs to the right: alone it would turn the text around.
    result = a_result("\u05d0\u05d1 abc", (0, 1, "\u2135"), lang="heb_Hebr")
    page = Page(to_html(a_report(result)))
    texts = [attrs for tag, attrs in page.tags if tag == "bdi" and "dir" in attrs]
    assert texts == [{"dir": "rtl", "lang": "heb-Hebr"}] * 2


def test_to_html_joiners_in_words_stay_and_those_put_in_are_named() -> None:
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    page = Page(to_html(a_report(a_result(f"{persian} ab", (10, 10, "\u200d")))))
    assert page.text.count("\u200c") == 2
    assert "\u200d" not in page.text
    assert page.within("ins")[1:] == ["a", "ZWJ"]


def test_to_html_spaces_that_changed_are_seen() -> None:
    page = Page(to_html(a_report(a_result("to day", (2, 3, " \u3000"), (4, 4, " ")))))
    assert page.within("del")[1:] == ["\u2423"]
    assert page.within("ins")[1:] == ["\u2423", "U+3000", "\u2423"]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title></svg>' onload='x",
    "&lt;b&gt; &amp; --> ]]>",
    "\u202e\u2066\u200f evil \u2069",
    "\u0301\u0302 lone marks",
    "a" + "\u0301" * 8000,
    "\ud83d lone \udc00",
    "\x00\x07\x1b[31m\x85",
    "x" * 8000,
    "\u0645\u0627\u0621 \u0627\u0644\u0646\u0647\u0631",
    "https://example.org/",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_to_html_hostile_text_everywhere_stays_text(text):
    hostile = text or "q"
    result = a_result(
        hostile, (0, 1, f"{text[:1]}{text[:40]}\u202e"), query_id=text, attack=text, lang=text
    )
    cell = a_lang_attack(text, text, 1, 2)
    curve = a_curve([1, 2], [True, False], [{"edits": 1, "share": a_rate(1, 2)}])
    report = a_report(
        result | {"reason": text},
        model=text,
        reason=text,
        status="partial",
        cells=[cell],
        goal={"type": text},
        limits=[text],
        curves={"overall": curve, "by_attack": {text: curve}},
        certificates=[a_certificate(method=text, unit=text, covers=text)],
        white_box=[{"attack": text, "ball": text, "epsilon": 1, "trigger": text, "note": text}],
        languages={"macro": 0.5, "worst": text, "worst_rate": 0.5, "few": [text], "languages": 1},
        digest={"config": text, "results": text},
        collection=text,
    )
    report["summary"]["by_attack"] = report["summary"]["by_lang"] = {text: a_cell(1, 2)}
    html = to_html(report)
    assert len(html.encode("utf-8")) < 150_000
    tags = Page(html).tags
    assert {tag for tag, _ in tags}.isdisjoint(
        {"script", "img", "link", "iframe", "base", "object"}
    )
    names = {name for _, attrs in tags for name in attrs}
    assert not any(name.startswith("on") or name in ("src", "href", "style") for name in names)
    for one in set(html) - {"\n"}:
        assert unicodedata.category(one) not in ("Cf", "Cc", "Cs", "Cn", "Zl", "Zp"), hex(ord(one))
    assert not re.search(r"\u0301{20}", html)


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


def test_to_html_ten_thousand_rows_are_bounded_and_it_says_so():
    results = [
        a_result("boil the water", (0, 1, "p"), query_id=f"q{n}", worst_rank=n + 11)
        for n in range(10_000)
    ]
    langs = [f"l{chr(97 + n // 26)}{chr(97 + n % 26)}" for n in range(400)]
    cells = [a_lang_attack(lang, "typo", 1, 2) for lang in langs]
    report = a_report(*results, cells=cells)
    report["summary"]["by_lang"] = {lang: a_cell(1, 2) for lang in langs}
    began = time.monotonic()
    html = to_html(report)
    assert time.monotonic() - began < 20
    assert len(html) < 400_000
    page = Page(html)
    assert "Shown are 200 of 10,000 results" in page.text
    assert "Shown are 60 of 400 languages" in page.text
    assert "Shown are 3 of 10,000 successes" in page.text
    assert page.tables["Results, the worst first"][1][0] == "q9999"


def test_to_html_text_of_8000_characters_shows_what_is_around_the_change():
    query = "ab " * 2700
    page = Page(to_html(a_report(a_result(query, (4000, 4001, "\u0444")))))
    left_out = sum(int(n.replace(",", "")) for n in re.findall(r"\[… ([\d,]+) more\]", page.text))
    assert page.within("ins")[1:] == ["\u0444"]
    assert left_out == 2 * (len(query) - 61)


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


def test_style_each_pair_of_colors_has_enough_contrast():
    def luminance(color):
        parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(one, other):
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    for colors in (LIGHT, DARK):
        for text, ground in READ_ON:
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        for line in ("first", "second"):  # of lines, 3 is asked for
            assert contrast(colors[line], colors["page"]) >= 3
    assert LIGHT.keys() == DARK.keys()
    assert [heat_class(one) for one in (0, 0.2, 0.99, 1)] == ["h0", "h1", "h4", "h4"]


def test_percent_only_all_and_none_are_100_and_0():
    assert [percent(x) for x in (0, 0.001, 0.5, 0.999, 1, None)] == [
        "0%",
        "<1%",
        "50%",
        ">99%",
        "100%",
        "\u2013",
    ]
    assert [short(x) for x in (0.0394, 1200, None)] == ["0.0394", "1,200", "\u2013"]


@pytest.mark.anyio
async def test_to_html_of_a_service_s_answer_has_the_numbers_of_its_json(start: Any) -> None:
    texts = ["boil the river water", "plant the maize", "wash your hands", "اغل ماء النهر"]
    langs = ["eng_Latn", "eng_Latn", "eng_Latn", "arb_Arab"]
    body = {
        "collection": "a",
        "queries": [
            {"query_id": f"q{n}", "text": text, "lang": lang}
            for n, (text, lang) in enumerate(zip(texts, langs, strict=True))
        ],
        "attacks": ["typo", "spacing", "invisible"],
        "budget": {"edits": 2, "queries": 16, "seconds": 20},
        "top_k": 1,
    }
    async with start() as running:
        await running.client.put("/collections/a")
        documents = [{"doc_id": str(n), "text": text} for n, text in enumerate(texts)]
        await running.client.post("/collections/a/documents", json={"documents": documents})
        response = await running.client.post("/probe/adversarial", json=body)
    report = json.loads(response.content)
    page = Page(to_html(report))
    rate = report["summary"]["attack_success_rate"]
    assert rate["n"] == 4
    assert (rate["low"], rate["high"]) == pytest.approx(share_interval(rate["successes"], 4, 0.95))
    counts = f"{rate['successes']} of {rate['n']} queries broke: {percent(rate['value'])}"
    assert f"{counts} {interval(rate['low'], rate['high'])}" in page.text
    heat = page.tables[HEAT]
    shown = {
        (row[0], attack): cell
        for row in heat[1:]
        for attack, cell in zip(heat[0][1:], row[1:], strict=True)
    }
    assert len(shown) == len(report["cells"]) == 6
    for cell in report["cells"]:
        one = cell["success"]
        text = shown[cell["lang"], cell["attack"]]
        if one["n"]:
            assert text.startswith(percent(one["value"]))
            assert text.endswith(f"{interval(one['low'], one['high'])} n={one['n']}")
    by_lang = {row[0]: row for row in page.tables["Each language"][1:]}
    for lang, cell in report["summary"]["by_lang"].items():
        one = cell["attack_success_rate"]
        assert by_lang[lang][1:4] == [str(cell["all"]), str(one["n"]), str(one["successes"])]
    assert sum(int(row[1]) for row in page.tables[SHIFTS][1:]) == rate["n"]
    assert page.tables[PROVEN][1][5] == short(report["certificates"][0]["median"])
    assert all(sentence in page.text for sentence in report["limits"])
    assert report["digest"]["results"] in page.text
