"""The command ``tyntegra``: serve, ask a service that runs, check artifacts, ready training data.

Answers go to standard output, a service's as JSON, messages to standard error. Exit status: 0 done,
1 refused or failed, 2 wrong usage, a service that cannot start, or data that cannot be used, 3 a
probe that broke more than --fail-over.
"""

import argparse
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from app import __version__
from app.commands import collections, documents, index, report
from app.commands.probe import REPLAY, add_probe_options, add_replay, run_probe_command
from app.commands.search import add_search_options, search_body
from app.commands.service import add_service_options, open_client, show
from app.errors import ServiceError
from app.settings import PREFIX, Settings

FAILED, UNUSABLE = 1, 2
SERVE_OPTIONS = ("host", "port", "state", "artifact", "device", "precision", "keys", "log")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if " ".join(given[:2]) in (report.NAME, REPLAY):
        given[:2] = [" ".join(given[:2])]
    options = _parser().parse_args(given)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except ServiceError as error:
        print(f"tyntegra: {' '.join(error.message.split())}", file=sys.stderr)
        return UNUSABLE if run is _serve else FAILED
    except KeyboardInterrupt:
        return 0 if run is _serve else 130
    except BrokenPipeError:
        # The reader has enough, as `| head` does; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _serve(options: argparse.Namespace) -> int:
    # Until the server has its own handler: told to end before it began, it has nothing to do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from app.server import serve

    given = {f"{PREFIX}{name.upper()}": getattr(options, name) for name in SERVE_OPTIONS}
    chosen = {variable: value for variable, value in given.items() if value is not None}
    serve(Settings.from_env({**os.environ, **chosen}))
    return 0


def _ask(options: argparse.Namespace, method: str, path: str, body: Any = None) -> int:
    with open_client(options) as client:
        answer = client.request(method, path, body)
    show(answer)
    return 0


def _embed(options: argparse.Namespace) -> int:
    body: dict[str, Any] = {
        "inputs": _texts(options),
        "input_type": options.input_type,
        "output_type": options.output_type,
        "truncate": not options.no_truncate,
        "windows": options.windows,
    }
    if options.dimensions is not None:
        body["dimensions"] = options.dimensions
    return _ask(options, "POST", "/embed", body)


def _search(options: argparse.Namespace) -> int:
    return _ask(options, "POST", "/search", search_body(options, _texts(options)))


def _probe(options: argparse.Namespace) -> int:
    return run_probe_command(options, _texts(options))


def _info(options: argparse.Namespace) -> int:
    return _ask(options, "GET", "/info")


def _inspect(options: argparse.Namespace) -> int:
    from app.inspection import inspect_artifact, summarize

    found = inspect_artifact(options.folder)
    print(json.dumps(found, ensure_ascii=False, indent=2) if options.json else summarize(found))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from app.verification import read_texts, verify_artifact, write_checks

    texts = read_texts(options.texts) if options.texts else []
    print(write_checks(verify_artifact(options.folder, options.precision, texts)))
    return 0


def _training(options: argparse.Namespace) -> int:
    # By name, for the service neither imports training nor needs what training needs.
    try:
        module = importlib.import_module(options.module)
    except ModuleNotFoundError as error:
        print(
            f"tyntegra: `tyntegra {options.name}` needs what training needs, and {error.name} is "
            "missing: install the project with its extra, as in pip install '.[train]'",
            file=sys.stderr,
        )
        return UNUSABLE
    return module.main(options.arguments)


def _texts(options: argparse.Namespace) -> list[str]:
    return options.text or [line for line in map(str.strip, sys.stdin) if line]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tyntegra",
        description="Text search across languages, and a measure of how far it can be trusted.",
    )
    parser.add_argument("--version", action="version", version=f"tyntegra {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the service in the foreground")
    serve.set_defaults(run=_serve)
    for name in SERVE_OPTIONS:
        description = Settings.model_fields[name].description
        serve.add_argument(f"--{name}", help=f"{description} ({PREFIX}{name.upper()})")

    embed = _asking(commands, "embed", _embed, "turn texts into vectors")
    embed.add_argument("--input-type", choices=("query", "document"), default="query")
    embed.add_argument("--dimensions", type=int, help="keep only the first so many")
    embed.add_argument(
        "--output-type", choices=("float", "int8", "uint8", "binary", "ubinary"), default="float"
    )
    long = embed.add_mutually_exclusive_group()
    long.add_argument("--windows", action="store_true", help="average long texts' windows")
    long.add_argument("--no-truncate", action="store_true", help="refuse what is too long")

    search = _asking(commands, "search", _search, "find documents")
    add_search_options(search)

    probe = _asking(commands, "probe", _probe, "try to lead queries astray")
    add_probe_options(probe)
    add_replay(commands)

    _asking(commands, "info", _info, "say what the service runs", texts=False)

    artifact = commands.add_parser("artifact", help="look at an artifact, or check that it works")
    actions = artifact.add_subparsers(required=True, metavar="ACTION")
    inspect = actions.add_parser("inspect", help="say what an artifact is")
    inspect.set_defaults(run=_inspect)
    inspect.add_argument("--json", action="store_true", help="everything, for programs")
    verify = actions.add_parser("verify", help="check an artifact's files and run it")
    verify.set_defaults(run=_verify)
    verify.add_argument("--texts", type=Path, help="run it on these too, a UTF-8 file, one a line")
    verify.add_argument("--precision", help="run only this one, such as int8")
    for action in (inspect, verify):
        action.add_argument("folder", type=Path, help="the folder that export wrote")

    collections.add(commands)
    documents.add(commands)
    index.add(commands)
    report.add(commands)

    # With a prefix that no argument has, all of them, --help too, go on to a parser of their own.
    for name, module, description in (
        ("data", "training.data.__main__", "list, fetch and convert training data"),
        ("bench", "training.xtyntegra.command", "measure encoders by XTYNTEGRA, compare runs"),
    ):
        part = commands.add_parser(name, help=description, add_help=False, prefix_chars="\0")
        part.set_defaults(run=_training, name=name, module=module)
        part.add_argument("arguments", nargs="*")
    return parser


def _asking(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    description: str,
    *,
    texts: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    add_service_options(parser)
    if texts:
        parser.add_argument("text", nargs="*", help="texts; none: the lines of standard input")
    return parser
