"""What a client can ask of probe jobs, replays and comparisons; see ``operations``."""

from collections.abc import Mapping
from typing import Any

from app.operations import Operation, segment


def probe_jobs() -> Operation[list[dict[str, Any]]]:
    """List the probe jobs, the newest first."""
    return Operation("GET", "/probe/jobs", read=lambda answer: answer["jobs"])


def probe_job(job_id: str) -> Operation[dict[str, Any]]:
    """How far a probe job is; ``probe`` with ``background`` begins one."""
    return Operation("GET", job_path(job_id))


def probe_report(job_id: str) -> Operation[dict[str, Any]]:
    """The report of a probe job that ran."""
    return Operation("GET", f"{job_path(job_id)}/report")


def delete_probe_job(job_id: str) -> Operation[dict[str, Any] | None]:
    """Cancel a probe job, which keeps what it found; remove one that has ended (None)."""
    return Operation("DELETE", job_path(job_id))


def replay(request: Mapping[str, Any]) -> Operation[dict[str, Any]]:
    """Try stored adversarial texts again; takes and returns what POST /probe/replay does."""
    return Operation("POST", "/probe/replay", dict(request))


def compare(request: Mapping[str, Any]) -> Operation[dict[str, Any]]:
    """Try texts on two sides; takes and returns what POST /probe/compare does."""
    return Operation("POST", "/probe/compare", dict(request))


def job_path(job_id: str) -> str:
    """The path of a probe job."""
    return f"/probe/jobs/{segment(job_id)}"
