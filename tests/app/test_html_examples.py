"""The examples on a probe's page: texts of strangers, marked and named."""

import re
import time
import unicodedata

import pytest

from app.robustness.html_report import to_html

from .reports import Page, a_cell, a_certificate, a_curve, a_lang_attack, a_rate, a_report, a_result

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
