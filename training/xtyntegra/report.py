"""A run of the benchmark as one page of HTML that needs nothing else: no script, no network.

Names of encoders and whatever else comes from a file are data of strangers: all of it is escaped,
and the page's content security policy forbids the rest.
"""

from html import escape

from app.robustness.markup import plain
from app.robustness.page import page_of
from app.robustness.reading import part, parts, word
from training.xtyntegra.report_budget import budget_section, inside_section
from training.xtyntegra.report_clean import clean_tables, language_bias
from training.xtyntegra.report_comparison import html_of_comparison
from training.xtyntegra.report_depth import depth_section
from training.xtyntegra.report_heat import heat_section
from training.xtyntegra.report_lead import headline
from training.xtyntegra.report_origin import gaps, origin
from training.xtyntegra.report_points import points_section
from training.xtyntegra.report_proven import certified_section
from training.xtyntegra.report_reading import read_result
from training.xtyntegra.report_style import rules
from training.xtyntegra.result import QueryFigures

__all__ = ["html_of", "html_of_comparison"]


def html_of(result: object, queries: QueryFigures | None = None) -> str:
    """Write a run's page for readers.

    Args:
        result: The result, read from JSON.
        queries: Its figures query by query; None where they are not at hand.

    Raises:
        InvalidInputError: If it is not a result of the benchmark.
    """
    reading = read_result(result)
    name = word(part(reading.record, "encoder"), "name") or "a run"
    sections = (
        ("Without attack", clean_tables(reading)),
        ("Languages under attack", heat_section(reading)),
        ("Clean against robust", points_section(reading)),
        ("What more edits buy", budget_section(reading)),
        ("How deep the right documents lie", depth_section(reading, queries)),
        ("From the inside", inside_section(reading)),
        ("Proven, and found", certified_section(reading)),
        ("Language bias", language_bias(reading)),
        ("What was not measured", gaps(parts(reading.record, "not_measured"))),
        ("How it was measured", origin(reading)),
    )
    title = f"XTYNTEGRA: {plain(name, 60)}"
    return page_of(escape(title), headline(reading), sections, "", rules())
