"""Collections to export, and what an import of them is compared with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.retrieval.documents import Document
from app.retrieval.store import Options

from .reference_store import ReferenceStore

pytest.importorskip("pyarrow", reason="pyarrow (the extra bulk) is not installed")

from app.bulk.exchange import ExportFile
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


def load(
    store: ReferenceStore, path: Path, ledger: Path, name: str = "notes", **chosen: Any
) -> str:
    file = ExportFile(path)
    with open_ledger(ledger, file, name, "memory") as opened:
        return import_collection(store, file, name, opened, **chosen)
