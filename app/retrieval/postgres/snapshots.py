"""Copies of a collection as files: the three tables in PostgreSQL's binary form, with digests."""

import hashlib
import json
import os
import shutil
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString

from psycopg import sql

from app.errors import ConflictError, InvalidInputError, StoreError
from app.retrieval.checks import require_collection
from app.retrieval.postgres.pool import Cursor
from app.retrieval.postgres.schema import Table, find, insert
from app.retrieval.store import Collection, Options

FORMAT = 1
MANIFEST = "manifest.json"
_COLUMNS: dict[str, LiteralString] = {
    "documents": "(doc_id, text, lang, script, metadata, fields, passages)",
    "passages": "(id, doc_id, start, stop, tokens, vector)",
    "postings": "(passage, token, weight)",
}
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read and verified."""

    path: Path
    collection: Collection
    passages: int
    written: int
    rows: dict[str, int]


def save(cursor: Cursor, table: Table, target: Path) -> Path:
    """Write a collection to ``target/<name>``, as it is at the begin of the transaction.

    Raises:
        ConflictError: If there is something of that name.
        OSError: If a file cannot be written.
    """
    path = target / table.collection.name
    if path.exists():
        raise ConflictError(f"{path} exists; name a directory without it.")
    target.mkdir(parents=True, exist_ok=True)
    partial = target / f".{table.collection.name}-{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        cursor.execute("SET LOCAL statement_timeout = 0")
        files = {kind: _save_table(cursor, table, kind, partial) for kind in _COLUMNS}
        found = table.collection
        _write(
            partial / MANIFEST,
            _sealed(
                {
                    "format": FORMAT,
                    "engine": "postgresql",
                    "name": found.name,
                    "dim": found.dim,
                    "model": found.model,
                    "options": asdict(found.options),
                    "documents": found.count,
                    "passages": table.passages,
                    "written": table.written,
                    "files": files,
                }
            ),
        )
        partial.rename(path)
        _sync(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return path


def read(name: str, source: Path) -> Snapshot:
    """Verify a snapshot that is to become the collection ``name``.

    Raises:
        InvalidInputError: If there is none, or a file is not what the manifest says.
    """
    try:
        content = json.loads((source / MANIFEST).read_text(encoding="utf-8"))
        said = content.pop("check")
        if said != _digest(content):
            raise ValueError(f"{MANIFEST} does not fit its check sum")
        if (content["format"], content["engine"]) != (FORMAT, "postgresql"):
            raise ValueError(f"it is of {content['engine']}, format {content['format']}")
        for kind, file in content["files"].items():
            with (source / f"{kind}.copy").open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != file["sha256"]:
                    raise ValueError(f"{kind}.copy was changed since it was written")
        options = Options(**content["options"])
        made = Collection(name, content["dim"], content["model"], content["documents"], options)
        rows = {kind: int(content["files"][kind]["rows"]) for kind in _COLUMNS}
        counts = int(content["passages"]), int(content["written"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(
            f"There is no sound snapshot of this engine at {source}: {error}. Name the directory "
            "that a snapshot wrote."
        ) from error
    require_collection(name, made.dim, made.model, made.options)
    return Snapshot(source, made, *counts, rows)


def load(cursor: Cursor, schema: str, snapshot: Snapshot) -> Collection:
    """Create a collection from a snapshot, within the caller's transaction.

    Raises:
        ConflictError: If there is a collection of this name.
        StoreError: If the rows are not as many as were written.
        OSError: If a file cannot be read.
    """
    made = snapshot.collection
    if not insert(cursor, schema, made):
        raise ConflictError(f"The collection {made.name} exists; drop it or choose another name.")
    table = find(cursor, schema, made.name)
    cursor.execute("SET LOCAL statement_timeout = 0")
    for kind, columns in _COLUMNS.items():
        statement = table.fill(
            "COPY {table} {columns} FROM STDIN (FORMAT BINARY)",
            table=sql.Identifier(schema, f"{kind}_{table.id}"),
            columns=sql.SQL(columns),
        )
        with (snapshot.path / f"{kind}.copy").open("rb") as file, cursor.copy(statement) as copy:
            while block := file.read(_BLOCK):
                copy.write(block)
        if cursor.rowcount != snapshot.rows[kind]:
            raise StoreError(
                f"{kind}.copy gave {cursor.rowcount} rows instead of {snapshot.rows[kind]}; the "
                "snapshot is damaged."
            )
    cursor.execute(
        table.fill(
            "UPDATE {collections} SET documents = %s, passages = %s, written = %s WHERE id = %s"
        ),
        [made.count, snapshot.passages, snapshot.written, table.id],
    )
    return find(cursor, schema, made.name).collection


def _save_table(cursor: Cursor, table: Table, kind: str, directory: Path) -> dict[str, Any]:
    statement = table.fill(
        "COPY {table} {columns} TO STDOUT (FORMAT BINARY)",
        table=sql.Identifier(table.schema, f"{kind}_{table.id}"),
        columns=sql.SQL(_COLUMNS[kind]),
    )
    digest = hashlib.sha256()
    with (directory / f"{kind}.copy").open("xb") as file:
        with cursor.copy(statement) as copy:
            for block in copy:
                file.write(block)
                digest.update(block)
        file.flush()
        os.fsync(file.fileno())
    return {"rows": cursor.rowcount, "sha256": digest.hexdigest()}


def _sealed(content: dict[str, Any]) -> bytes:
    return json.dumps(content | {"check": _digest(content)}, indent=1).encode("ascii")


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
