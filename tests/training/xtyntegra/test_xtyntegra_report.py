import re
from typing import Any

import numpy as np
import pytest

from tests.app.reports import Page
from training.xtyntegra.report import html_of
from training.xtyntegra.report_tables import shade

from .made_results import (
    MadeRanks,
    a_cell,
    a_clean,
    a_result,
    a_share,
    attacked,
    bias_extras,
    metrics_of,
    under,
)

CLEAN = "Without attack: means over languages, in percent"


def test_html_of_two_languages_has_the_figures_of_the_result() -> None:
    page = Page(html_of(a_result([a_clean("swh_Latn", 0.8), a_clean("yor_Latn", 0.4)])))
    head, first = page.tables[CLEAN][:2]
    assert head[:4] == ["task, track", "languages", "accuracy@1", "interval"]
    assert first[:4] == ["FLORES-200, into English", "2", "60.0", "[59.0, 61.0]"]
    assert first[4] == "80.0"  # recall@10: 0.9 and 0.7
    assert first[-2:] == ["yor_Latn Yoruba", "40.0"]
    lead = "the right answer comes first for 60.0% [59.0, 61.0] of queries"
    assert lead in page.text
    assert "The worst is yor_Latn Yoruba with 40.0%." in page.text


def test_html_of_languages_in_each_task_stand_by_track_from_the_lowest_up() -> None:
    cells = [
        a_clean("swh_Latn", 0.8),
        a_clean("fon_Latn", 0.3, track="unseen"),
        a_clean("yor_Latn", 0.4),
        a_cell("tatoeba", "to-english", ("swh_Latn", "eng_Latn"), metrics=metrics_of(0.5, 300)),
    ]
    rows = Page(html_of(a_result(cells))).tables["Each language in each task, in percent"]
    assert rows[0][2:] == ["FLORES-200, into English", "Tatoeba, into English"]
    assert [row[0].split()[0] for row in rows[1:]] == [
        "yor_Latn",
        "swh_Latn",
        "fon_Latn",
        "swh_Latn",
    ]
    assert rows[2][2:] == ["80", "\u2013"]  # the tracks of the two tasks differ


def test_html_of_attacks_stand_from_the_hardest_with_their_means() -> None:
    one, other = a_clean("swh_Latn", 0.8), a_clean("yor_Latn", 0.6, track="unseen")
    cells = [one, *under(one, typo=0.1, case=0.5), other, *under(other, typo=0.3, case=0.7)]
    page = Page(html_of(a_result(cells)))
    rows = page.tables["Each attack over the languages"]
    assert [row[:4] for row in rows[1:]] == [
        ["case", "60", "yor_Latn Yoruba", "70"],
        ["typo", "20", "yor_Latn Yoruba", "30"],
    ]
    tracks = page.tables["Success of attacks by track: means over its languages, in percent"]
    assert tracks[0] == ["track", "languages", "mean", "case", "typo"]
    assert tracks[1] == ["wholly unseen", "1", "50", "70", "30"]
    assert tracks[-1] == ["all", "2", "40", "60", "20"]
    assert "Under attack with up to 2 edits, case breaks 60.0%" in page.text
    points = page.tables["Languages that keep least of it, in percent"]
    # In the mean of both attacks 0.8 (1 - 0.3) and 0.6 (1 - 0.5) are left.
    assert points[1] == ["yor_Latn Yoruba", "unseen", "60.0", "30.0", "50.0"]
    assert points[2] == ["swh_Latn Swahili", "seen", "80.0", "56.0", "70.0"]


def carpet_of(html: str) -> str:
    return html[html.index('id="carpet-d"') : html.index("</svg>", html.index('id="carpet-d"'))]


def test_html_of_carpet_draws_each_language_in_the_shade_of_its_share() -> None:
    one = a_clean("swh_Latn", 0.8)
    carpet = carpet_of(html_of(a_result([one, *under(one, typo=0.1, case=0.5)])))
    # Two columns of half the width: from 40 percent the darkest shade, from 10 the third.
    paths = dict(re.findall(r'<path class="(f\d)" d="([^"]*)"', carpet))
    assert set(paths) == {"f2", "f4"}
    (left,), (right,) = (re.findall(r"M([\d.]+)", paths[name]) for name in ("f4", "f2"))
    assert (float(left), float(right)) == (68.0, 232.0)
    shown = re.findall(r'<text class="tiny[^>]*>([^<]*)</text>', carpet)
    assert shown == ["case", "typo", "seen in training", "swh_Latn", "50", "10"]


