"""``tyntegra collections``: make and look after the collections of a service that runs."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from app.commands.service import add_service_options, open_client, show
from app.errors import InvalidInputError, ServiceError

if TYPE_CHECKING:
    from app.client import Client
    from app.collection_operations import FieldType

POLL_S = 0.5
FIELD_TYPES = ("string", "integer", "number", "boolean")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    description = "list, create, reindex, copy and delete collections of a service"
    parser = commands.add_parser("collections", help=description, description=description)
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    _action(actions, "list", _list, "list the collections", named=False)
    create = _action(actions, "create", _create, "create a collection, or find it there")
    _add_options(create)
    _action(actions, "show", _show, "describe a collection")
    _action(actions, "delete", _delete, "delete a collection and its documents")

    reindex = _action(
        actions, "reindex", _reindex, "encode a collection anew with the encoder in service"
    )
    _add_options(reindex)
    reindex.add_argument("--no-windows", action="store_true", help="do not split any more")
    reindex.add_argument("--wait", action="store_true", help="until it is done, showing progress")
    instead = reindex.add_mutually_exclusive_group()
    instead.add_argument("--status", action="store_true", help="only say how far it is")
    instead.add_argument("--cancel", action="store_true", help="leave the collection as it was")

    _action(actions, "snapshot", _snapshot, "copy a collection on the service's disk")
    _action(actions, "snapshots", _snapshots, "list the snapshots of a collection")
    restore = _action(actions, "restore", _restore, "make a collection of a snapshot")
    restore.add_argument("snapshot", metavar="SNAPSHOT", help="the snapshot")
    restore.add_argument("--as", dest="target", help="the collection to make (the same)")
    restore.add_argument(
        "--replace", action="store_true", help="put it in the place of one of this name"
    )
    forget = _action(actions, "delete-snapshot", _delete_snapshot, "delete a snapshot")
    forget.add_argument("snapshot", metavar="SNAPSHOT", help="the snapshot")


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    ask: "Callable[[Client, argparse.Namespace], Any]",
    description: str,
    *,
    named: bool = True,
) -> argparse.ArgumentParser:
    def run(options: argparse.Namespace) -> int:
        with open_client(options) as client:
            answer = ask(client, options)
        if answer is not None:
            show(answer)
        return 0

    parser = actions.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    if named:
        parser.add_argument("name", metavar="NAME", help="the collection")
    add_service_options(parser)
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--field",
        action="append",
        metavar="NAME=TYPE",
        help=f"a metadata field to index, and its type: {', '.join(FIELD_TYPES)}; may be repeated",
    )
    parser.add_argument(
        "--windows",
        metavar="TOKENS[/STRIDE]",
        help="split documents in passages of so many tokens, one beginning every STRIDE (three "
        "quarters of TOKENS)",
    )


def read_fields(given: Sequence[str] | None) -> "dict[str, FieldType] | None":
    """Read the fields that a command was given.

    Raises:
        InvalidInputError: If one is not NAME=TYPE.
    """
    fields: dict[str, FieldType] = {}
    for each in given or []:
        name, _, kind = each.rpartition("=")
        if not name or kind not in FIELD_TYPES:
            raise InvalidInputError(
                f"--field {each!r:.100} is not NAME=TYPE; expected such as year=integer, with one "
                f"of {', '.join(FIELD_TYPES)}."
            )
        fields[name] = cast("FieldType", kind)
    return fields or None


def read_windows(given: str | None) -> tuple[int, int] | None:
    """Read the windows that a command was given.

    Raises:
        InvalidInputError: If they are not TOKENS or TOKENS/STRIDE.
    """
    if given is None:
        return None
    tokens, _, stride = given.partition("/")
    if not tokens.isdecimal() or not (stride.isdecimal() or "/" not in given):
        raise InvalidInputError(
            f"--windows {given!r:.100} is not TOKENS/STRIDE; expected such as 128/96."
        )
    return int(tokens), int(stride) if stride else -(-int(tokens) * 3 // 4)


def _list(client: "Client", options: argparse.Namespace) -> Any:
    return client.collections()


def _create(client: "Client", options: argparse.Namespace) -> Any:
    windows = read_windows(options.windows)
    return client.create_collection(
        options.name, fields=read_fields(options.field), windows=windows
    )


def _show(client: "Client", options: argparse.Namespace) -> Any:
    return client.collection(options.name)


def _delete(client: "Client", options: argparse.Namespace) -> Any:
    return client.delete_collection(options.name)


def _reindex(client: "Client", options: argparse.Namespace) -> Any:
    name = options.name
    if options.cancel:
        return client.cancel_reindex(name)
    if options.status:
        return client.reindex_progress(name)
    windows = read_windows(options.windows)
    keeps = windows is None and not options.no_windows
    fields = read_fields(options.field)
    progress = client.reindex(name, fields=fields, windows="keep" if keeps else windows)
    while options.wait and progress["state"] in ("waiting", "running"):
        time.sleep(POLL_S)
        progress = client.reindex_progress(name)
        if sys.stderr.isatty():
            print(f"\r{progress['done']} of {progress['total']}", end="", file=sys.stderr)
    if progress["state"] == "failed":
        raise ServiceError(f"The reindex of {name!r} failed: {progress['error']}")
    return progress


def _snapshot(client: "Client", options: argparse.Namespace) -> Any:
    return client.create_snapshot(options.name)


def _snapshots(client: "Client", options: argparse.Namespace) -> Any:
    return client.snapshots(options.name)


def _restore(client: "Client", options: argparse.Namespace) -> Any:
    return client.restore_snapshot(
        options.name, options.snapshot, collection=options.target, replace=options.replace
    )


def _delete_snapshot(client: "Client", options: argparse.Namespace) -> Any:
    return client.delete_snapshot(options.name, options.snapshot)
