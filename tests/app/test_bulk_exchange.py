"""Collections out of and into files: nothing lost, nothing damaged taken, interruptions mended."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.bulk.checksum import Checksum
from app.bulk.ledger import Ledger
from app.cli import main
from app.errors import ConflictError, InvalidInputError, StoreError
from app.retrieval.documents import Document, Span
from app.retrieval.store import Options

from .reference_store import ReferenceStore

pytest.importorskip("pyarrow", reason="pyarrow (the extra bulk) is not installed")

from app.bulk import exporting
from app.bulk.exchange import ExportFile, Rows, slices
from app.bulk.exporting import export_collection
from app.bulk.importing import import_collection, open_ledger

DIM = 8
OPTIONS = Options("int8", "passage: ", {"year": "integer"}, 64, 48)


def unit(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def filled(documents: int = 50) -> ReferenceStore:
    """A store with a collection of documents of one to three passages."""
    store, rng = ReferenceStore(), np.random.default_rng(0)
    store.create("notes", DIM, "tiny@000000000000", OPTIONS)
    made = [
        Document(
            f"d{n}",
            f"ወይን {n} " + "x" * n,
            "amh_Ethi" if n % 2 else None,
            {"year": 1900 + n, "score": n / 4, "ok": n % 3 == 0, "tag": f"é{n}"} if n % 5 else {},
        )
        for n in range(documents)
    ]
    spans = [[(k, len(d.text)) for k in range(1 + n % 3)] for n, d in enumerate(made)]
    store.upsert("notes", made, unit(rng, sum(map(len, spans))), spans)
    return store


def everything(store: ReferenceStore, name: str = "notes") -> dict[str, Any]:
    return {
        doc_id: (entry.document, list(entry.spans), entry.vectors.tobytes())
        for doc_id, entry in store.made[name].entries.items()
    }


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(exporting, "GROUP_DOCUMENTS", 16)
    path = tmp_path / "notes.parquet"
    export_collection(filled(), "notes", path)
    return path


def load(
    store: ReferenceStore, path: Path, ledger: Path, name: str = "notes", **chosen: Any
) -> str:
    file = ExportFile(path)
    with open_ledger(ledger, file, name, "memory") as opened:
        return import_collection(store, file, name, opened, **chosen)


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