def test_html_of_carpet_of_many_languages_has_neither_names_nor_numbers() -> None:
    clean = [a_clean(f"{a}{b}x_Latn", 0.8) for a in "abcdefgh" for b in "abcdefgh"]
    result = a_result([*clean, *(cell for one in clean for cell in under(one, typo=0.3))])
    carpet = carpet_of(html_of(result))
    assert "aax_Latn" not in carpet
    assert re.findall(r'<text class="tiny[^>]*>([^<]*)</text>', carpet)[0] == "typo"
    (boxes,) = re.findall(r'<path class="f3" d="([^"]*)"', carpet)
    assert boxes.count("M") == 64


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        (0.0, 0),
        (0.044, 0),
        (0.05, 1),
        (0.1, 2),
        (0.194, 2),
        (0.196, 3),
        (0.2, 3),
        (0.4, 4),
        (1.0, 4),
    ],
)
def test_shade_of_share_is_that_of_the_legend(share: float, expected: int) -> None:
    assert shade(share) == expected


def test_html_of_budgets_draw_the_mean_of_the_languages_at_each() -> None:
    clean = a_clean("swh_Latn", 0.8)
    cells = [clean] + [
        attacked(clean, "typo", share, edits=edits, draws=1)
        for edits, share in ((1, 0.2), (2, 0.4), (4, 0.6))
    ]
    html = html_of(a_result(cells))
    line = re.search(r'edits-d.*?class="line a" d="M([^"]*)"', html, re.S)
    assert line
    points = [tuple(map(float, one.split())) for one in line[1].split("L")]
    # 244 wide for four edits from x 44; 178 high for 60%, the least that holds all, above y 206.
    assert [x for x, _ in points] == pytest.approx([44, 105, 166, 288], abs=0.1)
    assert [206 - y for _, y in points] == pytest.approx([0, 59.3, 118.7, 178], abs=0.1)
    rows = Page(html).tables["Share broken by budget, in percent: FLORES-200, into English"]
    assert rows[1] == ["typo", "20", "[19, 21]", "40", "[39, 41]", "60", "[59, 61]"]


def test_html_of_white_box_stands_beside_noise_of_its_size() -> None:
    clean = a_clean("swh_Latn", 0.8)
    inside = [
        attacked(clean, "white-box", 0.5, epsilon=0.1),
        attacked(clean, "white-box-noise", 0.05, epsilon=0.1),
    ]
    page = Page(html_of(a_result([clean, *inside])))
    rows = page.tables["Share broken, in percent"]
    assert [row[:3] for row in rows[1:]] == [
        ["white-box", "0.1", "50.0 [49.0, 51.0]"],
        ["noise, same size", "0.1", "5.0 [4.0, 6.0]"],
    ]
    assert "an epsilon of 0.1, 50.0% [49.0, 51.0] break; noise of the same size breaks 5.0%" in (
        page.text
    )


def test_html_of_certified_share_stands_beside_what_is_unbroken() -> None:
    place = {"task": "flores200", "setting": "to-english", "document_lang": "eng_Latn"}
    proven = [
        place | {"query_lang": lang, "kind": kind, "radius": radius, "unit": unit}
        | {"share": a_share(share, 100)}
        for lang, kind, radius, unit, share in [
            ("swh_Latn", "output-margin", 0.1, "chord", 0.5),
            ("yor_Latn", "output-margin", 0.1, "chord", 0.3),
            ("swh_Latn", "unbroken", 0.1, "chord", 0.7),
            ("swh_Latn", "smoothed-embeddings", 0.1, "mean token norms", 0.2),
        ]
    ]  # fmt: skip
    clean = a_clean("swh_Latn", 0.8)
    cells = [clean, attacked(clean, "white-box", 0.5, epsilon=0.1)]
    html = html_of(a_result(cells, certified=proven))
    text = re.sub(r"<[^>]*>", "|", html)
    assert re.search(r"output-margin\|+0\.1\|+40\.0\|+30\.0 to 50\.0\|+2\|", text)
    assert re.search(r"unbroken\|+0\.1\|+70\.0\|", text)
    # 0.8 (1 - 0.5) of all queries are right under the white box.
    assert re.search(r"right under white-box\|+0\.1\|+40\.0\|", text)
    assert 'id="certified-1-d"' in html


def test_html_of_searched_texts_stand_apart_from_shared_ones() -> None:
    clean = a_clean("swh_Latn", 0.8)
    shared = attacked(clean, "typo", 0.2, edits=2, draws=1)
    searched = attacked(clean, "typo", 0.9, edits=2, draws=1, search="probe")
    searched["condition"] = "probe:typo/edits=2"
    page = Page(html_of(a_result([clean, shared, searched])))
    assert page.tables["Each attack over the languages"][1][:2] == ["typo", "20"]
    rows = page.tables["Share broken by shared texts and by search, in percent"]
    assert rows[1][1:] == ["typo", "2", "20.0 [19.0, 21.0]", "90.0 [89.0, 91.0]"]


