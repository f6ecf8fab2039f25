"""From a probe as it was sent to one that runs: in a process of its own for a job."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from app.api.endpoints import require_allowed
from app.api.probe_wire import ProbeWire, as_request
from app.encoder.jobs import PROBE
from app.errors import InvalidInputError
from app.probing.isolated import Host, Outcome, Task, run_isolated
from app.probing.jobs import Bounds, ProbeJobs
from app.probing.ledger import Ledger
from app.retrieval.store import VectorStore
from app.settings import Settings

if TYPE_CHECKING:
    from app.api.state import Service


def open_jobs(service: "Service") -> ProbeJobs:
    """Open the jobs that are kept; none of them runs yet."""
    settings = service.settings
    bounds = Bounds(settings.probe_jobs, settings.probe_jobs_waiting, settings.probe_jobs_kept)
    directory = settings.state / "probes"
    return ProbeJobs(Ledger(directory), lambda *asked: run_job(service, *asked), bounds)


def run_job(
    service: "Service",
    sent: Mapping[str, Any],
    cancelled: Callable[[], bool],
    progress: Callable[[Mapping[str, Any]], None],
) -> Outcome:
    """Run a job; blocks until it ends.

    Raises:
        ServiceError: If it cannot be done as asked, any more.
    """
    try:
        body = ProbeWire.model_validate(sent)
    except ValidationError as error:
        raise InvalidInputError(
            "What the disk has of this job is no probe that this version knows; delete the job "
            "and ask again."
        ) from error
    require_second(body, service.settings)
    service.matching(service.store, body.collection)
    require_documents(body, service.store)
    outcome = run_apart(service, body, cancelled, progress)
    service.metrics.probe_queries.inc(outcome.brief["queries"])
    return outcome


def run_apart(
    service: "Service",
    body: ProbeWire,
    cancelled: Callable[[], bool],
    progress: Callable[[Mapping[str, Any]], None],
) -> Outcome:
    """Run a probe in a process of its own; blocks until it ends.

    Raises:
        ServiceError: As the probe says.
    """
    settings = service.settings
    task = Task(
        as_request(body, settings.max_text_chars),
        settings.dictionaries,
        settings.artifact,
        service.encoder.precision,
    )
    host = Host(lambda texts: encode(service, texts), service.store, service.courtesy)
    return run_isolated(task, host, cancelled, progress)


def encode(service: "Service", texts: Sequence[str]) -> NDArray[np.float32]:
    """Queries to vectors, behind all other work of the encoder; blocking."""
    return service.encoder.encode(texts, "query", priority=PROBE).vectors


def require_second(body: ProbeWire, settings: Settings) -> None:
    """Refuse a probe whose second encoder is missing or may not be asked.

    Raises:
        InvalidInputError: If it is.
    """
    limits = body.constraints
    if (limits.min_similarity is None) != (limits.similarity_by is None):
        raise InvalidInputError(
            "Got one of constraints.min_similarity and constraints.similarity_by; expected both, "
            "or none: the similarity is measured by another service's encoder."
        )
    if limits.similarity_by is not None:
        endpoint = limits.similarity_by.endpoint
        require_allowed(endpoint, "constraints.similarity_by.endpoint", settings)


def require_documents(body: ProbeWire, store: VectorStore) -> None:
    """Refuse a probe that names a document which is not there.

    Raises:
        InvalidInputError: The probe would say so as well, but repeats what was sent, which an
            answer of the API must not.
    """
    asked = list(dict.fromkeys(doc_id for query in body.queries for doc_id in query.relevant))
    present = {document.doc_id for document in store.get(body.collection, asked)}
    for index, query in enumerate(body.queries):
        if not present.issuperset(query.relevant):
            raise InvalidInputError(
                f"queries[{index}].relevant names a document that the collection does not have; "
                "correct the doc_id, add the document, or leave relevant out."
            )
    promote = body.poison.promote if body.poison else None
    for name, target in (("goal.target", body.goal.target), ("poison.promote", promote)):
        if target is not None and not store.get(body.collection, [target]):
            raise InvalidInputError(
                f"{name} names a document that the collection does not have; correct the doc_id, "
                "or add the document."
            )
