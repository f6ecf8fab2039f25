"""The frame of a report's page: one file of HTML that asks for nothing from anywhere.

A content security policy in the page forbids scripts, requests and forms, whatever a text on it
tries; only its own style sheet is let in.
"""

from collections.abc import Sequence

from app.robustness.style import style_sheet

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page_of(
    title: str, lead: str, sections: Sequence[tuple[str, str]], foot: str, rules: str = ""
) -> str:
    """Write a page.

    Args:
        title: Of the window, as HTML.
        lead: What stands on top, as HTML.
        sections: Head and content of each, as HTML.
        foot: What stands below all, as HTML.
        rules: Style rules on top of the usual ones.
    """
    body = "".join(f"<section><h2>{head}</h2>{content}</section>" for head, content in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{title}</title><style>{style_sheet()}{rules}</style></head>"
        f"<body><main>{lead}{body}</main>{foot}</body></html>\n"
    )
