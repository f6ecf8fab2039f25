import re
import unicodedata
from typing import Any

import pytest

from app.errors import InvalidInputError
from tests.app.reports import Page
from training.xtyntegra.report import html_of_comparison
from training.xtyntegra.report_differences import paired_interval, points, points_bounds
from training.xtyntegra.report_style import DARK, LIGHT, READ_ON

from .made_comparisons import a_cell_pair, a_comparison, another
from .made_results import a_clean, a_result, attacked, under

LANGS = ("swh_Latn", "yor_Latn", "fon_Latn")
MINUS = "\u2212"


def a_run(name: str = "first", **accuracy: float) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    for lang, share in accuracy.items():
        clean = a_clean(lang, share)
        cells += [clean, *under(clean, typo=0.5, case=0.25)]
    result = a_result(cells)
    return result | {"encoder": result["encoder"] | {"name": name}}


def two_runs() -> list[dict[str, Any]]:
    first = a_run(swh_Latn=0.8, yor_Latn=0.4, fon_Latn=0.5)
    return [first, a_run("second", swh_Latn=0.7, yor_Latn=0.6, fon_Latn=0.5)]


def test_paired_interval_of_few_discordant_queries_is_agresti_and_min_s() -> None:
    # By hand: (10.5 - 2.5) / 102 and sqrt(13 - 64 / 102) / 102.
    low, high = paired_interval(2, 10, 100)
    assert low == pytest.approx(0.0784314 - 1.959964 * 0.0344849, abs=1e-6)
    assert high == pytest.approx(0.0784314 + 1.959964 * 0.0344849, abs=1e-6)


def test_paired_interval_turned_around_changes_its_sign() -> None:
    low, high = paired_interval(10, 2, 100)
    assert (-high, -low) == pytest.approx(paired_interval(2, 10, 100))


def test_html_of_comparison_two_runs_says_who_won_where() -> None:
    runs = two_runs()
    page = Page(html_of_comparison(a_comparison(runs), runs))
    lead = "second against first: FLORES-200, into English, accuracy@1 goes from 56.7% to 60.0%"
    assert lead in page.text
    said = "+3.3 [+2.3, +4.3] points. Of 3 languages: 1 better, 1 worse, 1 not told apart."
    assert said in page.text
    rows = page.tables["Each language, in percent and points"]
    assert [row[0].split()[0] for row in rows[1:]] == ["swh_Latn", "fon_Latn", "yor_Latn"]
    assert [row[3] for row in rows[1:]] == [f"\u25bc {MINUS}10.0", "+0.0", "\u25b2 +20.0"]
    assert [row[-1] for row in rows[1:]] == ["<0.001", "1", "<0.001"]
    moved = round(0.2 * 997)
    assert rows[3][4] == points_bounds(*paired_interval(20, 20 + moved, 997))
    macros = page.tables["Means over languages without attack, in percent"]
    assert macros[1][:5] == ["FLORES-200, into English", "3", "56.7", "60.0", "+3.3"]


def test_html_of_comparison_under_attack_has_each_condition() -> None:
    runs = two_runs()
    page = Page(html_of_comparison(a_comparison(runs), runs))
    rows = page.tables["Under attack: means over languages, in percent"]
    found = {row[0]: row[2:6] for row in rows[1:]}
    assert found["typo/edits=2"] == ["3", "28.3", "30.0", "+1.7"]
    assert found["case/edits=2"] == ["3", "42.5", "45.0", "+2.5"]
    assert "Under 2 attacks it changes by +1.7 to +2.5 points: better under 2" in page.text


def test_html_of_comparison_lines_lead_from_the_first_run_to_the_second() -> None:
    runs = two_runs()
    html = html_of_comparison(a_comparison(runs), runs)
    # In the mean of both attacks 0.625 is left: swh_Latn falls from 0.5 to 0.4375.
    moves = {
        kind: tuple(map(float, re.split(r"[ L]", way)))
        for kind, way in re.findall(r'class="line move (\w+)" d="M([^"]*)"', html)
    }
    left, wide, bottom, high = 44, 336, 286, 258
    assert moves["worse"] == pytest.approx(
        (left + 0.8 * wide, bottom - 0.5 * high, left + 0.7 * wide, bottom - 0.4375 * high), abs=0.1
    )
    rows = Page(html).tables["Languages that moved most under attack, in percent"]
    assert rows[1][1:] == ["40.0 \u2192 60.0", "25.0 \u2192 37.5", "+12.5"]


