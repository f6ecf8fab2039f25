"""Documents straight into a store: the same as through the service, and who holds what."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.api.state import Openers
from app.bulk.direct import StoreSink
from app.bulk.service import ServiceSink
from app.bulk.target import Target, default_ledger
from app.cli import main
from app.errors import ConflictError, InvalidInputError
from app.hidden import hidden_name
from app.main import create_app, open_encoder
from app.retrieval.documents import Document
from app.retrieval.edge.store import EdgeStore
from app.server import bind, build_server
from app.settings import Settings
from app.windows import Windows

from .reference_store import ReferenceStore

DOCUMENTS = [
    Document("a", "one two three. four five six. " * 6, "eng_Latn", {"year": 1990}),
    Document("b", "  short\tand\u0007 odd  "),
    Document("c", "ñandú e\u0301 " * 40, "spa_Latn"),
    Document("d", "x"),
]
FIELDS: Any = {"year": "integer"}


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> ReferenceStore:
    made = ReferenceStore()

    def open_store(_: Settings) -> ReferenceStore:
        made.closed = False
        return made

    monkeypatch.setattr("app.opening.open_store", open_store)
    return made


def target_of(artifact: Path, tmp_path: Path, **chosen: Any) -> Target:
    settings = {"artifact": str(artifact), "state": str(tmp_path / "state")}
    return Target("notes", settings=settings | chosen.pop("settings", {}), **chosen)


def held(store: ReferenceStore) -> dict[str, Any]:
    entries = store.made["notes"].entries.items()
    return {doc_id: (e.document, e.spans, np.round(e.vectors, 5).tolist()) for doc_id, e in entries}


@pytest.mark.parametrize("windows", [None, Windows(16, 12)])
def test_direct_and_through_the_service_give_the_same(
    store: ReferenceStore, tiny_artifact: Path, tmp_path: Path, windows: Windows | None
) -> None:
    target = target_of(tiny_artifact, tmp_path, fields=FIELDS, windows=windows)
    sink = StoreSink.open(target)
    direct = sink.write(DOCUMENTS)
    sink.close()

    served = ReferenceStore()
    settings = Settings(artifact=tiny_artifact, demo=False, log="error", state=tmp_path)
    app = create_app(settings, openers=Openers(open_encoder, lambda _: served))
    with bind("127.0.0.1", 0) as listener:
        server = build_server(app, settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        there = Target("notes", url=url, fields=FIELDS, windows=windows)
        try:
            over = ServiceSink(there, threading.Event())
            far = over.write(DOCUMENTS)
            over.close()
        finally:
            server.should_exit = True
            thread.join(10)

    store.closed = served.closed = False  # to look inside
    assert store.describe("notes") == served.describe("notes")
    assert held(store) == held(served)
    assert direct == far
    spans = [len(entry.spans) for entry in store.made["notes"].entries.values()]
    assert (max(spans) > 1) == (windows is not None)
    assert (direct.truncated > 0) == (windows is None)


def test_direct_refuses_what_is_too_long_by_row(
    store: ReferenceStore, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYNTEGRA_MAX_TEXT_CHARS", "100")
    sink = StoreSink.open(target_of(tiny_artifact, tmp_path))
    written = sink.write(DOCUMENTS)
    assert list(written.refused) == [0, 2]
    assert "has 179 characters; expected at most 100" in written.refused[0]
    assert set(store.made["notes"].entries) == {"b", "d"}
    sink.close()
    assert store.closed


def test_direct_writes_long_documents_a_few_at_a_time(
    store: ReferenceStore, tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = target_of(tiny_artifact, tmp_path, windows=Windows(16, 12))
    sink = StoreSink.open(target)
    sink.write(DOCUMENTS)
    whole, upsert, calls = held(store), store.upsert, list[int]()

    def counted(name: str, documents: Any, vectors: Any, spans: Any) -> int:
        calls.append(len(vectors))
        return upsert(name, documents, vectors, spans)

    monkeypatch.setattr("app.bulk.direct.MOST_PASSAGES", 3)
    monkeypatch.setattr(store, "upsert", counted)
    sink.write(DOCUMENTS)
    sink.close()
    assert held(store) == whole
    assert len(calls) > 1


def test_direct_into_a_collection_of_another_encoder_is_refused(
    store: ReferenceStore, tiny_artifact: Path, tmp_path: Path
) -> None:
    store.create("notes", 16, "other@000000000000")
    with pytest.raises(ConflictError, match="other@000000000000"):
        StoreSink.open(target_of(tiny_artifact, tmp_path))
    assert store.closed


def test_direct_with_other_fields_than_the_collection_has_is_refused(
    store: ReferenceStore, tiny_artifact: Path, tmp_path: Path
) -> None:
    StoreSink.open(target_of(tiny_artifact, tmp_path, fields=FIELDS)).close()
    StoreSink.open(target_of(tiny_artifact, tmp_path)).close()  # none asked for
    other: Any = {"year": "string"}
    with pytest.raises(ConflictError, match="fields year"):
        StoreSink.open(target_of(tiny_artifact, tmp_path, fields=other))


def test_index_into_an_embedded_store_and_back_out(
    tiny_artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = (json.dumps({"doc_id": f"d{n}", "text": f"text {n}"}) for n in range(300))
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    state = ["--state", str(tmp_path / "state")]
    files = ["index", str(tmp_path / "a.jsonl"), "--collection", "notes", "--quiet"]
    direct = [*files, "--store", "embedded", *state, "--artifact", str(tiny_artifact)]
    assert main(direct) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["documents"], summary["complete"]) == (300, True)
    assert Path(summary["ledger"]).parent == tmp_path / "state-bulk"
    exported = str(tmp_path / "a.parquet")
    assert main(["index", "export", "notes", exported, *state]) == 0
    assert main(["index", "import", exported, "--as", "copy", *state]) == 0
    out, back = map(json.loads, capsys.readouterr().out.splitlines())
    assert (out["documents"], back["texts"]) == (300, out["texts"])

    store = EdgeStore.open(tmp_path / "state")
    assert {one.name: one.count for one in store.collections()} == {"notes": 300, "copy": 300}
    assert main([*direct, "--restart"]) == 1
    said = capsys.readouterr().err
    assert f"is open in process {os.getpid()}" in said
    assert "send the documents to it with --url" in said
    store.close()


def test_index_without_pyarrow_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    files = ["index", str(tmp_path / "a.parquet"), "--collection", "notes"]
    assert main(files) == 1
    assert "need pyarrow" in capsys.readouterr().err
    (tmp_path / "a.jsonl").write_text("{}")
    files[1] = str(tmp_path / "a.jsonl")
    assert main([*files, "--engine", "ray", "--ledger", str(tmp_path / "ledger")]) == 1
    said = capsys.readouterr().err
    assert "Ray jobs need ray" in said
    assert "pip install '.[bulk]'" in said
    assert said.count("\n") == 1


def test_target_is_named_without_its_password(tmp_path: Path) -> None:
    secret = {"store": "postgresql://me:hidden@db.example/x", "state": str(tmp_path)}
    named = Target("notes", settings=secret).named()
    assert named == "postgresql://db.example/x"
    assert Target("notes", url="http://u:p@host:1").named() == "http://host:1"
    one, other = (Target("notes", url=f"http://host:{port}") for port in (1, 2))
    assert default_ledger(one) != default_ledger(other)
    with pytest.raises(InvalidInputError):
        Target("notes", settings={"store": "ftp://x"}).named()


def test_service_that_is_no_service_is_named() -> None:
    with pytest.raises(InvalidInputError, match="is no URL"):
        ServiceSink(Target("notes", url="http://[::"), threading.Event())
    with pytest.raises(InvalidInputError, match="is no URL of a service"):
        ServiceSink(Target("notes", url="localhost:8000"), threading.Event())


@pytest.mark.parametrize("name", ["tyntegra--reindex-0", hidden_name("reindex", "notes")])
def test_names_that_the_service_keeps_for_itself_are_refused(
    store: ReferenceStore, tiny_artifact: Path, tmp_path: Path, name: str
) -> None:
    target = replace(target_of(tiny_artifact, tmp_path), collection=name)
    with pytest.raises(InvalidInputError, match="begins with tyntegra--"):
        StoreSink.open(target)
    assert store.made == {}
    assert store.closed
