"""``tyntegra index export`` and ``import``: a collection from one engine to another, by a file."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.commands.index_options import add_store_options, settings_of


def run(action: str, arguments: Sequence[str]) -> int:
    """Run one of the two; returns the exit status."""
    if action == "export":
        return _export(_export_parser().parse_args(arguments))
    return _import(_import_parser().parse_args(arguments))


def _export_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tyntegra index export",
        description="Write a collection to a Parquet file: texts, passages, vectors, options.",
    )
    parser.add_argument("name", metavar="NAME", help="the collection")
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    add_store_options(parser)
    return parser


def _import_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tyntegra index import",
        description="Write an exported file to a collection, and compare both. What was "
        "interrupted goes on when the same command is run again.",
    )
    parser.add_argument("file", metavar="FILE", type=Path, help="what an export wrote")
    parser.add_argument("--as", dest="name", help="the collection; else of the exported name")
    parser.add_argument(
        "--merge", action="store_true", help="write to a collection that has other documents"
    )
    parser.add_argument("--ledger", type=Path, help="file that notes what is done")
    parser.add_argument("--restart", action="store_true", help="forget what was done before")
    add_store_options(parser)
    return parser


def _export(options: argparse.Namespace) -> int:
    from app.bulk.exporting import export_collection
    from app.bulk.target import choose, open_named_store

    store = open_named_store(choose(settings_of(options, "store", "state")))
    try:
        collection, checksum = export_collection(
            store, options.name, options.file, replace=options.force, show=_Line("exported")
        )
    finally:
        store.close()
    _answer(collection.name, options.file, collection.model, checksum)
    return 0


def _import(options: argparse.Namespace) -> int:
    from app.bulk.exchange import ExportFile
    from app.bulk.held import remove_ledger
    from app.bulk.importing import import_collection, open_ledger
    from app.bulk.target import Target, default_ledger, open_named_store

    file = ExportFile(options.file)
    name = options.name or file.collection.name
    target = Target(name, settings=settings_of(options, "store", "state"))
    path = options.ledger or default_ledger(target, "import")
    if options.restart:
        remove_ledger(path)
    ledger = open_ledger(path, file, name, target.named())
    try:
        store = open_named_store(target.chosen())
        try:
            likeness = import_collection(
                store, file, name, ledger, merge=options.merge, show=_Line("imported")
            )
        finally:
            store.close()
    finally:
        ledger.close()
    # The job is over: the same file may be imported again, into a collection made anew.
    remove_ledger(path)
    _answer(name, options.file, file.collection.model, file.checksum, vectors=likeness)
    return 0


def _answer(name: str, path: Path, model: str, checksum: Any, **more: str) -> None:
    said = checksum.to_json()
    del said["weighted"]
    print(json.dumps({"collection": name, "file": str(path), "model": model, **said, **more}))


class _Line:
    """Shows how many documents are done, on a terminal."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        if not sys.stderr.isatty() or (time.monotonic() < self._next and done < total):
            return
        self._next = time.monotonic() + 0.2
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r{self._what} {done:,} of {total:,} documents\x1b[K{end}")
        sys.stderr.flush()
