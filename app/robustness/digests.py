"""What was asked and what came out, in 64 characters each, to compare probes by."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.retrieval.store import Collection
from app.robustness.findings import CertificateReport, Digest, InnerReport
from app.robustness.poisoned import PoisonReport
from app.robustness.report import ProbeResult
from app.robustness.request import ProbeRequest

_DIGITS = 5


def digest_of(
    request: ProbeRequest,
    collection: Collection,
    results: Sequence[ProbeResult],
    inner: Sequence[InnerReport | PoisonReport],
    certificates: Sequence[CertificateReport],
) -> Digest:
    """Digest a probe. Numbers count without their last bits, which differ between machines."""
    config = {"request": asdict(request), "model": collection.model, "documents": collection.count}
    found = {
        "white_box": [_plain(asdict(one)) for one in inner],
        "certificates": [_plain(asdict(one)) for one in certificates],
    }
    return Digest(_sum(_plain(config)), _sum(found | {"results": [_told(one) for one in results]}))


def _told(one: ProbeResult) -> list[Any]:
    """What a result says; ``asdict`` and ``_plain`` would take seconds for a thousand queries."""
    return [
        *(one.query_id, one.attack, one.seed, one.outcome, one.reason, one.relevant),
        *(one.clean_rank, one.worst_rank, _short(one.clean_value), _short(one.worst_value)),
        *(_short(one.margin), one.adversarial_text, one.queries, one.complete),
        *(_short(one.shift), one.calls_to_success, one.edits_to_success, one.rejected),
    ]


def short_name(text: str) -> str:
    """A name that depends on a text alone, 24 characters."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _short(value: float | None) -> float | None:
    return round(value, _DIGITS) + 0.0 if isinstance(value, float) else value


def _sum(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS) + 0.0
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
