"""The cache of vectors: the same answers, within its bound, never another encoder's."""

import asyncio
import tracemalloc
from collections.abc import Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from app.encoder.cache import ENTRY_BYTES, Asked, VectorCache
from app.encoder.encoded import Encoded, Timings
from app.errors import InvalidInputError, OverloadedError, TooLargeError

DIM = 16
ENTRY = ENTRY_BYTES + 4 * DIM + 33
"""Bytes of an entry: 33 is what a bytes object takes beside its content."""
ASKED = Asked("a@1 fp32", "query")


class Computing:
    """An encoder that remembers what it was asked; vectors depend on text and seed alone."""

    def __init__(self, seed: int = 0, longest: int = 100) -> None:
        self.seed, self.longest = seed, longest
        self.asked: list[list[str]] = []

    async def __call__(self, texts: Sequence[str]) -> Encoded:
        self.asked.append(list(texts))
        for index, text in enumerate(texts):
            if text == "bad":
                raise InvalidInputError(f"inputs[{index}] is bad")
        rows = [self.vector(text) for text in texts]
        lengths = [len(text) for text in texts]
        await asyncio.sleep(0)
        return Encoded(
            vectors=np.stack(rows),
            truncated=[length > self.longest for length in lengths],
            tokens=sum(lengths),
            lengths=lengths,
            windows=[1 + length // 50 for length in lengths],
            timings=Timings(1.0, 2.0, 3.0),
        )

    def vector(self, text: str) -> Any:
        drawn = np.random.default_rng([self.seed, *text.encode()]).standard_normal(DIM)
        return drawn.astype(np.float32)


def encode(cache: VectorCache, texts: Sequence[str], how: Any, asked: Asked = ASKED) -> Encoded:
    return asyncio.run(cache.encode(texts, asked, how))


def same(one: Encoded, other: Encoded) -> bool:
    facts = [(e.truncated, e.tokens, e.lengths, e.windows) for e in (one, other)]
    return np.array_equal(one.vectors, other.vectors) and facts[0] == facts[1]


def test_cache_answers_bit_by_bit_what_was_computed() -> None:
    cache, how = VectorCache(1 << 20), Computing()
    texts = ["maji", "safi " * 30, "maji", "uhai"]
    plain = asyncio.run(how(texts))
    first, second = encode(cache, texts, how), encode(cache, texts, how)
    assert same(plain, first)
    assert same(plain, second)
    assert first.timings == Timings(1.0, 2.0, 3.0)
    assert second.timings == Timings()
    assert how.asked[1:] == [["maji", "safi " * 30, "uhai"]]
    assert (cache.hits, cache.misses, len(cache)) == (4, 4, 3)


def test_cache_computes_only_what_it_lacks_and_keeps_the_order() -> None:
    cache, how = VectorCache(1 << 20), Computing()
    encode(cache, ["b", "d"], how)
    mixed = encode(cache, ["a", "b", "c", "d"], how)
    assert how.asked[-1] == ["a", "c"]
    assert np.array_equal(mixed.vectors, [how.vector(text) for text in "abcd"])


@pytest.mark.parametrize(
    "other",
    [
        Asked("b@1 fp32", "query"),
        Asked("a@1 int8", "query"),
        Asked("a@1 fp32", "document"),
        Asked("a@1 fp32", "query", windows=True),
        Asked("a@1 fp32", "query", dimensions=8),
    ],
)
def test_cache_never_answers_for_another_model_or_way(other: Asked) -> None:
    cache, one, two = VectorCache(1 << 20), Computing(1), Computing(2)
    encode(cache, ["maji"], one)
    answer = encode(cache, ["maji"], two, other)
    assert np.array_equal(answer.vectors[0], two.vector("maji"))
    assert len(cache) == 2


def test_cache_does_not_give_a_cut_text_to_who_refuses_cuts() -> None:
    cache, how = VectorCache(1 << 20), Computing()

    async def strict(texts: Sequence[str]) -> Encoded:
        raise TooLargeError(f"{len(texts)} texts, one too long")

    whole = Asked(ASKED.model, ASKED.input_type, truncate=False)
    encode(cache, ["short", "long" * 100], how)
    assert encode(cache, ["short"], strict, whole).truncated == [False]
    with pytest.raises(TooLargeError, match="2 texts"):
        encode(cache, ["short", "long" * 100], strict, whole)


def test_cache_bytes_stay_within_the_bound_and_the_oldest_go_first() -> None:
    cache, how = VectorCache(3 * ENTRY), Computing()
    for text in "abc":
        encode(cache, [text], how)
    assert (cache.bytes, cache.evictions) == (3 * ENTRY, 0)
    encode(cache, ["a"], how)  # now b is the one not used for longest
    encode(cache, ["d"], how)
    assert (cache.bytes, cache.evictions) == (3 * ENTRY, 1)
    asked = len(how.asked)
    encode(cache, ["a", "c", "d"], how)
    assert len(how.asked) == asked
    encode(cache, ["b"], how)
    assert how.asked[-1] == ["b"]


def test_cache_smaller_than_a_request_still_answers_it() -> None:
    cache, how = VectorCache(2 * ENTRY), Computing()
    texts = [str(number) for number in range(10)]
    assert same(encode(cache, texts, how), asyncio.run(how(texts)))
    assert cache.bytes <= 2 * ENTRY


def test_cache_memory_is_at_most_what_it_counts() -> None:
    """Long texts, a full cache turned over thrice: no text stays, and the count holds."""
    entries = 5000
    cache = VectorCache(entries * ENTRY)

    async def cheap(texts: Sequence[str]) -> Encoded:
        none = [False] * len(texts)
        lengths = [len(text) for text in texts]
        vectors = np.ones((len(texts), DIM), np.float32)
        return Encoded(vectors, none, sum(lengths), lengths, lengths, Timings())

    async def turn_over() -> None:
        for start in range(0, 3 * entries, 500):
            texts = [f"{number} {'x' * 5000}" for number in range(start, start + 500)]
            await cache.encode(texts, ASKED, cheap)

    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        asyncio.run(turn_over())
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(cache) == entries
    assert 0.5 * cache.bytes < used <= cache.bytes


def test_cache_counts_a_refused_text_where_the_caller_has_it() -> None:
    cache, how = VectorCache(1 << 20), Computing()
    encode(cache, ["a", "b"], how)
    with pytest.raises(InvalidInputError, match=r"inputs\[2\]"):
        encode(cache, ["a", "b", "bad"], how)
    assert len(cache) == 2


def test_cache_keeps_nothing_of_what_failed() -> None:
    cache = VectorCache(1 << 20)

    async def overloaded(texts: Sequence[str]) -> Encoded:
        raise OverloadedError("full")

    with pytest.raises(OverloadedError):
        encode(cache, ["a"], overloaded)
    assert (len(cache), cache.bytes) == (0, 0)


def test_cache_asked_from_many_threads_stays_right() -> None:
    cache, how = VectorCache(20 * ENTRY), Computing()
    rng = np.random.default_rng(0)
    draws = [[str(number) for number in rng.integers(40, size=8)] for _ in range(200)]

    async def all_at_once() -> None:
        def one(texts: list[str]) -> bool:
            work: Coroutine[Any, Any, Encoded] = cache.encode(texts, ASKED, how)
            found = asyncio.run(work).vectors
            return np.array_equal(found, [how.vector(text) for text in texts])

        assert all(await asyncio.gather(*(asyncio.to_thread(one, texts) for texts in draws)))

    asyncio.run(all_at_once())
    assert cache.bytes == len(cache) * ENTRY <= 20 * ENTRY
    assert cache.hits + cache.misses == 1600


def test_cache_clear_forgets_all() -> None:
    cache, how = VectorCache(1 << 20), Computing()
    encode(cache, ["a"], how)
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)
    encode(cache, ["a"], how)
    assert len(how.asked) == 2


