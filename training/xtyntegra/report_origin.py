"""Where the numbers come from, and which are missing: protocol, hashes, command, gaps."""

from collections.abc import Sequence
from html import escape
from shlex import quote

from app.robustness.markup import plain, show
from app.robustness.reading import Record, by_name, count, number, part, parts, short, word
from training.xtyntegra.report_tables import Row, fold, grid, name_cell

_MOST = 300
_FIRST = 12


def gaps(known: Sequence[Record], done: str = "measured") -> str:
    """List what a run, or a comparison, left out, and why.

    Args:
        known: Records of ``what`` and ``why``.
        done: What was to be done with it.
    """
    if not known:
        return f"<p>Everything that was asked for was {done}.</p>"
    reasons: dict[str, list[str]] = {}
    for one in known:
        reasons.setdefault(word(one, "why") or "no reason is given", []).append(
            word(one, "what") or "something without a name"
        )
    items = [_reason(why, what) for why, what in list(reasons.items())[:_MOST]]
    left = len(reasons) - len(items)
    rest = f"<p>{left:,} more reasons in the JSON.</p>" if left else ""
    return f"<ul>{''.join(items)}</ul>{rest}"


def origin(record: Record) -> str:
    """Write the protocol with its hashes, the environment, and the command."""
    protocol, environment = part(record, "protocol"), part(record, "environment")
    encoder = part(record, "encoder")
    source = word(encoder, "source")
    command = word(record, "command") or (
        f"tyntegra bench xtyntegra {quote(plain(source, 300))}" if source else ""
    )
    known = [
        ("Encoder", show(word(encoder, "name"))),
        ("Identity", f"<code>{show(word(encoder, 'identity'), 200)}</code>"),
        ("Written", show(word(record, "created"))),
        *((_title(name), _value(environment, name)) for name in environment),
        ("Seed", short(number(protocol, "seed"))),
        ("Resamples", short(number(protocol, "resamples"))),
        ("Epsilons", escape(", ".join(_numbers(protocol, "epsilons"))) or "none"),
    ]
    rows = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in known)
    said = f"<pre><code>{escape(command)}</code></pre>" if command else ""
    hashes = _tasks(protocol) + fold("Attacks and their hashes", _attacks(protocol))
    return (
        f"<p>Every model is given the same texts, clean and attacked; equal hashes say so.</p>"
        f"{said}<dl>{rows}</dl>{hashes}"
    )


def _reason(why: str, what: list[str]) -> str:
    names = ", ".join(show(one) for one in what[:_FIRST])
    rest = ", ".join(show(one) for one in what[_FIRST:_MOST])
    more = fold(f"and {len(what) - _FIRST:,} more", f"<p>{rest}</p>") if rest else ""
    left = f"<p>{len(what) - _MOST:,} more in the JSON.</p>" if len(what) > _MOST else ""
    return f"<li><b>{names}</b>: {show(why, 400)}{more}{left}</li>"


def _tasks(protocol: Record) -> str:
    rows: list[Row] = [
        (
            "",
            [
                show(name),
                f"{count(one, 'cells'):,}",
                f"{count(one, 'queries'):,}",
                name_cell(word(one, "sha256"), 80),
            ],
        )
        for name, one in by_name(protocol, "tasks").items()
    ]
    return grid("Tasks", ["task", "cells", "queries", "sha256"], rows) if rows else ""


def _attacks(protocol: Record) -> str:
    rows: list[Row] = [
        (
            "",
            [
                show(word(one, "family")),
                short(number(one, "edits")),
                short(number(one, "draws")),
                short(number(one, "seed")),
                name_cell(word(one, "sha256"), 80),
            ],
        )
        for one in parts(protocol, "attacks")[:_MOST]
    ]
    if not rows:
        return "<p>No attack is part of the protocol.</p>"
    return grid("Attacks on texts", ["family", "edits", "draws", "seed", "sha256"], rows)


def _value(record: Record, name: str) -> str:
    value = record[name]
    return show(short(value) if isinstance(value, float) else str(value), 200)


def _title(name: str) -> str:
    return escape(plain(name.replace("_", " "), 40)).capitalize()


def _numbers(record: Record, name: str) -> list[str]:
    value = record.get(name)
    return [plain(str(one)) for one in value] if isinstance(value, list) else []
