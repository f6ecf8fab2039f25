"""A probe's report as it comes back from JSON: fields by name, checked where they are read.

Reports outlive the version that wrote them. A field that is not there reads as None, or as empty;
one of another type is refused by name, so that nothing is shown that the report does not say.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import InvalidInputError

Record = Mapping[str, Any]

FEW = 30
"""Shares of fewer queries are marked as small."""
UNDETERMINED = "und"


@dataclass(frozen=True, slots=True)
class Part:
    """A share of queries as a report has it; ``value`` and bounds are None without queries."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    successes: int


def check_report(report: object) -> Record:
    """Take a probe's report.

    Raises:
        InvalidInputError: If it is none.
    """
    if not isinstance(report, Mapping) or not {"results", "summary"} <= report.keys():
        raise InvalidInputError(
            "This is not the report of a probe: expected an object with `summary` and `results`, "
            "as POST /probe/adversarial answers; save that answer and give it unchanged."
        )
    part(report, "summary")
    parts(report, "results")
    return report


def part(record: Record, name: str) -> Record:
    """Read an object; empty if it is not there."""
    value = record.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "an object")
    return value


def parts(record: Record, name: str) -> list[Record]:
    """Read a list of objects; empty if it is not there."""
    value = _list(record, name)
    for one in value:
        if not isinstance(one, Mapping):
            raise _wrong(name, one, "a list of objects")
    return list(value)


def words(record: Record, name: str) -> list[str]:
    """Read a list of texts; empty if it is not there."""
    value = _list(record, name)
    for one in value:
        if not isinstance(one, str):
            raise _wrong(name, one, "a list of texts")
    return list(value)


def by_name(record: Record, name: str) -> dict[str, Record]:
    """Read an object of objects; empty if it is not there."""
    found = part(record, name)
    return {key: part(found, key) for key in found}


def number(record: Record, name: str) -> float | int | None:
    """Read a number; None if it is not there."""
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _finite(value):
        raise _wrong(name, value, "a number")
    return value


def count(record: Record, name: str) -> int:
    """Read a whole number; 0 if it is not there."""
    value = number(record, name)
    if value is not None and value != int(value):
        raise _wrong(name, value, "a whole number")
    return int(value or 0)


def word(record: Record, name: str) -> str | None:
    """Read a text; None if it is not there."""
    value = record.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(name, value, "a text")
    return value


def flag(record: Record, name: str) -> bool:
    """Read a truth value; false if it is not there."""
    value = record.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, value, "true or false")
    return bool(value)


def share(record: Record) -> Part:
    """Read a share with its interval."""
    return Part(
        number(record, "value"),
        number(record, "low"),
        number(record, "high"),
        count(record, "n"),
        count(record, "successes"),
    )


def percent(value: float | None) -> str:
    """Write a share in percent; 0 and 100 only where it is exactly so."""
    if value is None:
        return "\N{EN DASH}"
    if 0 < value < 0.005:
        return "<1%"
    if 0.995 < value < 1:
        return ">99%"
    return f"{100 * value:.0f}%"


def interval(low: float | None, high: float | None) -> str:
    """Write the bounds of a share, in percent."""
    if low is None or high is None:
        return ""
    return f"[{100 * low:.0f}, {100 * high:.0f}]"


def short(value: float | None) -> str:
    """Write a number with three digits that count."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def counted(result: Record) -> bool:
    """Tell whether a result counts in the success rate."""
    return word(result, "outcome") in ("success", "held")


def _list(record: Record, name: str) -> Sequence[Any]:
    value = record.get(name)
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)):
        raise _wrong(name, value, "a list")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _wrong(name: str, value: object, expected: str) -> InvalidInputError:
    kind = type(value).__name__
    return InvalidInputError(
        f"The report's {name!r:.80} holds a {kind} that does not fit; expected {expected}: give "
        "the report as the probe wrote it."
    )
