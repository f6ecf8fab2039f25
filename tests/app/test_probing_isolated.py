"""Probes in processes of their own: the same answer, cancelling, and processes that die."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

import app.probing.isolated as isolated
from app.errors import InferenceError, NotFoundError
from app.probing.courtesy import Courtesy, Traffic
from app.probing.describe import describe_report, write
from app.probing.isolated import CanceledError, Host, Task, run_isolated
from app.retrieval.documents import Document
from app.robustness.neighbors import EncodedNeighbors
from app.robustness.probe import run_probe
from app.robustness.request import Budget, ProbeQuery, ProbeRequest
from app.robustness.resources import Resources, vocabulary
from app.text.lexicon import load_lexicon

from .conftest import DIM, fake_encode
from .reference_store import ReferenceStore

TEXTS = [
    f"{verb} the {noun} {place}"
    for verb in ("boil", "plant", "carry", "sell")
    for noun in ("water", "maize", "cattle", "milk")
    for place in ("by the river", "in the rain", "at the market")
]


@pytest.fixture(scope="module")
def store() -> ReferenceStore:
    store = ReferenceStore()
    store.create("a", DIM, "fake")
    documents = [a_document(number, text) for number, text in enumerate(TEXTS)]
    store.upsert("a", documents, fake_encode(TEXTS))
    return store


def a_document(number: int, text: str) -> Any:
    return Document(f"d{number}", text, "eng_Latn")


def a_request(count: int = 6, **budget: Any) -> ProbeRequest:
    chosen = {"edits": 2, "queries": 24, "seconds": 60.0} | budget
    return ProbeRequest(
        "a",
        tuple(ProbeQuery(f"q{n}", TEXTS[n * 5], "eng_Latn") for n in range(count)),
        ("typo", "spacing", "synonym", "token_neighbor"),
        Budget(**chosen),
        top_k=1,
    )


def host(store: ReferenceStore, encode: Any = fake_encode) -> Host:
    return Host(encode, store, Courtesy(Traffic(), 1.0))


def ignore(_: Mapping[str, Any]) -> None:
    pass


def test_run_isolated_finds_what_a_probe_in_this_process_finds(store: ReferenceStore) -> None:
    told: list[Mapping[str, Any]] = []
    outcome = run_isolated(Task(a_request()), host(store), lambda: False, told.append)
    neighbors = EncodedNeighbors(vocabulary(load_lexicon()), fake_encode)
    here = run_probe(
        a_request(), fake_encode, store, resources=Resources(token_neighbors=neighbors.ready)
    )
    found, expected = orjson.loads(outcome.report), orjson.loads(write(describe_report(here)))
    assert found["status"] == "complete"
    for name in ("results", "summary", "digest", "cells", "curves", "languages", "limits"):
        assert found[name] == expected[name]
    rate = outcome.brief["attack_success_rate"]
    assert rate["n"] == expected["summary"]["attack_success_rate"]["n"]


def test_run_isolated_cancelled_gives_what_it_has_within_a_second(store: ReferenceStore) -> None:
    stop = threading.Event()
    told: list[Mapping[str, Any]] = []

    def slow(texts: Sequence[str]) -> NDArray[np.float32]:
        time.sleep(0.02)
        return fake_encode(texts)

    def progress(now: Mapping[str, Any]) -> None:
        told.append(now)
        if now["tried"]:
            stop.set()

    began: list[float] = []
    threading.Thread(
        target=lambda: (stop.wait(30), began.append(time.monotonic())), daemon=True
    ).start()
    outcome = run_isolated(
        Task(a_request(7, queries=4096)),
        host(store, slow),
        stop.is_set,
        progress,
    )
    assert time.monotonic() - began[0] < 1
    found = orjson.loads(outcome.report)
    assert found["status"] == "partial"
    assert found["reason"] == "The caller canceled."
    assert told[-1]["tried"] > 0


def test_run_isolated_cancelled_before_it_searched_ends_at_once(store: ReferenceStore) -> None:
    began = time.monotonic()
    with pytest.raises(CanceledError, match="before it had searched"):
        run_isolated(Task(a_request()), host(store), lambda: True, ignore)
    assert time.monotonic() - began < 1


def test_run_isolated_raises_what_store_and_encoder_say(store: ReferenceStore) -> None:
    request = ProbeRequest("none", (ProbeQuery("q", "a"),), ("typo",))
    with pytest.raises(NotFoundError, match="none"):
        run_isolated(Task(request), host(store), lambda: False, ignore)

    def broken(texts: Sequence[str]) -> NDArray[np.float32]:
        raise InferenceError("node 7 failed")

    with pytest.raises(InferenceError, match="node 7"):
        run_isolated(Task(a_request()), host(store, broken), lambda: False, ignore)


def test_run_isolated_process_that_is_killed_is_said(
    store: ReferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = isolated._start

    def remember(descriptor: int) -> Any:
        started.append(start(descriptor))
        return started[-1]

    def kill(texts: Sequence[str]) -> NDArray[np.float32]:
        os.kill(started[0].pid, signal.SIGKILL)
        return fake_encode(texts)

    monkeypatch.setattr(isolated, "_start", remember)
    with pytest.raises(InferenceError, match="status -9"):
        run_isolated(Task(a_request()), host(store, kill), lambda: False, ignore)
    assert started[0].poll() is not None


def test_guest_may_not_write(store: ReferenceStore) -> None:
    guest = isolated._Guest(None, None, host(store), ignore)  # type: ignore[arg-type]
    with pytest.raises(InferenceError, match="may not"):
        raise isolated._error(*guest._answer("store", ("drop", ("a",), {}))[1])
    assert store.describe("a").count == len(TEXTS)


def test_courtesy_rests_in_proportion_only_while_others_ask() -> None:
    rests: list[float] = []
    now = [0.0]
    traffic = Traffic(lambda: now[0])
    courtesy = Courtesy(traffic, 0.25, sleep=rests.append)
    courtesy.rest(0.01)
    assert rests == []
    with traffic:
        courtesy.rest(0.01)
    now[0] = 0.5
    courtesy.rest(0.02)
    now[0] = 1.5
    courtesy.rest(0.02)
    assert rests == pytest.approx([0.03, 0.06])


def test_courtesy_cuts_texts_into_slices_while_others_ask() -> None:
    sizes: list[int] = []
    now = [0.0]

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        sizes.append(len(texts))
        now[0] += 0.001 * len(texts)
        return np.arange(len(texts), dtype=np.float32)[:, None]

    traffic = Traffic()
    courtesy = Courtesy(traffic, 0.5, sleep=lambda _: None, clock=lambda: now[0])
    politely = courtesy.encode(encode)
    assert politely(["a"] * 100).shape == (100, 1)
    assert sizes == [100]
    sizes.clear()
    with traffic:
        assert politely(["a"] * 100).shape == (100, 1)
    assert sum(sizes) == 100
    assert max(sizes[5:]) <= 4
