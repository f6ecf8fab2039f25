"""``tyntegra documents``: add, read and delete documents of a service that runs."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from app.commands.service import add_service_options, open_client, show
from app.errors import InvalidInputError

FAILED = 1


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    description = "add, read and delete documents of a service"
    parser = commands.add_parser("documents", help=description, description=description)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    for name, run, what in (
        ("add", _add, "add documents, a line of JSON each: doc_id, text, lang, metadata"),
        ("get", _get, "read documents by name"),
        ("delete", _delete, "delete documents by name, or by a filter"),
        ("export", _export, "print all documents, a line of JSON each"),
    ):
        action = actions.add_parser(name, help=what, description=what)
        action.set_defaults(run=run)
        action.add_argument("name", metavar="NAME", help="the collection")
        if name == "add":
            action.add_argument(
                "file", nargs="*", type=Path, help="files of lines; none: standard input"
            )
        if name == "get":
            action.add_argument("doc_id", nargs="+", help="names of documents")
        if name == "delete":
            action.add_argument("doc_id", nargs="*", help="names of documents")
            action.add_argument("--filter", help='JSON such as {"lang": ["eng_Latn"]}')
        add_service_options(action)


def _add(options: argparse.Namespace) -> int:
    with ExitStack() as stack:
        streams = [stack.enter_context(_open(path)) for path in options.file]
        client = stack.enter_context(open_client(options))
        report = client.upload_documents(options.name, _lines(streams or [sys.stdin.buffer]))
    for error in report.pop("errors"):
        print(f"tyntegra: line {error['line']}: {error['detail']}", file=sys.stderr)
    show(report)
    return 0 if report["event"] == "done" and not report["refused"] else FAILED


def _open(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InvalidInputError(
            f"{path} cannot be read ({error.strerror}); name a file of JSON lines."
        ) from None


def _lines(streams: list[IO[bytes]]) -> Iterator[bytes]:
    for stream in streams:
        ended = True
        while part := stream.readline(1 << 16):
            ended = part.endswith(b"\n")
            yield part
        if not ended:
            yield b"\n"


def _get(options: argparse.Namespace) -> int:
    with open_client(options) as client:
        show(client.get_documents(options.name, options.doc_id))
    return 0


def _delete(options: argparse.Namespace) -> int:
    if bool(options.doc_id) == (options.filter is not None):
        raise InvalidInputError("Give either names of documents or --filter.")
    where: Any = None
    if options.filter is not None:
        try:
            where = json.loads(options.filter)
        except ValueError as error:
            raise InvalidInputError(f"--filter is no JSON ({error}); expected an object.") from None
        if not isinstance(where, dict):
            raise InvalidInputError("--filter is no JSON object; expected one.")
    with open_client(options) as client:
        deleted = client.delete_documents(options.name, options.doc_id or None, filter=where)
    show({"deleted": deleted})
    return 0


def _export(options: argparse.Namespace) -> int:
    with open_client(options) as client:
        for document in client.export_documents(options.name):
            print(json.dumps(document, ensure_ascii=False))
    return 0
