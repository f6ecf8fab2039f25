"""Reports of probes as they come back from JSON, made by hand."""

from html.parser import HTMLParser
from typing import Any

from app.robustness.survival import calls_to_success

VOID = {"meta"}


def a_result(query: str, *edits: tuple[int, int, str], **changes: Any) -> dict[str, Any]:
    """One result; each edit is its start, its end and what it puts there, in order."""
    text, grown = query, 0
    written = []
    for start, end, after in edits:
        text = text[: start + grown] + after + text[end + grown :]
        grown += len(after) - (end - start)
        written.append({"start": start, "end": end, "before": query[start:end], "after": after})
    return {
        "query_id": "q1",
        "attack": "typo",
        "lang": "eng_Latn",
        "outcome": "success" if edits else "held",
        "reason": None,
        "relevant": ["a"],
        "clean_rank": 1,
        "worst_rank": 14 if edits else 1,
        "beyond_depth": False,
        "success": bool(edits),
        "adversarial_text": text,
        "edits": written,
        "queries": 7,
        "complete": True,
    } | changes


def a_rate(successes: int, n: int) -> dict[str, Any]:
    value = successes / n if n else None
    return {
        "value": value,
        "low": value and value / 2,
        "high": value and (1 + value) / 2,
        "n": n,
        "successes": successes,
    }


def a_cell(successes: int, n: int) -> dict[str, Any]:
    quality = {"accuracy_at_1": 0.5, "recall_at_k": 0.625, "mrr": 0.4375, "n": n}
    return {
        "clean": quality,
        "attacked": quality | {"accuracy_at_1": 0.25},
        "attack_success_rate": a_rate(successes, n),
        "all": n + 3,
        "not_eligible": 2,
        "not_applicable": 1,
        "not_reached": 0,
        "incomplete": 0,
        "queries": 70,
    }


def a_report(*results: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A report as its first version was: without curves, cells, certificates."""
    cell = a_cell(sum(one["success"] for one in results), len(results))
    summary = {name: cell[name] for name in ("clean", "attacked", "attack_success_rate")}
    summary |= {"overall": cell, "by_attack": {"typo": cell}, "by_lang": {"eng_Latn": cell}}
    return {
        "model": "fake@1",
        "seed": 0,
        "top_k": 10,
        "search_depth": 1000,
        "status": "complete",
        "reason": None,
        "elapsed_s": 1.25,
        "spent": {"queries": 70, "model_calls": 3},
        "summary": summary,
        "limits": ["Only this was tried."],
        "results": list(results),
    } | changes


class Page(HTMLParser):
    """A page taken apart: that its tags are balanced, its text, its attributes, its tables."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.pieces: list[tuple[tuple[str, ...], str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] = []
        self._caption = ""
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_data(self, data: str) -> None:
        self.pieces.append((tuple(self.open), data))
        if "caption" in self.open:
            self._caption += data
        elif {"td", "th"} & set(self.open):
            self._rows[-1][-1] += data

    @property
    def text(self) -> str:
        return "".join(data for tags, data in self.pieces if "style" not in tags)

    def within(self, tag: str) -> list[str]:
        return [data for tags, data in self.pieces if tag in tags]


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
