"""What was asked and what came out, in 64 characters each, to compare probes by."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.retrieval.store import Collection
from app.robustness.findings import CertificateReport, Digest, InnerReport
from app.robustness.report import ProbeResult
from app.robustness.request import ProbeRequest

_DIGITS = 5


def digest_of(
    request: ProbeRequest,
    collection: Collection,
    results: Sequence[ProbeResult],
    inner: Sequence[InnerReport],
    certificates: Sequence[CertificateReport],
) -> Digest:
    """Digest a probe. Numbers count without their last bits, which differ between machines."""
    config = {"request": asdict(request), "model": collection.model, "documents": collection.count}
    found = {
        "results": [_told(one) for one in results],
        "white_box": [asdict(one) for one in inner],
        "certificates": [asdict(one) for one in certificates],
    }
    return Digest(_sum(config), _sum(found))


def _told(one: ProbeResult) -> list[Any]:
    """What a result says; ``asdict`` would take a second for a thousand queries."""
    return [
        *(one.query_id, one.attack, one.seed, one.outcome, one.reason, one.relevant),
        *(one.clean_rank, one.worst_rank, one.clean_value, one.worst_value, one.margin),
        *(one.adversarial_text, one.queries, one.complete, one.shift),
        *(one.calls_to_success, one.edits_to_success, one.rejected),
    ]


def _sum(value: Any) -> str:
    text = json.dumps(_plain(value), ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS) + 0.0
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value
