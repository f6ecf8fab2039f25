"""The part of a probe's page that tells of attacks from the corpus side."""

from typing import Any

import pytest

from app.robustness.html_report import to_html

from .reports import Page, a_rate, a_report, a_result

SEEN = "Queries that see a document of the attacker's"


def an_attack(**changes: Any) -> dict[str, Any]:
    def at(*successes: int) -> list[dict[str, Any]]:
        return [
            {"depth": depth, "share": a_rate(found, 20)}
            for depth, found in zip((1, 20), successes, strict=False)
        ]

    made = {"text": "<b>everything</b>", "nearness": 0.512, "calls": 90}
    figures = {"shares": at(1, 6), "bound": at(2, 14), "before": []}
    state = {"known": 20, "calls": 90, "note": "By halves.", "complete": True}
    return {"kind": "poison", "documents": [made]} | figures | state | changes


def page_with(*attacks: dict[str, Any]) -> str:
    return to_html(a_report(a_result("habari"), poisoning=list(attacks)))


def test_page_of_a_poisoned_collection_says_who_sees_it() -> None:
    page = page_with(an_attack())

    text = Page(page).text
    assert "1 document made to mislead were added" not in text
    assert "1 document made to mislead was added, on a copy" in text
    assert "20 queries were known to the attacker; counted are others. By halves." in text
    rows = {row[0]: row[1:] for row in Page(page).tables[SEEN][1:]}
    assert rows["first 20"][0] == "30%"
    assert rows["first 20"][2] == "70%"
    assert "<b>everything</b>" not in page
    assert "<b>everything</b> (mean cosine with the queries it was made for: 0.512)" in text
    assert "The collection was not attacked" not in text
    assert "No document was added" not in text


def test_page_of_a_promotion_sets_it_beside_the_text_as_it_was() -> None:
    before = [{"depth": 20, "share": a_rate(2, 20)}]
    promotion = an_attack(kind="promotion", bound=[], before=before, complete=False)

    text = Page(page_with(promotion)).text

    assert "One document was rewritten" in text
    assert "The budget or the time ended before it was done." in text
    assert "as it was" in text
    assert "10%" in text


@pytest.mark.parametrize("report", [a_report(a_result("habari")), a_report(poisoning=[])])
def test_page_without_such_an_attack_says_so(report: dict[str, Any]) -> None:
    text = Page(to_html(report)).text

    assert "The collection was not attacked" in text
    assert "No document was added, changed or removed to mislead." in text
