import re
import unicodedata
from typing import Any

import pytest

from app.errors import InvalidInputError
from tests.app.reports import Page
from training.xtyntegra.report import html_of

from .made_results import (
    LANGS,
    a_clean,
    a_result,
    a_share,
    a_wide_result,
    attacked,
    bias_extras,
    ranks_of,
    summed,
    under,
)


@pytest.fixture(scope="module")
def wide() -> dict[str, Any]:
    return a_wide_result()


@pytest.fixture(scope="module")
def wide_html(wide: dict[str, Any]) -> str:
    return html_of(wide, ranks_of(wide))


def test_html_of_all_languages_and_attacks_is_bounded_and_whole(
    wide: dict[str, Any], wide_html: str
) -> None:
    assert len(wide_html.encode()) < 1_500_000
    page = Page(wide_html)
    rows = page.tables["Each language in each task, in percent"]
    assert {row[0].split()[0] for row in rows[1:]} >= set(LANGS)
    whole = [rows for name, rows in page.tables.items() if re.match(r"\d+ languages: ", name)]
    assert sum(len(rows) - 1 for rows in whole) == len(LANGS)
    assert len(page.tables["Each attack over the languages"]) == 21
    assert len(page.tables["The 15 languages that break most, in percent"]) == 16


def test_html_of_plots_have_titles_descriptions_and_ids_of_their_own(wide_html: str) -> None:
    page = Page(wide_html)
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    pictures = [attrs for tag, attrs in page.tags if tag == "svg" and "aria-hidden" not in attrs]
    assert len(ids) == len(set(ids)) == 2 * len(pictures)
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert set((attrs["aria-labelledby"] or "").split()) <= set(ids)
    assert all(page.within("title"))
    assert len(page.within("desc")) == len(pictures) == 6


def test_html_of_page_asks_for_nothing_from_outside(wide_html: str) -> None:
    page = Page(wide_html)
    policy = [attrs["content"] for tag, attrs in page.tags if "http-equiv" in attrs]
    assert (policy[0] or "").startswith("default-src 'none'")
    assert not any({"src", "href", "srcset", "action"} & attrs.keys() for _, attrs in page.tags)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "url(" not in wide_html
    assert "@import" not in wide_html


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style></title></svg>' onload='x",
    "\u202e\u2066 evil \ud83d\x00\x1b[31m",
    "a" + "\u0301" * 4000,
    "x" * 8000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_html_of_hostile_text_everywhere_stays_text(text: str) -> None:
    changes = {"task": text, "setting": text, "track": text, "query_lang": text}
    clean = a_clean(text, 0.8) | changes
    pool = clean | {"document_lang": "*", "setting": f"{text}2", "extras": bias_extras(text)}
    inside = attacked(clean, text, 0.5, epsilon=0.1)
    cells = [clean, pool, *under(clean, **{text: 0.2}), inside]
    cells.append(cells[2] | {"condition": f"probe:{text}/edits=2"})
    place = {"task": text, "setting": text, "query_lang": text}
    share = {"kind": text, "unit": text, "radius": 0.1, "share": a_share(0.5, 9)}
    result = a_result(
        cells,
        summary=summed(cells),
        certified=[place | share],
        not_measured=[{"what": text, "why": text}],
        created=text,
        encoder={"name": text, "kind": text, "identity": text, "source": text, "dim": 3},
        environment={text: text, "seconds": 1.5},
    )
    result["protocol"]["tasks"] = {text: {"sha256": text}}
    html = html_of(result, ranks_of(result))
    assert len(html.encode("utf-8")) < 200_000
    tags = Page(html).tags
    assert {tag for tag, _ in tags}.isdisjoint({"script", "img", "link", "iframe", "base"})
    names = {name for _, attrs in tags for name in attrs}
    assert not any(name.startswith("on") or name in ("src", "href", "style") for name in names)
    for one in set(html) - {"\n"}:
        assert unicodedata.category(one) not in ("Cf", "Cc", "Cs", "Cn", "Zl", "Zp"), hex(ord(one))
    assert not re.search(r"\u0301{20}", html)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cells": [{"metrics": {"mrr": {"value": "much"}}}]}, "'value'"),
        ({"summary": [{"languages": 1.5}]}, "'languages'"),
        ({"certified": 3}, "'certified'"),
        ({"benchmark": "other"}, "expected one of 'xtyntegra'"),
    ],
)
def test_html_of_field_of_another_type_is_refused_by_name(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        html_of(a_result([a_clean("swh_Latn", 0.8)]) | changes)


def test_html_of_no_result_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="not a result of the benchmark"):
        html_of([])
