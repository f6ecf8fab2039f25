"""Texts of strangers as HTML: escaped, isolated, bounded, changes marked on grapheme clusters.

No bidirectional control, no control character and no lone surrogate of a text gets onto the page;
each is replaced by a small sign that names it.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from html import escape

from app.robustness.visible import (
    abbreviate,
    code_point,
    escape_unseen,
    is_shaping,
    is_unseen,
    name_of,
    places,
)
from app.text.perturbations.edits import Edit
from app.text.perturbations.passage import clusters_of

Span = tuple[int, int]

MOST_CLUSTERS = 120
"""A run without changes, or one changed run, is shown up to so long."""
MOST_RUNS = 60
_CONTEXT = 30
_MOST_MARKS = 12
_MOST_NAMED = 6
_MOST_CHANGES = 8
_SHORT_EDIT = 3
_GAPS = {"del": "here something was put in", "ins": "here something was taken out"}
_RTL = ("R", "AL")
_STRONG = ("L", *_RTL)


def show(text: str | None, most: int = MOST_CLUSTERS) -> str:
    """Write a text, such as a name or a sentence: isolated, cut to ``most`` clusters."""
    if not text:
        return "\N{EN DASH}"
    # A cluster has at least one code point, so more than these need not be cut at all.
    clusters = clusters_of(text[: 40 * most])
    shown = "".join(_cluster(one, keep=True) for one in clusters[:most])
    rest = len(text) - sum(map(len, clusters[:most]))
    return f"<bdi>{shown}{_left_out(rest) if rest else ''}</bdi>"


def plain(text: str, most: int = 40) -> str:
    """Write a name as text for where no tags can be: not HTML, short, unseen characters escaped."""
    clusters = clusters_of(text[: 40 * most])[:most]
    return escape_unseen("".join(one[:_MOST_MARKS] for one in clusters))


def mark_pair(
    query: str, attacked: str, edits: Sequence[Edit], lang: str | None
) -> tuple[str, str]:
    """Write a query and what became of it, the changes marked; both run as the query does.

    Args:
        query: The text before.
        attacked: The text with the edits.
        edits: Sorted, by offsets in the query.
        lang: Such as ``swh_Latn``; for the choice of letter forms.

    Returns:
        The query with what was taken struck out, and the other with what was put in underlined. A
        caret stands where the other one has something; spaces that changed stand as an open box.
    """
    there = [(edit.start, edit.end) for edit in edits]
    way = f' dir="{direction(query)}"{language_tag(lang)}'
    return _marked(query, there, "del", way), _marked(attacked, places(edits), "ins", way)


def list_changes(edits: Sequence[Edit]) -> str:
    """Write what edits do, in words: what was taken out, what was put in, with code points."""
    items = [f"<li>{_change(edit)}</li>" for edit in edits[:_MOST_CHANGES]]
    if len(edits) > _MOST_CHANGES:
        items.append(f"<li>and {len(edits) - _MOST_CHANGES:,} more edits</li>")
    return f'<ul class="changes">{"".join(items)}</ul>' if items else ""


def language_tag(lang: str | None) -> str:
    """Write an attribute for a language such as ``swh_Latn``; nothing for what is not one."""
    tag = (lang or "").replace("_", "-")
    good = tag.isascii() and tag.replace("-", "").isalnum() and tag[:2].isalpha()
    return f' lang="{tag}"' if good and len(tag) <= 35 else ""


def direction(text: str) -> str:
    """Tell whether a text runs ``rtl`` or ``ltr``, by its first letter with a direction."""
    kinds = (unicodedata.bidirectional(one) for one in text if not is_unseen(one))
    return "rtl" if next((kind for kind in kinds if kind in _STRONG), "L") in _RTL else "ltr"


def _marked(text: str, spans: Sequence[Span], tag: str, way: str) -> str:
    shown: list[str] = []
    runs = list(_runs(text, spans))
    for place, (clusters, marked, cut) in enumerate(runs[:MOST_RUNS]):
        if cut:
            shown.append(f'<bdi class="sign" title="{_GAPS[tag]}">\N{CARET}</bdi>')
        ends = (place == 0, place == len(runs) - 1)
        body = _run(clusters, marked, (False, False) if marked else ends)
        shown.append(f"<{tag}>{body}</{tag}>" if marked and clusters else body)
    rest = sum(len(one) for clusters, _, _ in runs[MOST_RUNS:] for one in clusters)
    shown.append(_left_out(rest) if rest else "")
    return f'<p class="text"><bdi{way}>{"".join(shown)}</bdi></p>'


def _runs(text: str, spans: Sequence[Span]) -> Iterator[tuple[list[str], bool, bool]]:
    """Cut a text where marks begin and end: clusters, whether marked, whether a cut is before."""
    cuts = {start for start, end in spans if start == end}
    inside = {place for start, end in spans for place in range(start, min(end, len(text)))}
    run: list[str] = []
    marked = cut = False
    at = 0
    for cluster in clusters_of(text):
        here = range(at, at + len(cluster))
        at += len(cluster)
        now, gap = not inside.isdisjoint(here), not cuts.isdisjoint(here)
        if run and (now != marked or gap):
            yield run, marked, cut
            run, cut = [], False
        marked, cut = now, cut or gap
        run.append(cluster)
    if run:
        yield run, marked, cut
    if at in cuts:
        yield [], False, True


def _run(clusters: Sequence[str], marked: bool, ends: tuple[bool, bool]) -> str:
    """Write one run; of a long one its beginning and end, next to the changes around it."""
    if marked and all(one == " " or is_unseen(one[0]) for one in clusters):
        clusters = ["\N{OPEN BOX}" if one == " " else one for one in clusters]
    if len(clusters) <= MOST_CLUSTERS:
        return "".join(_cluster(one, keep=not marked) for one in clusters)
    first, last = ends
    head = 0 if first and not last else MOST_CLUSTERS // 2 if first or marked else _CONTEXT
    tail = 0 if last and not first else _CONTEXT
    left = [_cluster(one, keep=not marked) for one in clusters[:head]]
    right = [_cluster(one, keep=not marked) for one in clusters[len(clusters) - tail :]]
    rest = sum(map(len, clusters[head : len(clusters) - tail]))
    return "".join((*left, _left_out(rest), *right))


def _cluster(cluster: str, *, keep: bool) -> str:
    """Write a cluster; ``keep`` leaves joiners and variation selectors within words as they are."""
    shown = "".join(_character(one, keep and len(cluster) > 1) for one in cluster[:_MOST_MARKS])
    # A mark without a letter would sit on whatever stands before it.
    alone = unicodedata.category(cluster[0])[0] == "M" and not is_unseen(cluster[0])
    rest = len(cluster) - _MOST_MARKS
    return ("\N{DOTTED CIRCLE}" if alone else "") + shown + (_left_out(rest) if rest > 0 else "")


def _character(character: str, keep: bool) -> str:
    if not is_unseen(character) or (keep and is_shaping(character)):
        return escape(character)
    title = f"{code_point(character)} {name_of(character)}"
    return f'<bdi class="sign" title="{escape(title)}">{escape(abbreviate(character))}</bdi>'


def _left_out(characters: int) -> str:
    return f'<bdi class="left-out">[\N{HORIZONTAL ELLIPSIS} {characters:,} more]</bdi>'


def _change(edit: Edit) -> str:
    if not edit.before:
        return f"put in {_named(edit.after, '')}"
    short = len(edit.before) <= _SHORT_EDIT
    before = _named(edit.before, "" if short else edit.before)
    if not edit.after:
        return f"took out {before}"
    return f"{_named(edit.after, edit.before)} instead of {before}"


def _named(text: str, known: str) -> str:
    """Write a text with the names of its code points that are not in ``known``, or are unseen."""
    fresh = list(dict.fromkeys(one for one in text if one not in known or is_unseen(one)))
    if len(fresh) > _MOST_NAMED:
        fresh = [one for one in fresh if is_unseen(one) or ord(one) > 0x7F][:_MOST_NAMED]
    names = ", ".join(f"{code_point(one)} {escape(name_of(one))}" for one in fresh)
    return f"\N{LEFT DOUBLE QUOTATION MARK}{show(text, 40)}\N{RIGHT DOUBLE QUOTATION MARK}" + (
        f' <span class="muted">{names}</span>' if names else ""
    )
