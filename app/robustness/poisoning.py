"""What one who may add documents can do: texts that come up for queries they do not answer.

A document near the middle of many queries is a hit for all of them (a hub). The queries an
attacker knows are grouped, and for each group a text is led by the gradient towards its middle; the
success is measured on queries that were not used, on an overlay: the collection is never changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidInputError
from app.retrieval.documents import Document
from app.retrieval.store import VectorStore
from app.robustness.aim import Attract
from app.robustness.hotflip import Flipped, Flips, flip_tokens
from app.robustness.overlay import Overlay
from app.robustness.smoothing import Lens
from app.robustness.substitution import Speller

DEPTHS = (1, 3, 5, 10, 20, 50, 100)
"""Where successes are counted, as in the literature; 20 is the headline."""

_ROUNDS = 100


@dataclass(frozen=True, slots=True)
class Poison:
    """A document that an attacker would add.

    Attributes:
        document: The document.
        vector: Its vector, shape (dim,).
        nearness: Its mean cosine with the queries it was made for.
        bound: What a vector without any text would have, the group's middle: the upper bound.
        calls: Texts encoded to make it.
    """

    document: Document
    vector: NDArray[np.float32]
    nearness: float
    bound: float
    calls: int


@dataclass(frozen=True, slots=True)
class Share:
    """How many queries have a document of an attacker's among their first hits."""

    depth: int
    hit: int
    queries: int


def query_groups(
    vectors: NDArray[np.floating], groups: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Group unit vectors around directions (spherical k-means, seeded by k-means++).

    Args:
        vectors: Unit rows of the queries that the attacker knows, shape (queries, dim).
        groups: How many groups, at most as many as queries.
        seed: Of the first directions.

    Returns:
        The groups' mean vectors, not of unit length, (groups, dim), and each query's group.

    Raises:
        InvalidInputError: If there are fewer queries than groups.

    References:
        Dhillon and Modha 2001, https://doi.org/10.1023/A:1007612920971.
    """
    rows = np.asarray(vectors, dtype=np.float64)
    if not 1 <= groups <= len(rows):
        raise InvalidInputError(
            f"Got {len(rows)} queries for {groups} documents; expected at least one query each."
        )
    random = np.random.Generator(np.random.Philox(key=seed))
    centers = rows[[int(random.random() * len(rows))]]
    while len(centers) < groups:
        far = np.cumsum(np.maximum(0.0, 1.0 - (rows @ centers.T).max(axis=1)))
        # With fewer distinct queries than groups the distances are 0: any of them will do.
        place = np.searchsorted(far, random.random() * far[-1], side="right")
        centers = np.vstack([centers, rows[min(int(place), len(rows) - 1)]])
    member = (rows @ centers.T).argmax(axis=1)
    for _ in range(_ROUNDS):
        for group in range(groups):
            inside = rows[member == group]
            if len(inside):
                centers[group] = inside.mean(axis=0)
        lengths = np.maximum(np.linalg.norm(centers, axis=1), 1e-12)
        nearest = (rows @ (centers / lengths[:, None]).T).argmax(axis=1)
        if (nearest == member).all():
            break
        member = nearest
    return centers.astype(np.float32), member.astype(np.int64)


def poison_documents(
    lens: Lens,
    speller: Speller,
    queries: NDArray[np.floating],
    starts: Sequence[str],
    flips: Flips,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Poison]:
    """Write one document for each text to begin with, together near as many queries as can be.

    Args:
        lens: The encoder, of documents.
        speller: Its tokenizer, of documents.
        queries: Unit rows of the queries that the attacker knows, shape (queries, dim).
        starts: Texts to begin with, such as documents of the collection; they become the poison.
        flips: How hard to try; ``same_script`` false leaves the attacker all tokens.
        stop: Asked before each round.

    References:
        Zhong et al. 2023, https://arxiv.org/abs/2310.19156.
    """
    centers, member = query_groups(queries, len(starts))
    flipped = flip_tokens(lens, speller, starts, Attract(centers), flips, stop=stop)
    poisons: list[Poison] = []
    for number, (result, center) in enumerate(zip(flipped, centers, strict=True)):
        inside = np.asarray(queries)[member == number]
        nearness = float((inside @ result.vector).mean()) if len(inside) else 0.0
        bound = float(np.linalg.norm(center))
        document = Document(f"poison-{number}", result.text)
        poisons.append(Poison(document, result.vector, nearness, bound, result.calls))
    return poisons


def poisoned_shares(
    store: VectorStore,
    name: str,
    poisons: Sequence[tuple[Document, NDArray[np.floating]]],
    queries: NDArray[np.floating],
    depths: Sequence[int] = DEPTHS,
) -> list[Share]:
    """Count queries with at least one poisoned document among their hits, on an overlay.

    Args:
        store: The live store, which is only read.
        name: The collection.
        poisons: Documents with their unit vectors; take the groups' middles to see the upper bound.
        queries: Unit rows of queries that were not used to make them, shape (queries, dim).
        depths: Where to count.

    Raises:
        NotFoundError: If there is no such collection.
        InvalidInputError: If a poisoned document has the name of a live one.
    """
    documents = [document for document, _ in poisons]
    names = {document.doc_id for document in documents}
    if store.get(name, sorted(names)):
        raise InvalidInputError(
            f"The collection {name} has documents of the poison's names; expected other names."
        )
    vectors = np.array([vector for _, vector in poisons], dtype=np.float32)
    overlay = Overlay(store, name, documents, vectors)
    found = overlay.search(name, np.asarray(queries, dtype=np.float32), max(depths))
    first = np.array(
        [
            next((hit.rank for hit in hits if hit.document.doc_id in names), max(depths) + 1)
            for hits in found
        ]
    )
    return [Share(depth, int((first <= depth).sum()), len(first)) for depth in sorted(depths)]


def promote_document(
    lens: Lens,
    speller: Speller,
    document: Document,
    queries: NDArray[np.floating],
    flips: Flips,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Document, Flipped]:
    """Rewrite a document so that it comes nearer to some queries; returns it with its new text.

    Args:
        lens: The encoder, of documents.
        speller: Its tokenizer, of documents.
        document: The document to promote.
        queries: Unit rows of the queries, shape (queries, dim).
        flips: How hard to try.
        stop: Asked before each round.
    """
    middle = np.asarray(queries, dtype=np.float64).mean(axis=0, keepdims=True)
    (result,) = flip_tokens(lens, speller, [document.text], Attract(middle), flips, stop=stop)
    changed = Document(document.doc_id, result.text, document.lang, document.metadata)
    return changed, result


def ranks_with(
    store: VectorStore,
    name: str,
    document: Document,
    vector: NDArray[np.floating],
    queries: NDArray[np.floating],
    depth: int,
) -> list[int | None]:
    """Rank a document for each query as if it stood in the collection with this text and vector.

    Returns:
        Ranks from 1; None beyond ``depth``.
    """
    overlay = Overlay(store, name, [document], np.asarray(vector, dtype=np.float32)[None])
    found = overlay.search(name, np.asarray(queries, dtype=np.float32), depth)
    return [
        next((hit.rank for hit in hits if hit.document.doc_id == document.doc_id), None)
        for hits in found
    ]
