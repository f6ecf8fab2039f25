"""Texts to standings: full batches through ``Encode``, then one product or a search in the store.

Texts of all attacks go through together, each distinct one once, sorted by length. Where a
``Board`` holds the collection a batch is scored by one matrix product; otherwise the store is
asked, only as deep as the answer lies. A batch takes about a tenth of a second, so that a deadline
or a canceled request is noticed soon, but has at least eight texts: one at a time, as a machine
that is busy with other work would have it, costs an encoder of a few milliseconds half its speed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.errors import InferenceError
from app.retrieval.store import Encode, Hit, VectorStore
from app.robustness.board import Board
from app.robustness.goal import SEARCH_DEPTH, Goal, Standing
from app.robustness.report import Spent

_T = TypeVar("_T")
_DEEPER = 4
_SLICE_S = 0.1
_FIRST_BATCH, _LEAST_BATCH, _MOST_BATCH = 8, 8, 512
_ALONE = 32

Vectors = NDArray[np.float32]


class Question(NamedTuple):
    """A normalized text, and the goal that tells what to look for among its hits."""

    text: str
    goal: Goal


@dataclass(frozen=True, slots=True)
class Alone:
    """What a search request for one text shows.

    Attributes:
        vector: The text's vector, encoded in a batch of its own.
        hits: The first hits, as many as were asked for.
    """

    vector: Vectors
    hits: list[Hit]


class Ranker:
    """Ranks texts in one collection; counts what it spends.

    Attributes:
        texts: Texts encoded so far.
        model_calls: Batches encoded so far.
        encode_s: Seconds spent in ``Encode`` so far.
        search_s: Seconds spent in the store, and in products that stand for it, so far.
        board: The collection in memory, if it is held.
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
        self.board: Board | None = None

    def spent(self, tried: int) -> Spent:
        """Sum up the cost so far, ``tried`` perturbed texts among it."""
        return Spent(self.texts, self.model_calls, tried, self.encode_s, self.search_s)

    def rank(
        self, questions: Sequence[Question], cleans: Sequence[Vectors] = ()
    ) -> list[Standing | None]:
        """Rank texts, each distinct one once.

        Args:
            questions: What to rank.
            cleans: The vector of each question's clean query; may be left out if a board is held.

        Returns:
            A standing for each question, in their order; None for those not reached in time.
        """
        places: dict[str, list[int]] = {}
        for index, question in enumerate(questions):
            places.setdefault(question.text, []).append(index)
        standings: list[Standing | None] = [None] * len(questions)
        for texts in self._encoding.cut(sorted(places, key=len)):
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
                for index, standing in self._stand(questions, asked, vectors, cleans):
                    standings[index] = standing
                self._searching.learn(time.perf_counter() - began, len(rows))
        return standings

    def alone(
        self,
        texts: Sequence[str],
        depths: Sequence[int],
        stop: Callable[[], bool] | None = None,
    ) -> Iterator[Alone]:
        """Search for texts the way requests for them do: each encoded in a batch of its own.

        Args:
            texts: Normalized texts.
            depths: How many hits each needs.
            stop: Ends it early; None: when the time is over.
        """
        stop = stop or self._stop
        for start in range(0, len(texts), _ALONE):
            vectors: list[Vectors] = []
            for text in texts[start : start + _ALONE]:
                if stop():
                    break
                vectors.append(self._encode([text])[0])
            if not vectors:
                return
            yield from self._alone(vectors, depths[start : start + len(vectors)])

    def stand(self, goal: Goal, found: Alone, clean: Vectors, guess: int | None = None) -> Standing:
        """Read a text's standing off the store.

        Args:
            goal: What to look for.
            found: The text's first hits, at least as many as ``first_depth`` says.
            clean: The vector of the clean query.
            guess: Rank at which a document that is not among the hits should be; saves a search.
        """
        hits, depth = found.hits, len(found.hits)
        if not _followed(goal, hits) and guess and guess > depth:
            there = self._search(found.vector[None], 1, guess - 1)[0]
            if _followed(goal, [*hits, *there]):
                hits, depth = [*hits, *there], guess
        whole = len(found.hits) < first_depth(goal)
        while not whole and not _followed(goal, hits) and depth < SEARCH_DEPTH:
            depth = min(SEARCH_DEPTH, depth * _DEEPER)
            (hits,) = self._search(found.vector[None], depth)
            whole = len(hits) < depth
        return goal.stand(hits, depth, float(found.vector @ clean))

    def _alone(self, vectors: Sequence[Vectors], depths: Sequence[int]) -> Iterator[Alone]:
        found: dict[int, Alone] = {}
        for depth in sorted(set(depths)):
            rows = [row for row, wanted in enumerate(depths) if wanted == depth]
            hits = self._search(np.array([vectors[row] for row in rows]), depth)
            found |= {row: Alone(vectors[row], some) for row, some in zip(rows, hits, strict=True)}
        for row in range(len(vectors)):
            yield found[row]

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode texts in batches, and count them; an ``Encode``."""
        parts = [self._encode(part) for part in self._encoding.cut(texts)]
        return np.concatenate(parts)

    def _encode(self, texts: Sequence[str]) -> Vectors:
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

    def _search(self, vectors: Vectors, depth: int, offset: int = 0) -> list[list[Hit]]:
        began = time.perf_counter()
        found = self._store.search(self._collection, vectors, depth, offset=offset)
        self.search_s += time.perf_counter() - began
        return found

    def _stand(
        self,
        questions: Sequence[Question],
        asked: list[tuple[int, int]],
        vectors: Vectors,
        cleans: Sequence[Vectors],
    ) -> Iterator[tuple[int, Standing]]:
        if self.board is None:
            yield from self._searched(questions, asked, vectors, cleans)
            return
        began = time.perf_counter()
        goals = [questions[index].goal for index, _ in asked]
        found = self.board.stand(vectors[[row for _, row in asked]], goals)
        self.search_s += time.perf_counter() - began
        yield from zip([index for index, _ in asked], found, strict=True)

    def _searched(
        self,
        questions: Sequence[Question],
        asked: list[tuple[int, int]],
        vectors: Vectors,
        cleans: Sequence[Vectors],
    ) -> Iterator[tuple[int, Standing]]:
        """Search rows, shallow first; those whose document has not come up go deeper."""
        waiting: dict[int, list[tuple[int, int]]] = {}
        for index, row in asked:
            waiting.setdefault(first_depth(questions[index].goal), []).append((index, row))
        while waiting:
            depth = min(waiting)
            pairs = waiting.pop(depth)
            rows = sorted({row for _, row in pairs})
            hits_of = dict(zip(rows, self._search(vectors[rows], depth), strict=True))
            for index, row in pairs:
                hits, goal = hits_of[row], questions[index].goal
                if not _followed(goal, hits) and len(hits) == depth < SEARCH_DEPTH:
                    deeper = min(SEARCH_DEPTH, depth * _DEEPER)
                    waiting.setdefault(deeper, []).append((index, row))
                else:
                    cosine = float(vectors[row] @ cleans[index])
                    yield index, goal.stand(hits, depth, cosine)


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


def first_depth(goal: Goal) -> int:
    """As many hits as hold the k-th rival, whatever the followed documents' ranks."""
    return min(SEARCH_DEPTH, goal.top_k + max(1, sum(map(len, goal.followed))))


def _followed(goal: Goal, hits: Sequence[Hit]) -> bool:
    """Tell whether one document of each set that the goal is about is among the hits."""
    names = {hit.document.doc_id for hit in hits}
    return all(not names.isdisjoint(some) for some in goal.followed)