def test_html_of_comparison_three_runs_has_a_section_for_each_pair() -> None:
    runs = [*two_runs(), a_run("third", swh_Latn=0.9, yor_Latn=0.4, fon_Latn=0.5)]
    page = Page(html_of_comparison(a_comparison(runs), runs))
    heads = page.within("h2")
    assert {"second", "third"} <= set(heads)
    rows = page.tables["Without attack: means over languages, in percent"]
    assert rows[0][2:] == ["first", "second", "third"]
    assert rows[1][2:] == ["56.7", "60.0", "60.0"]
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) == 2 * 4


def test_html_of_comparison_runs_of_one_name_are_told_apart_by_folder() -> None:
    runs = [a_run(swh_Latn=0.5), a_run(swh_Latn=0.6)]
    page = Page(html_of_comparison(a_comparison(runs), runs))
    assert "first in runs/1 against first in runs/0" in page.text


def test_html_of_comparison_without_attacks_or_results_says_so() -> None:
    runs = [a_result([a_clean("swh_Latn", share)]) for share in (0.5, 0.5)]
    page = Page(html_of_comparison(a_comparison(runs), runs))
    assert "No attack was run on both" in page.text
    assert "The two runs have no attacks in common" in page.text
    alone = Page(html_of_comparison(a_comparison(runs), []))
    assert "Each language, in percent and points" in alone.tables


def test_html_of_comparison_of_nothing_in_common_renders() -> None:
    runs = [a_run(swh_Latn=0.5), a_run(yor_Latn=0.5)]
    empty = {"baseline": 0, "other": 1, "summary": [], "cells": []}
    left = [{"what": "swh_Latn", "why": "only in <one>"}]
    page = Page(html_of_comparison(a_comparison(runs, pairs=[empty], left_out=left), runs))
    assert "no task of both was compared" in page.text
    assert "swh_Latn: only in <one>" in page.text


def test_html_of_comparison_small_difference_is_not_called_one() -> None:
    runs = [a_result([a_clean("swh_Latn", 0.5)])] * 2
    comparison = a_comparison(runs)
    comparison["pairs"][0]["cells"] = [a_cell_pair(runs[0]["cells"][0], 20, 26)]
    page = Page(html_of_comparison(comparison, runs))
    assert "0 better, 0 worse, 1 not told apart" in page.text


@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", "\"' onload=x <img src=x>", "\u202e\ud83d\x00", "x" * 9000],
)
def test_html_of_comparison_hostile_text_stays_text(text: str) -> None:
    clean = a_clean("swh_Latn", 0.8) | dict.fromkeys(("task", "query_lang", "track"), text)
    cells = [clean, attacked(clean, text, 0.5, edits=2, draws=1)]
    first = a_result(cells)
    first["encoder"] = dict.fromkeys(("name", "kind", "identity", "source"), text)
    runs = [first, another(first, text, 0.1)]
    comparison = a_comparison(runs, created=text, left_out=[{"what": text, "why": text}])
    comparison["runs"] = [{"folder": text, "encoder": run["encoder"]} for run in runs]
    html = html_of_comparison(comparison, runs)
    assert len(html.encode()) < 120_000
    tags = Page(html).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "link", "iframe", "base"})
    names = {name for _, attrs in tags for name in attrs}
    assert not any(name.startswith("on") or name in ("src", "href", "style") for name in names)
    for one in set(html) - {"\n"}:
        assert unicodedata.category(one) not in ("Cf", "Cc", "Cs", "Cn", "Zl", "Zp"), hex(ord(one))


def test_html_of_comparison_other_things_are_refused() -> None:
    runs = two_runs()
    with pytest.raises(InvalidInputError, match="not a comparison of runs"):
        html_of_comparison(runs[0], runs)
    with pytest.raises(InvalidInputError, match="Got 1 results for a comparison of 2"):
        html_of_comparison(a_comparison(runs), runs[:1])
    pair = {"baseline": 0, "other": 7}
    with pytest.raises(InvalidInputError, match="'other' is run 7"):
        html_of_comparison(a_comparison(runs, pairs=[pair]), runs)


def test_points_have_a_sign_and_a_true_minus() -> None:
    assert [points(one) for one in (0.0312, -0.0312, None)] == ["+3.1", f"{MINUS}3.1", "\u2013"]


def test_style_each_pair_of_colors_has_enough_contrast() -> None:
    def luminance(color: str) -> float:
        parts = [int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def contrast(one: str, other: str) -> float:
        dark, light = sorted((luminance(one), luminance(other)))
        return (light + 0.05) / (dark + 0.05)

    for colors, page in ((LIGHT, "#ffffff"), (DARK, "#14181d")):
        for text, ground in READ_ON:
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
        assert contrast(colors["third"], page) >= 3
    assert LIGHT.keys() == DARK.keys()
