"""Where the numbers come from, and which are missing: protocol, hashes, command, gaps."""

from collections.abc import Sequence
from html import escape
from shlex import quote

from app.robustness.markup import plain, show
from app.robustness.reading import Record, by_name, count, number, part, parts, short, word
from training.xtyntegra.report_reading import Reading
from training.xtyntegra.report_tables import DASH, Row, fold, grid, name_cell

_MOST = 300
_FIRST = 12
_ATTACK_HEADS = ["family", "edits", "draws", "seed", "as published", "sha256"]
_COUNTS = ("draws", "queries")
_PLAN = ("draws", "queries", "inside_queries", "smoothing", "samples")


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


def origin(reading: Reading) -> str:
    """Write the protocol with its hashes, the environment, and the command."""
    record = reading.record
    protocol, environment = part(record, "protocol"), part(record, "environment")
    encoder = part(record, "encoder")
    command = word(record, "command") or command_of(reading)
    plan = part(protocol, "plan")
    known = [
        ("Encoder", show(word(encoder, "name"))),
        ("Identity", f"<code>{show(word(encoder, 'identity'), 200)}</code>"),
        ("Written", show(word(record, "created"))),
        *((_title(name), _value(environment, name)) for name in environment),
        ("Seed", short(number(protocol, "seed"))),
        ("Resamples", short(number(protocol, "resamples"))),
        ("Epsilons", escape(", ".join(_listed(protocol, "epsilons"))) or "none"),
        *((_title(name), _value(plan, name)) for name in plan if name in _PLAN),
    ]
    rows = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in known)
    said = (
        f"<p>A command that asks for the same, options of the encoder's opening aside:</p>"
        f"<pre><code>{escape(command)}</code></pre>"
        if command
        else ""
    )
    hashes = _tasks(protocol) + fold("Attacks and their hashes", _attacks(protocol))
    return (
        f"<p>Every model is given the same texts, clean and attacked; equal hashes say so.</p>"
        f"{_changed(protocol)}"
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
                name_cell(word(one, "known")),
                name_cell(word(one, "sha256"), 80),
            ],
        )
        for one in parts(protocol, "attacks")[:_MOST]
    ]
    if not rows:
        return "<p>No attack is part of the protocol.</p>"
    return grid("Attacks on texts", _ATTACK_HEADS, rows)


def _value(record: Record, name: str) -> str:
    value = record[name]
    return show(short(value) if isinstance(value, float) else str(value), 200)


def _title(name: str) -> str:
    return escape(plain(name.replace("_", " "), 40)).capitalize()


def command_of(reading: Reading) -> str:
    """Put the command together that asks for the same cells, attacks and draws; empty if unknown.

    Names of settings stand where a task has several, so that no other one is measured.
    """
    protocol = part(reading.record, "protocol")
    source = word(part(reading.record, "encoder"), "source")
    if not source:
        return ""
    plan = part(protocol, "plan")
    given = {
        "--out": "DIR",
        "--tasks": ",".join(plain("/".join(group), 80) for group in reading.groups),
        "--languages": ",".join(_listed(protocol, "languages")),
        "--attacks": ",".join(_listed(plan, "families")) or "none",
        "--edits": ",".join(_listed(plan, "edits")),
        **{
            f"--{name}": short(number(plan, name)).replace(",", "")
            for name in _COUNTS
            if name in plan
        },
        "--seed": short(number(protocol, "seed")),
        "--resamples": short(number(protocol, "resamples")).replace(",", ""),
    }
    words = [f"{name} {quote(value)}" for name, value in given.items() if value not in ("", DASH)]
    if plan and not _listed(plan, "cells"):
        words.append("--full")
    if plan and not _listed(plan, "epsilons"):
        words.append("--no-white-box")
    return " ".join(["tyntegra bench xtyntegra", quote(plain(source, 300)), *words])


def _changed(protocol: Record) -> str:
    changed = _listed(protocol, "changed")
    if not changed:
        return ""
    items = "".join(f"<li>{escape(one)}</li>" for one in changed[:_FIRST])
    left = f"<li>and {len(changed) - _FIRST:,} more</li>" if len(changed) > _FIRST else ""
    return (
        "<p><b>Some attacked texts are not those that come with the benchmark</b>, so figures "
        f"under them are not to be compared with those of other machines:</p><ul>{items}{left}</ul>"
    )


def _listed(record: Record, name: str) -> list[str]:
    value = record.get(name)
    return [plain(str(one), 200) for one in value] if isinstance(value, list) else []
