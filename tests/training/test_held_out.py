from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from app.retrieval.store import Encode
from training.corpus import CorpusError, load_bitext
from training.held_out import HeldOut
from training.registry import Corpus


def row(query: str, document: str, lang: str = "swh_Latn") -> dict[str, Any]:
    return {
        "query": query,
        "document": document,
        "lang_query": lang,
        "lang_document": "eng_Latn",
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Sequence[dict[str, Any]]], Path]:
    def to_file(rows: Sequence[dict[str, Any]]) -> Path:
        path = tmp_path / "held.parquet"
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path

    return to_file


def encode_as(role: str) -> Encode:
    """Point a text along the axis of its number; documents are turned, so that roles matter."""

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        numbers = [int(text.split()[-1]) + (role == "document") for text in texts]
        return np.eye(9, dtype=np.float32)[numbers]

    return encode


def test_figures_hand_computed(write: Any) -> None:
    rows = [
        row("a 1", "x 0"),  # right: a document is turned by one
        row("a 1", "x 5"),  # its other document, which is far
        row("a 2", "x 3"),  # wrong
        row("b 3", "x 2", "yor_Latn"),  # right
        row("b 4", "x 3", "yor_Latn"),  # right
        row("b 5", "x 4", "yor_Latn"),  # a tie of two documents: not found
        row("b 8", "y 4", "yor_Latn"),
    ]
    held_out = HeldOut.read(write(rows))
    assert len(held_out.queries) == 6
    assert len(held_out.documents) == 6
    found = held_out.figures(encode_as)
    assert found == {"held-out": 0.5, "held-out:swh_Latn": 0.5, "held-out:yor_Latn": 0.5}


def test_figures_of_more_queries_than_a_block(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(f"a{i} {i % 7 + 1}", f"x {i % 7 if i % 2 else (i + 1) % 7}") for i in range(60)]
    held_out = HeldOut.read(write(rows))
    whole = held_out.figures(encode_as)
    assert 0.3 < whole["held-out"] < 0.7
    monkeypatch.setattr("training.held_out._BLOCK", 7)
    assert held_out.figures(encode_as) == whole


def test_read_one_document_is_refused(write: Any) -> None:
    with pytest.raises(CorpusError, match="one document only"):
        HeldOut.read(write([row("a 1", "x 1"), row("a 2", "x 1")]))


def test_read_says_what_it_leaves_out(write: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = [row("a 1", "x 1"), row("a 2", "x 2"), row("a 3", "x 3", "Swahili")]
    assert len(HeldOut.read(write(rows)).queries) == 2
    assert "1 rows left out: language code" in caplog.text


def test_warn_of_leaks_counts_texts_that_are_trained_on(
    write: Any, caplog: pytest.LogCaptureFixture
) -> None:
    path = write([row("a 1", "x 1"), row("a 2", "x 2")])
    bitext = load_bitext(Path(), [Corpus("own", "none", False, path=str(path))])
    HeldOut.read(write([row("a 1", "x 7"), row("a 5", "x 8")])).warn_of_leaks(bitext)
    assert "1 of 2 held-out queries are trained on too" in caplog.text
    assert "documents" not in caplog.text
