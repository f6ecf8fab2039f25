"""Texts to standings: full batches through ``Encode``, then only as deep as the answer lies.

Texts of all attacks go through together. A batch is small enough that a deadline or a cancelled
request is noticed within tens of milliseconds, whatever the encoder's speed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import InferenceError
from app.retrieval.store import Encode, VectorStore
from app.robustness.goal import SEARCH_DEPTH, Demotion, Standing
from app.robustness.report import Spent

_T = TypeVar("_T")
_DEEPER = 4
_SLICE_S = 0.025
_FIRST_BATCH, _LEAST_BATCH, _MOST_BATCH = 8, 1, 512


@dataclass(frozen=True, slots=True)
class Question:
    """A normalized text, and the goal that tells what to look for among its hits."""

    text: str
    goal: Demotion


class Ranker:
    """Ranks texts in one collection; counts what it spends.

    Attributes:
        texts: Texts encoded so far.
        model_calls: Batches encoded so far.
        encode_s: Seconds spent in ``Encode`` so far.
        search_s: Seconds spent in the store so far.
    """

    def __init__(
        self, encode: Encode, store: VectorStore, collection: str, stop: Callable[[], bool]
    ) -> None:
        self._encode_texts = encode
        self._store = store
        self._collection = collection
        self._stop = stop
        self._encoding, self._searching = _Pace(), _Pace()
        self.texts = self.model_calls = 0
        self.encode_s = self.search_s = 0.0

    def spent(self, tried: int) -> Spent:
        """Sum up the cost so far, ``tried`` perturbed texts among it."""
        return Spent(self.texts, self.model_calls, tried, self.encode_s, self.search_s)

    def rank(self, questions: Sequence[Question]) -> list[Standing | None]:
        """Rank texts, each distinct one once.

        Returns:
            A standing for each question, in their order; None for those not reached in time.
        """
        places: dict[str, list[int]] = {}
        for index, question in enumerate(questions):
            places.setdefault(question.text, []).append(index)
        standings: list[Standing | None] = [None] * len(questions)
        for texts in self._encoding.cut(list(places)):
            if self._stop():
                break
            began = time.perf_counter()
            vectors = self._encode(texts)
            self._encoding.learn(time.perf_counter() - began, len(texts))
            for rows in self._searching.cut(range(len(texts))):
                if self._stop():
                    break
                began = time.perf_counter()
                asked = [(index, row) for row in rows for index in places[texts[row]]]
                for index, standing in self._stand(questions, asked, vectors):
                    standings[index] = standing
                self._searching.learn(time.perf_counter() - began, len(rows))
        return standings

    def rank_alone(self, question: Question) -> Standing:
        """Rank one text the way a search request for it does: in a batch of its own."""
        vectors = self._encode([question.text])
        return next(self._stand([question], [(0, 0)], vectors))[1]

    def rank_clean(
        self, text: str, relevant: frozenset[str], top_k: int
    ) -> tuple[Demotion, Standing]:
        """Rank a query as it came; without relevant documents its own top hit becomes that."""
        vectors = self._encode([text])
        if not relevant:
            (hits,) = self._store.search(self._collection, vectors, 1)
            relevant = frozenset(hit.document.doc_id for hit in hits)
        question = Question(text, Demotion(relevant, top_k))
        return question.goal, next(self._stand([question], [(0, 0)], vectors))[1]

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        began = time.perf_counter()
        vectors = self._encode_texts(texts)
        self.encode_s += time.perf_counter() - began
        self.texts += len(texts)
        self.model_calls += 1
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise InferenceError(
                f"The encoder answered {len(texts)} texts with an array of shape {vectors.shape}; "
                f"expected ({len(texts)}, dim) finite numbers: check the artifact."
            )
        return vectors

    def _stand(
        self,
        questions: Sequence[Question],
        asked: list[tuple[int, int]],
        vectors: NDArray[np.float32],
    ) -> Iterator[tuple[int, Standing]]:
        """Search rows, shallow first; those whose document has not come up go deeper."""
        waiting: dict[int, list[tuple[int, int]]] = {}
        for index, row in asked:
            waiting.setdefault(_first_depth(questions[index].goal), []).append((index, row))
        while waiting:
            depth = min(waiting)
            pairs = waiting.pop(depth)
            rows = sorted({row for _, row in pairs})
            began = time.perf_counter()
            found = self._store.search(self._collection, vectors[rows], depth)
            self.search_s += time.perf_counter() - began
            hits_of = dict(zip(rows, found, strict=True))
            for index, row in pairs:
                hits = hits_of[row]
                standing = questions[index].goal.stand(hits, depth)
                if standing.rank is None and len(hits) == depth < SEARCH_DEPTH:
                    deeper = min(SEARCH_DEPTH, depth * _DEEPER)
                    waiting.setdefault(deeper, []).append((index, row))
                else:
                    yield index, standing


class _Pace:
    """Cuts work into batches that each take about ``_SLICE_S``, as far as the past tells."""

    def __init__(self) -> None:
        self._batch = _FIRST_BATCH

    def cut(self, items: Sequence[_T]) -> Iterator[Sequence[_T]]:
        start = 0
        while start < len(items):
            batch = items[start : start + self._batch]
            start += len(batch)
            yield batch

    def learn(self, spent_s: float, items: int) -> None:
        fitting = _SLICE_S / max(spent_s / items, 1e-9)
        if fitting >= 2 * self._batch:
            self._batch = min(_MOST_BATCH, self._batch * 2)
        elif fitting < self._batch:
            self._batch = max(_LEAST_BATCH, self._batch // 2)


def _first_depth(goal: Demotion) -> int:
    """As many hits as hold the k-th rival, whatever the relevant documents' ranks."""
    return min(SEARCH_DEPTH, goal.top_k + len(goal.relevant))