def test_html_of_pool_of_languages_shows_its_bias() -> None:
    cell = a_cell("xquad-r", "pooled", ("ell_Grek", "*"), extras=bias_extras("ell_Grek"))
    rows = Page(html_of(a_result([cell]))).tables[
        "Language bias: XQuAD-R, all languages in one pool"
    ]
    extras = cell["extras"]
    assert rows[1][0] == "mean"
    assert rows[2][1] == f"{extras['rank_distance']:,.1f}"
    assert rows[2][-1] == f"{100 * extras['language_bias']:.1f}%"


def test_html_of_depths_come_from_the_ranks_of_single_queries() -> None:
    class Ranks(MadeRanks):
        def ids(self, cell: str, condition: str = "clean") -> Any:
            return np.array(["a", "b", "c", "d"])

        def ranks(self, cell: str, condition: str = "clean") -> Any:
            clean = [1, 1, 2, 11]
            return np.array(clean if condition == "clean" else [1, 12, 12, 2000])

    clean = a_clean("swh_Latn", 0.5)
    result = a_result([clean, *under(clean, typo=0.2)])
    ranks: Any = Ranks(result)
    rows = Page(html_of(result, ranks)).tables["Share within the first k, in percent"]
    found = {row[0]: row[1:] for row in rows}
    assert found["within"] == ["clean", "typo"]
    assert found["1"] == ["50.0", "25.0"]
    assert found["10"] == ["75.0", "25.0"]
    assert found["1,000"] == ["100.0", "75.0"]


def test_html_of_depths_compare_the_same_queries_of_the_same_cells() -> None:
    class Ranks(MadeRanks):
        def ids(self, cell: str, condition: str = "clean") -> Any:
            return np.array(["a", "b", "c", "d"] if condition == "clean" else ["b", "c"])

        def ranks(self, cell: str, condition: str = "clean") -> Any:
            return np.array([9, 1, 1, 9] if condition == "clean" else [1, 20])

    clean, alone = a_clean("swh_Latn", 0.5), a_clean("yor_Latn", 0.5)
    result = a_result([clean, alone, *under(clean, typo=0.2)])
    ranks: Any = Ranks(result)
    rows = Page(html_of(result, ranks)).tables["Share within the first k, in percent"]
    assert rows[1] == ["1", "100.0", "50.0"]  # yor_Latn was not attacked and is left out


def test_html_of_nothing_but_one_language_says_what_is_missing() -> None:
    cell = a_cell("xquad-r", "mono", ("swh_Latn", "swh_Latn"))
    page = Page(html_of(a_result([cell])))
    for said in (
        "mAP is",
        "Nothing was attacked, so this run says nothing of robustness.",
        "No attack on texts was run",
        "No attack that sees the model's gradients was run",
        "Nothing was certified.",
        "No pool of several languages was measured.",
        "Everything that was asked for was measured.",
        "The figures of single queries were not at hand.",
    ):
        assert said in page.text


def test_html_of_no_cells_says_that_nothing_was_measured() -> None:
    page = Page(html_of(a_result([])))
    assert "Nothing was measured." in page.text


def test_html_of_what_was_not_measured_is_named_with_the_reason() -> None:
    gaps = [{"what": f"case of l{n}", "why": "no <case>"} for n in range(20)]
    page = Page(html_of(a_result([a_clean("swh_Latn", 0.8)], not_measured=gaps)))
    assert "case of l11: no <case>" in page.text
    assert "and 8 more" in page.text
    assert "case of l19" in page.text


def test_html_of_origin_has_hashes_and_the_command() -> None:
    clean = a_clean("swh_Latn", 0.8)
    result = a_result([clean, *under(clean, typo=0.2)])
    plan = {"families": ["typo"], "edits": [2], "draws": 3, "queries": 1000, "cells": []}
    result["protocol"] |= {"plan": plan, "changed": ["xtyntegra: flores200, typo: not <so>"]}
    page = Page(html_of(result))
    assert page.tables["Tasks"][1] == ["flores200", "4", "3,988", "ab" * 32]
    assert page.tables["Attacks on texts"][1] == ["typo", "2", "2", "0", "same", "ef" * 32]
    command = (
        "tyntegra bench xtyntegra app/default/encoder --out DIR --tasks flores200/to-english "
        "--attacks typo --edits 2 --draws 3 --queries 1000 --seed 0 --resamples 2000 --full "
        "--no-white-box"
    )
    assert command in page.text
    assert "xtyntegra: flores200, typo: not <so>" in page.text
    assert "sha256:" + "cd" * 32 in page.text