@pytest.mark.anyio
async def test_service_answers_all_routes_from_its_cache_and_counts(start: Any) -> None:
    async with start(cache_mb=1) as running:
        await running.client.put("/collections/a")
        first = await running.client.post("/embed", json={"inputs": ["a", "b"]})
        running.encoder.encode_async = None  # whatever asks it now fails
        again = await running.client.post("/embed", json={"inputs": ["b", " a\n"]})
        body = {"model": "fake", "input": "a", "input_type": "query"}
        apart = await running.client.post("/v1/embeddings", json=body)
        query = await running.client.post("/search", json={"collection": "a", "queries": "a"})
        metrics = (await running.client.get("/metrics")).text
    assert again.json()["embeddings"] == first.json()["embeddings"][::-1]
    assert again.json()["usage"] == first.json()["usage"]
    assert float(again.headers["x-tyntegra-inference-ms"]) == 0
    assert query.status_code == 200
    assert apart.status_code == 500  # its windows make it another way to encode
    for line in ("cache_hits_total 3.0", "cache_misses_total 3.0", "cache_evictions_total 0.0"):
        assert f"tyntegra_{line}" in metrics
    assert f"tyntegra_cache_bytes {2 * (ENTRY_BYTES + 4 * 32 + 33):.1f}" in metrics


@pytest.mark.anyio
async def test_service_has_no_cache_by_default(start: Any) -> None:
    async with start() as running:
        assert running.service.cache is None
        assert "tyntegra_cache" not in (await running.client.get("/metrics")).text
