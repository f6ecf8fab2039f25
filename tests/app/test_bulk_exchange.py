"""Collections out of and into files: nothing lost, nothing damaged taken, interruptions mended."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.bulk.checksum import Checksum
from app.bulk.ledger import Ledger
from app.cli import main
from app.errors import ConflictError, InvalidInputError, StoreError
from app.retrieval.documents import Document
from app.retrieval.store import Options

from .reference_store import ReferenceStore

pytest.importorskip("pyarrow", reason="pyarrow (the extra bulk) is not installed")

from app.bulk import exporting
from app.bulk.exchange import ExportFile, Rows, slices
from app.bulk.exporting import export_collection

from .bulk_exports import DIM, OPTIONS, everything, filled, load, unit


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exporting, "GROUP_DOCUMENTS", 16)
    path = tmp_path / "notes.parquet"
    export_collection(filled(), "notes", path)
    return path


def test_collection_comes_back_as_it_was(exported: Path, tmp_path: Path) -> None:
    store = ReferenceStore()
    assert load(store, exported, tmp_path / "ledger") == "identical"
    assert everything(store) == everything(filled())
    assert store.describe("notes") == filled().describe("notes")
    assert ExportFile(exported).groups == [16, 16, 16, 2]


def test_export_can_be_read_by_others(exported: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(exported)
    assert table.column_names == ["doc_id", "text", "lang", "metadata", "passages", "vectors"]
    row = table.slice(5, 1).to_pylist()[0]
    entry = filled().made["notes"].entries[row["doc_id"]]
    assert json.loads(row["metadata"]) == dict(entry.document.metadata)
    np.testing.assert_array_equal(np.float32(row["vectors"]), entry.vectors)
    head = json.loads(table.schema.metadata[b"tyntegra"])
    assert (head["model"], head["options"]["prompt"]) == ("tiny@000000000000", "passage: ")


def test_empty_collection_comes_back(tmp_path: Path) -> None:
    store, other = filled(0), ReferenceStore()
    export_collection(store, "notes", tmp_path / "a.parquet")
    assert load(other, tmp_path / "a.parquet", tmp_path / "ledger") == "identical"
    assert other.describe("notes") == store.describe("notes")


def test_export_replaces_a_file_only_when_told_and_leaves_no_half(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConflictError, match="--force"):
        export_collection(filled(), "notes", exported)
    before = exported.read_bytes()
    store = filled()
    scan, calls = store.scan, [0]

    def failing(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 2:
            raise StoreError("gone")
        return scan(*args, **kwargs)

    monkeypatch.setattr(store, "scan", failing)
    with pytest.raises(StoreError):
        export_collection(store, "notes", exported, replace=True)
    assert exported.read_bytes() == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


def test_import_into_another_collection_is_refused_by_what_differs(
    exported: Path, tmp_path: Path
) -> None:
    for dim, model, options, said in (
        (4, "tiny@000000000000", OPTIONS, "dim 4, not 8"),
        (DIM, "other@000000000000", OPTIONS, "other@000000000000"),
        (DIM, "tiny@000000000000", Options("full", "passage: "), "precision"),
        (DIM, "tiny@000000000000", Options("int8", "passage: "), "fields"),
    ):
        store = ReferenceStore()
        store.create("notes", dim, model, options)
        with pytest.raises(ConflictError, match=said):
            load(store, exported, tmp_path / "ledger")
        assert store.count("notes") == 0


def test_import_beside_other_documents_needs_to_be_told(exported: Path, tmp_path: Path) -> None:
    store = ReferenceStore()
    store.create("notes", DIM, "tiny@000000000000", OPTIONS)
    store.upsert("notes", [Document("mine", "x")], unit(np.random.default_rng(1), 1))
    with pytest.raises(ConflictError, match="has 1 documents; give another name with --as"):
        load(store, exported, tmp_path / "ledger")
    assert load(store, exported, tmp_path / "ledger", merge=True) == "identical"
    assert store.count("notes") == 51
    assert load(store, exported, tmp_path / "other", name="more") == "identical"


def test_import_that_was_interrupted_goes_on(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ReferenceStore()
    upsert, calls = store.upsert, [0]

    def failing(name: str, documents: Sequence[Document], *rest: Any) -> int:
        calls[0] += 1
        if calls[0] == 3:
            raise StoreError("The disk is full.")
        return upsert(name, documents, *rest)

    monkeypatch.setattr(store, "upsert", failing)
    with pytest.raises(StoreError, match="disk is full"):
        load(store, exported, tmp_path / "ledger")
    assert store.count("notes") == 32
    assert load(store, exported, tmp_path / "ledger") == "identical"
    assert calls[0] == 5  # two groups, the one that failed, and the two that were left
    assert everything(store) == everything(filled())
    # Its ledger says that all is there; a collection that is not is noticed.
    store.drop("notes")
    with pytest.raises(ConflictError, match="give --restart"):
        load(store, exported, tmp_path / "ledger")


def test_checksum_does_not_depend_on_order_and_sees_every_part() -> None:
    store = filled(12)
    page = store.scan("notes", limit=100, vectors=True)
    assert page.vectors is not None
    rows = Rows(page.documents, page.spans, page.vectors)

    def summed(parts: Sequence[Rows]) -> Checksum:
        checksum = Checksum(DIM)
        for part in parts:
            checksum.add(part.documents, part.spans, part.vectors)
        return checksum

    whole = summed([rows])
    assert whole.compare(summed(list(slices(rows, 5))[::-1])) == "identical"
    assert Checksum.from_json(DIM, whole.to_json()).compare(whole) == "identical"
    first = rows.documents[0]
    for changed in (
        Document("e", first.text),
        Document(first.doc_id, "other"),
        Document(first.doc_id, first.text, "swh_Latn"),
        Document(first.doc_id, first.text, None, {"a": 1}),
    ):
        other = Rows([changed, *rows.documents[1:]], rows.spans, rows.vectors)
        assert whole.compare(summed([other])) == "different"
    spans = [[(0, 1)] * len(some) for some in rows.spans]
    assert whole.compare(summed([Rows(rows.documents, spans, rows.vectors)])) == "different"
    # Numbers are compared by value, as filters do.
    seven = [Document("a", "x", None, {"n": value}) for value in (7, 7.0)]
    one = [summed([Rows([document], [[(0, 1)]], rows.vectors[:1])]) for document in seven]
    assert one[0].compare(one[1]) == "identical"


def test_commands_move_a_collection_between_stores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {"one": filled(), "two": ReferenceStore()}

    def open_store(settings: Any) -> ReferenceStore:
        store = stores[settings.state.name]
        store.closed = False
        return store

    monkeypatch.setattr("app.opening.open_store", open_store)
    path = str(tmp_path / "a.parquet")
    where = ("--state", str(tmp_path / "one"))
    assert main(["index", "export", "notes", path, *where]) == 0
    out = json.loads(capsys.readouterr().out)
    assert (out["documents"], out["passages"]) == (50, 99)
    where = ("--state", str(tmp_path / "two"))
    assert main(["index", "import", path, "--as", "copy", *where]) == 0
    back = json.loads(capsys.readouterr().out)
    assert (back["exact"], back["vectors"]) == (out["exact"], "identical")
    assert everything(stores["two"], "copy") == everything(filled())
    assert main(["index", "export", "absent", path + "2", *where]) == 1
    assert "There is no collection absent" in capsys.readouterr().err
    assert main(["index", "import", path, "--as", "copy", *where]) == 1
    assert "has 50 documents" in capsys.readouterr().err


def test_ledger_of_another_import_is_refused(exported: Path, tmp_path: Path) -> None:
    load(ReferenceStore(), exported, tmp_path / "ledger")
    store = filled(10)
    export_collection(store, "notes", tmp_path / "other.parquet")
    with pytest.raises(InvalidInputError, match="belongs to another job"):
        load(ReferenceStore(), tmp_path / "other.parquet", tmp_path / "ledger")
    Ledger(tmp_path / "ledger").close()


def test_reserved_names_are_neither_exported_nor_imported(exported: Path, tmp_path: Path) -> None:
    store, hidden = filled(), "tyntegra--reindex-0"
    with pytest.raises(InvalidInputError, match="begins with tyntegra--"):
        export_collection(store, hidden, tmp_path / "hidden.parquet")
    with pytest.raises(InvalidInputError, match="begins with tyntegra--"):
        load(store, exported, tmp_path / "ledger", name=hidden)
    assert [one.name for one in store.collections()] == ["notes"]
    assert not (tmp_path / "hidden.parquet").exists()
