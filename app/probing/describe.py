"""A probe's report as it goes on the wire, into files, and to whoever watches a job."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import orjson

from app.robustness.report import ProbeReport

_SUMMARY = ("clean", "attacked", "attack_success_rate", "overall", "by_attack", "by_lang")


def describe_report(report: ProbeReport) -> dict[str, Any]:
    """Write a report's fields by name; those of its findings stand beside them."""
    described = _fields(report)
    described["summary"] = {name: getattr(report.summary, name) for name in _SUMMARY}
    findings = described.pop("findings", None)
    return described | (_fields(findings) if is_dataclass(findings) else {})


def brief(report: ProbeReport) -> dict[str, Any]:
    """Say in a few numbers what a probe found."""
    rate = report.summary.attack_success_rate
    return {
        "status": report.status,
        "reason": report.reason,
        "attack_success_rate": _fields(rate),
        "queries": report.spent.queries,
    }


def write(content: Mapping[str, Any]) -> bytes:
    """Write as JSON in UTF-8."""
    return orjson.dumps(content, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):  # with names for its places
        return list(value)
    raise TypeError(f"cannot write a {type(value).__name__} as JSON")
