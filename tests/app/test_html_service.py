"""A probe's page of a service's own answer, and its colors."""

import json
from typing import Any

import pytest

from app.robustness.binomial import share_interval
from app.robustness.html_report import to_html
from app.robustness.reading import interval, percent, short
from app.robustness.style import DARK, LIGHT, READ_ON, heat_class

from .reports import Page

HEAT = "Share of queries broken, by language and attack"

PROVEN = "Certified radius beside the smallest change that broke a query"

SHIFTS = "By how many ranks the document fell, in the worst case of each query"


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
