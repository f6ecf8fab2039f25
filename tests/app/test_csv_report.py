import csv
import io
import json
import re

import pytest

from app.errors import InvalidInputError
from app.robustness.csv_report import COLUMNS, guard, guard_escaped, to_csv

from .reports import a_report, a_result


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def unescape(text):
    return re.sub(
        r"\\(?:\\|u\{([0-9A-F]+)\})",
        lambda found: chr(int(found[1], 16)) if found[1] else "\\",
        text,
    )


NASTY = [
    "=1+1",
    "  =1+1",
    "\u200b=cmd|' /C calc'!A0",
    "\uff1dSUM(A1)",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r\n=1",
    "|dde",
    'say "hi", then; go\r\nnow',
    "a\\u{200B}b\\",
    "\u202eabc\u202c",
    "\x00nul and \ud800 lone",
    "\u0301 lone mark",
    "'quoted",
    "",
]


def test_to_csv_report_has_a_row_for_each_result():
    report = a_report(a_result("boil water", (0, 1, "p")), a_result("wash hands", query_id="q2"))
    text = to_csv(report)
    assert text.endswith("\r\n")
    assert "\n" not in text.replace("\r\n", "")
    rows = read(text)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["query_id"] for row in rows] == ["q1", "q2"]
    first = rows[0]
    assert (first["query"], first["adversarial"]) == ("boil water", "poil water")
    assert (first["clean_rank"], first["worst_rank"], first["edits"]) == ("1", "14", "1")
    assert json.loads(first["edits_json"]) == report["results"][0]["edits"]
    assert json.loads(first["relevant"]) == ["a"]
    assert (first["margin"], first["complete"], first["epsilon"]) == ("", "true", "")


@pytest.mark.parametrize("text", NASTY)
def test_to_csv_hostile_text_is_no_formula_and_can_be_read_back(text):
    row = read(to_csv(a_report(a_result(text, query_id="x"))))[0]
    assert unescape(row["query_escaped"]) == text
    assert unescape(row["adversarial_escaped"]) == text
    for name in ("query", "query_escaped", "adversarial"):
        seen = row[name].lstrip(" \u200b\u202e\x00")
        assert not seen.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "|"))
    to_csv(a_report(a_result(text))).encode("utf-8")


@pytest.mark.parametrize("name", ["query_id", "attack", "lang", "reason"])
def test_to_csv_formula_in_any_name_is_guarded(name):
    row = read(to_csv(a_report(a_result("a") | {name: "=HYPERLINK(1)"})))[0]
    assert row[name] == "'=HYPERLINK(1)"


def test_guard_ordinary_texts_stay_as_they_are():
    for text in ("maji ya kunywa", "\u0627\u063a\u0644", "3 = 3", "a-b", "क्‍ष"):
        assert guard(text) == text
    assert guard_escaped("a\u200bb") == "a\\u{200B}b"
    assert guard_escaped("a\xa0b") == "a\\u{00A0}b"


def test_to_csv_negative_numbers_stay_numbers():
    row = read(to_csv(a_report(a_result("a", margin=-0.25))))[0]
    assert row["margin"] == "-0.25"


def test_to_csv_white_box_results_are_rows_of_their_own():
    inner = {"query_id": "q1", "outcome": "success", "calls": 5, "adversarial_text": None}
    attack = {"attack": "pgd", "epsilon": 0.1, "ball": "text", "results": [inner]}
    row = read(to_csv(a_report(white_box=[attack])))[0]
    found = [row[name] for name in ("stage", "attack", "epsilon", "ball", "queries", "query")]
    assert found == ["white_box", "pgd", "0.1", "text", "5", ""]


def test_to_csv_rows_say_what_was_asked():
    budget = {"edits": 3, "queries": 32, "seconds": 7.5, "total_queries": None}
    asked = {"collection": "=books", "budget": budget, "stats": {"confidence": 0.9}}
    row = read(to_csv(a_report(a_result("a"), **asked)))[0]
    names = ("collection", "budget_edits", "budget_queries", "budget_seconds", "confidence")
    assert [row[name] for name in names] == ["'=books", "3", "32", "7.5", "0.9"]
    assert row["budget_total_queries"] == ""
    old = read(to_csv(a_report(a_result("a"))))[0]
    assert [old[name] for name in names] == [""] * 5


def test_to_csv_edits_that_do_not_fit_leave_the_query_empty():
    result = a_result("boil", (0, 1, "p")) | {"adversarial_text": "xyz"}
    row = read(to_csv(a_report(result)))[0]
    assert (row["query"], row["adversarial"]) == ("", "xyz")


def test_to_csv_without_results_is_the_heading():
    assert read(to_csv(a_report())) == []


@pytest.mark.parametrize(
    "report",
    [
        None,
        [],
        {"detail": "no"},
        {"results": 1, "summary": {}},
        {"results": [1], "summary": {}},
        a_report(a_result("a") | {"clean_rank": "1"}),
        a_report(a_result("a") | {"margin": float("nan")}),
        a_report(a_result("a") | {"adversarial_text": 3}),
        a_report(a_result("a") | {"edits": [{"start": True}]}),
        a_report(a_result("a") | {"relevant": [1]}),
    ],
)
def test_to_csv_what_is_no_report_is_refused(report):
    with pytest.raises(InvalidInputError, match="expected"):
        to_csv(report)
