"""Damaged files and engines that change what they are given are noticed."""

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import InvalidInputError, StoreError
from app.retrieval.documents import Document, Span

from .reference_store import ReferenceStore

pytest.importorskip("pyarrow", reason="pyarrow (the extra bulk) is not installed")

from app.bulk import exporting
from app.bulk.exchange import ExportFile
from app.bulk.exporting import export_collection

from .bulk_exports import everything, filled, load


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exporting, "GROUP_DOCUMENTS", 16)
    path = tmp_path / "notes.parquet"
    export_collection(filled(), "notes", path)
    return path


def test_damaged_file_is_refused_or_gives_the_same_documents(
    exported: Path, tmp_path: Path
) -> None:
    whole, dice = exported.read_bytes(), random.Random(3)
    refused: list[str] = []
    for trial in range(60):
        content = bytearray(whole)
        if trial % 4 == 0:
            del content[dice.randrange(len(content)) :]
        else:
            content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        exported.write_bytes(bytes(content))
        store = ReferenceStore()
        try:
            load(store, exported, tmp_path / f"ledger{trial}")
        except InvalidInputError as error:
            refused.append(error.message)
            assert store.made == {}
        else:  # a byte that says nothing, such as a statistic
            assert everything(store) == everything(filled())
    assert all("is no sound export" in message for message in refused)
    assert len(refused) > 40


def test_other_parquet_files_are_no_exports(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"doc_id": ["a"], "text": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="it has no metadata of an export"):
        ExportFile(tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="There is no file"):
        ExportFile(tmp_path / "absent.parquet")


class Meddling(ReferenceStore):
    """Changes what it is given, as a broken engine might."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def upsert(
        self,
        name: str,
        documents: Sequence[Document],
        vectors: NDArray[np.float32],
        spans: Sequence[Sequence[Span]] | None = None,
    ) -> int:
        documents, vectors = list(documents), vectors.copy()
        if self.how == "swaps":
            vectors[[0, 1]] = vectors[[1, 0]]
        elif self.how == "loses" and len(documents) > 3:
            assert spans is not None
            vectors = vectors[len(spans[0]) :]
            documents, spans = documents[1:], spans[1:]
        elif self.how == "edits":
            documents[0] = Document(documents[0].doc_id, documents[0].text + "!")
        elif self.how == "rounds":
            vectors = np.nextafter(vectors, np.float32(2))
        return super().upsert(name, documents, vectors, spans)


@pytest.mark.parametrize("how", ["swaps", "loses", "edits"])
def test_import_notices_an_engine_that_changes_documents(
    exported: Path, tmp_path: Path, how: str
) -> None:
    with pytest.raises(StoreError, match="are not the same"):
        load(Meddling(how), exported, tmp_path / "ledger")


def test_import_bears_an_engine_that_rounds_the_last_bit(exported: Path, tmp_path: Path) -> None:
    assert load(Meddling("rounds"), exported, tmp_path / "ledger") == "rounded"
