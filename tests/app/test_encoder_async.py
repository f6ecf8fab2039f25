"""The encoder as a server asks it: room in the queue, cancelled requests, a free event loop."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.encoder.encoded import Encoded
from app.encoder.encoder import TextEncoder
from app.errors import (
    InvalidInputError,
    OverloadedError,
    TooLargeError,
)

TIMEOUT_S = 20


@pytest.fixture(scope="module", params=["int8", "fp32"])
def encoder(request: pytest.FixtureRequest, tiny_artifact: Path) -> Iterator[TextEncoder]:
    opened = TextEncoder.open(tiny_artifact, device="cpu", precision=request.param)
    yield opened
    opened.close()


class Gate:
    """Holds an encoder's session until it is opened."""

    def __init__(self, encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self.runs: list[int] = []
        worker = encoder._batcher._workers[0]
        run = worker.run

        def gated(rows: list[list[int]]) -> np.ndarray:
            self.runs.append(len(rows))
            assert self._open.wait(TIMEOUT_S)
            return run(rows)

        monkeypatch.setattr(worker, "run", gated)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def narrow(tiny_artifact: Path) -> Iterator[TextEncoder]:
    """An encoder whose queue holds 20 texts."""
    opened = TextEncoder.open(tiny_artifact, device="cpu", queue_texts=20)
    yield opened
    opened.close()


def test_encode_async_windows_take_room_in_the_queue(narrow: TextEncoder) -> None:
    text = " ".join(f"maize{n}" for n in range(800))

    with pytest.raises(TooLargeError, match="at most 20"):
        asyncio.run(narrow.encode_async([text], "document", windows=True))
    assert narrow.waiting_texts == 0
    medium = " ".join(text.split()[:100])
    encoded = asyncio.run(narrow.encode_async([medium] * 2, "document", windows=True))
    expected = narrow.encode([medium], "document", windows=True)
    np.testing.assert_allclose(encoded.vectors[1], expected.vectors[0], rtol=0, atol=1e-6)


def test_encode_ids_async_gives_what_the_text_gives(encoder: TextEncoder) -> None:
    texts = ["water the maize", "x"]
    rows = [row.ids for row in encoder._reader.tokenizer.tokenize(texts, "query")]

    encoded = asyncio.run(encoder.encode_ids_async(rows))

    expected = encoder.encode(texts, "query")
    np.testing.assert_allclose(encoded.vectors, expected.vectors, rtol=0, atol=1e-6)
    assert encoded.tokens == expected.tokens
    assert encoded.windows == [1, 1]


def test_encode_ids_async_bad_ids_are_refused_and_give_their_room_back(
    narrow: TextEncoder,
) -> None:
    for rows in ([[5], []], [[5], [-1]], [[10**6]], [[True]]):
        with pytest.raises(InvalidInputError, match=r"inputs\["):
            asyncio.run(narrow.encode_ids_async(rows))
    with pytest.raises(TooLargeError, match="65 tokens"):
        asyncio.run(narrow.encode_ids_async([[5] * 65]))
    with pytest.raises(InvalidInputError, match="got no texts"):
        asyncio.run(narrow.encode_ids_async([]))
    assert narrow.waiting_texts == 0


@pytest.mark.parametrize("count", [1, 100])
def test_encode_async_gives_what_blocking_gives(encoder: TextEncoder, count: int) -> None:
    texts = [f"water the maize {n}" for n in range(count)]

    encoded = asyncio.run(encoder.encode_async(texts, "query", dimensions=64))

    expected = encoder.encode(texts, "query")
    np.testing.assert_allclose(encoded.vectors, expected.vectors, rtol=0, atol=1e-6)
    assert encoded.tokens == expected.tokens


def test_encode_async_no_texts_is_refused(encoder: TextEncoder) -> None:
    with pytest.raises(InvalidInputError, match="got no texts"):
        asyncio.run(encoder.encode_async([], "query"))


def test_encode_async_full_queue_is_overloaded_and_recovers(
    narrow: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(narrow, monkeypatch)

    async def flood() -> tuple[int, int]:
        calls = [
            asyncio.create_task(narrow.encode_async(["a", "b", "c"], "query")) for _ in range(10)
        ]
        _, pending = await asyncio.wait(calls, timeout=1, return_when=asyncio.FIRST_EXCEPTION)
        assert len(pending) == 6
        gate.open()
        results = await asyncio.gather(*calls, return_exceptions=True)
        refused = [result for result in results if isinstance(result, OverloadedError)]
        return len(results) - len(refused), len(refused)

    # 20 texts of room are six requests of three; the others are refused before any work.
    assert asyncio.run(flood()) == (6, 4)
    assert narrow.waiting_texts == 0


def test_encode_async_request_larger_than_the_queue_is_too_large(narrow: TextEncoder) -> None:
    with pytest.raises(TooLargeError, match="at most 20"):
        asyncio.run(narrow.encode_async(["a"] * 21, "query"))


def test_encode_async_invalid_text_gives_its_room_back(narrow: TextEncoder) -> None:
    for count in (2, 15):  # on the loop, and in a thread
        with pytest.raises(InvalidInputError):
            asyncio.run(narrow.encode_async(["fine"] * (count - 1) + [""], "query"))

    assert narrow.waiting_texts == 0


def test_encode_async_cancelled_request_leaves_the_queue(
    narrow: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(narrow, monkeypatch)

    async def cancel() -> None:
        first = asyncio.create_task(narrow.encode_async(["first"], "query"))
        while not gate.runs:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(narrow.encode_async(["second"] * 8, "query"))
        await asyncio.sleep(0.05)
        assert narrow.waiting_texts == 9
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert narrow.waiting_texts == 1
        gate.open()
        await first

    asyncio.run(cancel())
    assert gate.runs == [1]


def test_encode_async_large_request_leaves_the_loop_free(
    encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    tokenize = encoder._reader.tokenizer.tokenize

    def slow(*arguments: object, **options: object) -> object:
        inside.set()
        assert go_on.wait(TIMEOUT_S)
        return tokenize(*arguments, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(encoder._reader.tokenizer, "tokenize", slow)

    async def embed() -> int:
        call = asyncio.create_task(encoder.encode_async(["text"] * 100, "query"))
        while not inside.is_set():
            await asyncio.sleep(0.005)
        # Reached only if the loop runs on while the tokenizer is held.
        go_on.set()
        return len((await call).vectors)

    assert asyncio.run(embed()) == 100


def test_encode_tells_where_the_time_went(
    narrow: TextEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(narrow, monkeypatch)

    async def two() -> tuple[Encoded, Encoded]:
        first = asyncio.create_task(narrow.encode_async(["first"], "query"))
        while not gate.runs:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(narrow.encode_async(["second"], "query"))
        await asyncio.sleep(0.1)
        gate.open()
        return await first, await second

    first, second = asyncio.run(two())

    # The first was in the model for as long as the second waited for it.
    assert first.timings.inference_s >= 0.1 > first.timings.queue_s
    assert second.timings.queue_s >= 0.09 > second.timings.inference_s
    assert 0 < second.timings.tokenize_s < 1
