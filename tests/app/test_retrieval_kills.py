"""The count of the benchmark that kills writers: what it must see, and what is no half."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from app.retrieval.edge import EdgeStore

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("retrieval_kills")


def put(kills: ModuleType, root: Path, version: int, numbers: list[int]) -> None:
    store = EdgeStore.open(root, reserve_bytes=0)
    store.create(kills.NAME, kills.DIM, "bench")
    made = [kills.written(number, version) for number in numbers]
    rows = [
        kills.rows_of(number, version, len(spans))
        for number, (_, spans) in zip(numbers, made, strict=True)
    ]
    documents, spans = [document for document, _ in made], [some for _, some in made]
    store.upsert(kills.NAME, documents, np.concatenate(rows), spans)
    store.close()


def test_documents_of_an_earlier_run_are_no_halves_of_a_call(
    kills: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(kills, tmp_path, 1, [1, 2, 3])
    put(kills, tmp_path, 2, [2])
    begun: list[int] = []

    def killed(root: Path, first: int, delay_s: float) -> list[list[object]]:
        begun.append(first)
        return [["begin", first, [1, 2, 3]]]  # before it wrote anything

    monkeypatch.setattr(kills, "_killed", killed)
    found = kills.kill_rounds(tmp_path, 2, others=0)
    assert begun == [3, 4]
    assert (found["lost"], found["half_documents"], found["acknowledged"]) == (0, 0, 0)


def test_calls_that_are_half_there_or_lost_are_counted(
    kills: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(root: Path, first: int, delay_s: float) -> list[list[object]]:
        put(kills, root, first, [1])
        return [["begin", first, [1, 2]]]

    def lost(root: Path, first: int, delay_s: float) -> list[list[object]]:
        return [["begin", first, [1, 2]], ["end", first]]

    put(kills, tmp_path, 1, [5])
    monkeypatch.setattr(kills, "_killed", half)
    assert kills.kill_rounds(tmp_path, 1, others=0)["half_documents"] == 1
    monkeypatch.setattr(kills, "_killed", lost)
    found = kills.kill_rounds(tmp_path, 1, others=0)
    assert (found["lost"], found["acknowledged"]) == (2, 2)
