"""The stage of a probe that attacks from the corpus side: what if somebody adds or rewrites one?

Documents are made with one half of the queries and measured on the other half, on an overlay: the
live collection is only read. White-box, so an upper bound on who does not know the encoder.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.robustness.cells import share_of
from app.robustness.digests import short_name
from app.robustness.flipping import Flips
from app.robustness.inner import Inner
from app.robustness.inside import HaltedError
from app.robustness.poisoned import DepthShare, PoisonedDocument, PoisonReport
from app.robustness.poisoning import (
    DEPTHS,
    Poison,
    poison_documents,
    poisoned_shares,
    promote_document,
    query_groups,
    ranks_with,
)
from app.robustness.request import PoisonChoice, ProbeRequest
from app.robustness.smoothing import Lens
from app.robustness.victims import Victim

Stop = Callable[[], bool]
Vectors = NDArray[np.float32]

_START_CHARS = 80
_LEAST_QUERIES = 2
_NOTES = {
    "poison": "Documents made to come up for many queries, by one who knows the encoder; measured "
    "on queries that they were not made with.",
    "promotion": "The document rewritten to come up for the queries, by one who knows the encoder; "
    "measured on queries that it was not rewritten for.",
}


def attack_corpus(
    request: ProbeRequest, victims: Sequence[Victim], inner: Inner, stop: Stop
) -> list[PoisonReport]:
    """Add documents to a scratch overlay, or rewrite one there, and count who sees them.

    Args:
        request: The probe.
        victims: Its queries; every second one is what the attacker knows.
        inner: The white box.
        stop: Tells that time or texts are over; what was found until then is measured.
    """
    choice = request.poison
    vectors = [victim.vector for victim in victims if victim.vector is not None]
    if choice is None:
        return []
    kind = "poison" if choice.promote is None else "promotion"
    known, others = np.array(vectors[::2]), np.array(vectors[1::2])
    if len(vectors) < _LEAST_QUERIES or stop():
        return [_report(kind, request, [], {}, known, complete=False)]
    attack = _poison if choice.promote is None else _promotion
    with suppress(HaltedError):
        return [attack(choice, request, (known, others), inner, stop)]
    return [_report(kind, request, [], {}, known, complete=False)]


def _poison(
    choice: PoisonChoice,
    request: ProbeRequest,
    queries: tuple[Vectors, Vectors],
    inner: Inner,
    stop: Stop,
) -> PoisonReport:
    known, others = queries
    wanted = min(choice.documents, len(known))
    centers, _ = query_groups(known, wanted)
    starts = _nearest_texts(request.collection, centers, inner)
    found = poison_documents(
        Lens(inner.access.inside), inner.documents, known, starts, _flips(choice), stop=stop
    )
    reached = [one for one in found if one.vector.size]
    named = [_named(one, request) for one in reached]
    units = centers / np.maximum(np.linalg.norm(centers, axis=1, keepdims=True), 1e-12)
    shares = {
        "share": [(document, one.vector) for document, one in zip(named, reached, strict=True)],
        "bound": list(zip(named, units, strict=False)),
    }
    counted: dict[str, list[tuple[int, int]]] = {}
    for name, of in shares.items():
        there = poisoned_shares(inner.store, request.collection, of, others) if of else []
        counted[name] = [(one.depth, one.hit) for one in there]
    documents = [PoisonedDocument(one.document.text, one.nearness, one.calls) for one in reached]
    whole = len(reached) == wanted and not stop()
    return _report("poison", request, documents, counted, known, n=len(others), complete=whole)


def _promotion(
    choice: PoisonChoice,
    request: ProbeRequest,
    queries: tuple[Vectors, Vectors],
    inner: Inner,
    stop: Stop,
) -> PoisonReport:
    known, others = queries
    (target,) = inner.store.get(request.collection, [choice.promote or ""])
    cut = replace(target, text=target.text[: choice.chars])
    lens = Lens(inner.access.inside)
    changed, result = promote_document(lens, inner.documents, cut, known, _flips(choice), stop=stop)
    if not result.vector.size:
        raise HaltedError
    live = inner.store.search(request.collection, others, max(DEPTHS))
    before = [
        next((hit.rank for hit in hits if hit.document.doc_id == target.doc_id), None)
        for hits in live
    ]
    after = ranks_with(inner.store, request.collection, changed, result.vector, others, max(DEPTHS))
    counted = {"share": _counts(after), "before": _counts(before)}
    documents = [
        PoisonedDocument(changed.text, float((known @ result.vector).mean()), result.calls)
    ]
    whole = result.complete
    return _report("promotion", request, documents, counted, known, n=len(others), complete=whole)


def _counts(ranks: Sequence[int | None]) -> list[tuple[int, int]]:
    return [(depth, sum(rank is not None and rank <= depth for rank in ranks)) for depth in DEPTHS]


def _flips(choice: PoisonChoice) -> Flips:
    return Flips(choice.edits, choice.calls, same_script=False, keep_going=True)


def _named(poison: Poison, request: ProbeRequest) -> Document:
    """A name that no live document has."""
    name = short_name(f"{request.collection}\x1f{poison.document.text}\x1f{poison.nearness}")
    return replace(poison.document, doc_id=f"tyntegra-poison-{name}")


def _nearest_texts(collection: str, centers: Vectors, inner: Inner) -> list[str]:
    """The beginning of the document that is nearest to each group's middle."""
    pool = inner.plain.pool
    scores = pool.best(pool.scores(centers))
    names = [pool.doc_ids[place] for place in scores.argmax(axis=1)]
    texts = {one.doc_id: one.text for one in inner.store.get(collection, names)}
    return [(texts.get(name) or name)[:_START_CHARS] for name in names]


def _report(
    kind: str,
    request: ProbeRequest,
    documents: Sequence[PoisonedDocument],
    counted: dict[str, list[tuple[int, int]]],
    known: Vectors,
    *,
    n: int = 0,
    complete: bool,
) -> PoisonReport:
    confidence = request.stats.confidence
    shares = {
        name: tuple(DepthShare(depth, share_of(hit, n, confidence)) for depth, hit in of)
        for name, of in counted.items()
    }
    return PoisonReport(
        kind=kind,
        documents=tuple(documents),
        shares=shares.get("share", ()),
        before=shares.get("before", ()),
        bound=shares.get("bound", ()),
        known=len(known),
        calls=sum(one.calls for one in documents),
        note=_NOTES[kind],
        complete=complete,
    )
