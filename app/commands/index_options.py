"""The options of ``tyntegra index``, and the job that they ask for."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import InvalidInputError
from app.settings import PREFIX

if TYPE_CHECKING:
    from app.bulk.columns import Columns
    from app.bulk.job import Job
    from app.bulk.parts import Layout
    from app.bulk.target import Target
    from app.windows import Windows

_EPILOG = """\
`tyntegra index export NAME FILE.parquet` and `tyntegra index import FILE.parquet` move collections
between engines; each has a --help of its own. A file called export is given as ./export.
"""


def add_store_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name a store."""
    parser.add_argument(
        "--store", help=f"the store: embedded, or a URL such as postgresql://... ({PREFIX}STORE)"
    )
    parser.add_argument("--state", help=f"the embedded store's directory ({PREFIX}STATE)")


def settings_of(options: argparse.Namespace, *names: str) -> dict[str, str]:
    """The settings that options give."""
    found = {name: getattr(options, name) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def parser() -> argparse.ArgumentParser:
    """Make the parser of ``tyntegra index FILES...``."""
    made = argparse.ArgumentParser(
        prog="tyntegra index",
        description="Index files: Parquet, JSON lines, CSV, TSV, text. What was interrupted goes "
        "on when the same command is run again.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("files", nargs="+", metavar="FILE", help="files, folders or patterns")
    made.add_argument("--collection", required=True, help="created if there is none")
    _add_ways(made)
    _add_reading(made)
    _add_going_on(made)
    return made


def _add_ways(parser: argparse.ArgumentParser) -> None:
    ways = parser.add_argument_group("where to")
    default = "http://127.0.0.1:8000"
    url = os.environ.get(f"{PREFIX}URL", default)
    ways.add_argument("--url", help=f"a service, which encodes ({PREFIX}URL, {default})")
    ways.set_defaults(default_url=url)
    ways.add_argument("--key", default=os.environ.get(f"{PREFIX}KEY"), help=f"({PREFIX}KEY)")
    ways.add_argument(
        "--store",
        help="instead of a service: a store to write to, encoding here; embedded, or a URL such "
        "as postgresql://...",
    )
    ways.add_argument("--state", help=f"the embedded store's directory ({PREFIX}STATE)")
    ways.add_argument("--artifact", help=f"the encoder, with --store ({PREFIX}ARTIFACT)")
    ways.add_argument("--device", help=f"where it runs, with --store ({PREFIX}DEVICE)")
    ways.add_argument("--precision", help=f"its precision, with --store ({PREFIX}PRECISION)")
    ways.add_argument(
        "--field",
        action="append",
        default=[],
        metavar="NAME=TYPE",
        help="declare a metadata field as string, integer, number or boolean, if the collection "
        "is created; may be repeated",
    )
    ways.add_argument(
        "--windows",
        metavar="TOKENS[:STRIDE]",
        help="split long documents in passages, if the collection is created",
    )
    ways.add_argument("--connections", type=int, default=4, help="parts written at a time (4)")
    ways.add_argument("--batch", type=int, default=256, help="rows of a part and a request (256)")
    ways.add_argument(
        "--patience", type=float, default=120, help="seconds to wait for a busy service (120)"
    )
    ways.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="what does it (local)"
    )
    ways.add_argument(
        "--ray-address", help="the cluster, with --engine ray; none: one started on this machine"
    )
    ways.add_argument(
        "--ray-cpus", type=float, default=1, help="cores of a worker, with --engine ray (1)"
    )
    ways.add_argument(
        "--ray-gpus", type=float, default=0, help="GPUs of a worker, with --engine ray (0)"
    )
    ways.add_argument(
        "--ray-workers", type=int, help="how many, with --engine ray; none: all that find room"
    )


def _add_reading(parser: argparse.ArgumentParser) -> None:
    reading = parser.add_argument_group("how files are read")
    reading.add_argument(
        "--format",
        choices=("parquet", "jsonl", "csv", "tsv", "text"),
        help="what all files are; otherwise their endings say",
    )
    reading.add_argument("--id-column", help="else doc_id, id or _id, else made of file and row")
    reading.add_argument("--text-column", help="else text, content, contents, body, passage ...")
    reading.add_argument("--lang-column", help="else lang; codes such as swh_Latn")
    reading.add_argument("--lang", help="language of rows that name none")
    reading.add_argument(
        "--metadata-columns", help="columns to keep, by commas; none: none; else all others"
    )
    reading.add_argument("--encoding", default="utf-8", help="of text files (utf-8)")
    reading.add_argument("--delimiter", default="", help="of CSV and TSV")
    reading.add_argument(
        "--quotes", choices=("yes", "no"), help="whether fields may be quoted; else in CSV only"
    )
    reading.add_argument(
        "--whole-files", action="store_true", help="text files are one document each"
    )
    reading.add_argument(
        "--max-row-bytes", type=int, default=4 << 20, help="refuse longer rows (4 MiB)"
    )


def _add_going_on(parser: argparse.ArgumentParser) -> None:
    going = parser.add_argument_group("going on, and going wrong")
    going.add_argument("--ledger", type=Path, help="file that notes what is done")
    going.add_argument("--report", type=Path, help="file that lists rows refused and replaced")
    going.add_argument(
        "--max-errors", type=int, default=100, help="stop after more refused rows; -1: never (100)"
    )
    going.add_argument(
        "--changed",
        choices=("refuse", "again", "skip"),
        default="refuse",
        help="what to do about files that changed since parts of them were done (refuse)",
    )
    going.add_argument("--retry", action="store_true", help="do parts with refused rows again")
    going.add_argument("--restart", action="store_true", help="forget what was done before")
    going.add_argument("--quiet", action="store_true", help="show no progress")


def read_job(options: argparse.Namespace) -> "Job":
    """Read the job off the options.

    Raises:
        InvalidInputError: If one does not fit.
    """
    from app.bulk.job import Job

    return Job(
        files=options.files,
        target=_target(options),
        columns=_columns(options),
        layout=_layout(options),
        kind=options.format,
        whole_files=options.whole_files,
        ledger=options.ledger,
        report=options.report,
        max_errors=options.max_errors,
        changed=options.changed,
        retry=options.retry,
        writers=_positive("--connections", options.connections),
    )


def _target(options: argparse.Namespace) -> "Target":
    from app.bulk.target import Target

    given = settings_of(options, "store", "state", "artifact", "device", "precision")
    if options.url is not None and given:
        raise InvalidInputError(
            f"--url sends documents to a service, --{next(iter(given))} encodes them here; give "
            "one of the two ways."
        )
    return Target(
        collection=options.collection,
        url=None if given else options.url or options.default_url,
        key=options.key,
        settings=given,
        fields=_fields(options.field),
        windows=_windows(options.windows),
        batch=_positive("--batch", options.batch),
        patience_s=options.patience,
    )


def _columns(options: argparse.Namespace) -> "Columns":
    from app.bulk.columns import Columns

    metadata = options.metadata_columns
    return Columns(
        doc_id=options.id_column,
        text=options.text_column,
        lang=options.lang_column,
        metadata=None if metadata is None else _names(metadata),
        language=_lang(options.lang),
    )


def _layout(options: argparse.Namespace) -> "Layout":
    from app.bulk.parts import Layout

    return Layout(
        encoding=options.encoding,
        delimiter=_delimiter(options.delimiter),
        quoted=None if options.quotes is None else options.quotes == "yes",
        part_rows=_positive("--batch", options.batch),
        max_row_bytes=_positive("--max-row-bytes", options.max_row_bytes),
    )


def _names(given: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.split(",") if name.strip())
    return () if names == ("none",) else names


def _lang(given: str | None) -> str | None:
    from app.text.script import LANG_PATTERN

    if given is not None and re.fullmatch(LANG_PATTERN, given) is None:
        raise InvalidInputError(f"--lang is {given!r:.40}; expected a code such as swh_Latn.")
    return given


def _delimiter(given: str) -> str:
    given = {"\\t": "\t", "tab": "\t"}.get(given, given)
    if len(given) > 1 or given in ("\n", "\r", '"'):
        raise InvalidInputError(f"--delimiter is {given!r:.40}; expected one character, or tab.")
    return given


def _positive(name: str, given: int) -> int:
    if given < 1:
        raise InvalidInputError(f"{name} is {given}; expected at least 1.")
    return given


def _fields(given: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for one in given:
        name, equals, kind = one.rpartition("=")
        if not equals or not name or kind not in ("string", "integer", "number", "boolean"):
            raise InvalidInputError(
                f"--field is {one!r:.80}; expected NAME=TYPE, with string, integer, number or "
                "boolean."
            )
        fields[name] = kind
    return fields


def _windows(given: str | None) -> "Windows | None":
    from app.windows import Windows

    if given is None:
        return None
    tokens, _, stride = given.partition(":")
    try:
        return Windows(int(tokens), int(stride or tokens))
    except ValueError:
        raise InvalidInputError(
            f"--windows is {given!r:.40}; expected TOKENS or TOKENS:STRIDE, such as 128:96."
        ) from None
