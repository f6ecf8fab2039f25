"""Get data ready for training: ``python -m training.data``, also ``tyntegra data``."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TextIO

from app.errors import InvalidInputError
from app.text.dictionaries import require_lang
from training.data.conversion import Columns, Skip, convert
from training.data.fetching import Patience
from training.data.lexicons import build_lexicon, read_pairs, read_word_pairs
from training.data.listing import list_data, table_of
from training.data.pins import fetch_pinned
from training.data.rows import FORMATS, ConversionError, format_of, read_aligned, read_rows
from training.data.sources import find_files
from training.data.transfer import FetchError
from training.registry import DEFAULT_DATA, CorpusError, select_corpora

CUT_OFF, UNUSABLE, INTERRUPTED = 1, 2, 130
SHOWN = 10
"""Rows left out that are told one by one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0 done, 2 refused or failed."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except BrokenPipeError:
        # The reader has enough, as `| head` does; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CUT_OFF
    except (CorpusError, ConversionError, FetchError, InvalidInputError, OSError) as error:
        print(f"tyntegra data: {' '.join(str(error).split())}", file=sys.stderr)
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _list(options: argparse.Namespace) -> None:
    listing = list_data(options.data, options.to or options.data / "sources")
    print(json.dumps(listing, indent=2) if options.json else table_of(listing))


def _fetch(options: argparse.Namespace) -> None:
    wanted = [file for request in options.source for file in find_files(request)]
    if options.sha256 and len(wanted) != 1:
        raise CorpusError(f"--sha256 is of one file, and these are {len(wanted)}: fetch it alone")
    patience = Patience(max_bytes=options.max_bytes, proxy=options.proxy)
    for file in wanted:
        fetched = fetch_pinned(
            options.to or options.data / "sources",
            file,
            sha256=options.sha256.lower(),
            patience=patience,
            progress=_Progress() if sys.stderr.isatty() else None,
        )
        print(f"{fetched.path}  {fetched.bytes:,} bytes")
        print(f"  sha256 {fetched.sha256} ({fetched.checked})")


class _Progress:
    """One line on the terminal, written again at each hundredth or mebibyte."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self, done: int, total: int | None) -> None:
        said = f"{done * 100 // total} %" if total else f"{done >> 20} MiB"
        if said != self.said:
            print(f"\r{said}", end="\r\x1b[K" if done == total else "", file=sys.stderr, flush=True)
            self.said = said


def _convert(options: argparse.Namespace) -> None:
    if options.out.resolve() in (options.source.resolve(), (options.documents or Path()).resolve()):
        raise ConversionError(f"{options.out} is what is read: give another file to write")
    langs = {"lang_query": options.lang_query, "lang_document": options.lang_document}
    if options.documents:
        if missing := [name for name, code in langs.items() if not code]:
            flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
            raise ConversionError(f"lines of text do not name their language: give {flags}")
        columns = Columns(constants=langs)
        rows = read_aligned(options.source, options.documents)
    else:
        columns = Columns(
            query=options.query_column,
            document=options.document_column,
            lang_query=options.lang_query_column,
            lang_document=options.lang_document_column,
            negatives=options.negatives_column,
            constants={
                getattr(options, f"{name}_column"): code for name, code in langs.items() if code
            },
        )
        form = options.format or format_of(options.source)
        header = [name.strip() for name in options.header.split(",")] if options.header else []
        rows = read_rows(options.source, form, columns.needed, header)
    with _reporter(options.report) as reporter:
        outcome = convert(rows, options.out, columns, strict=options.strict, report=reporter)
    print(f"{options.out}: {outcome.written:,} pairs")
    if columns.negatives:
        print(f"negatives: {outcome.negatives:,}, left out: {outcome.dropped_negatives:,}")
    for reason, count in outcome.skipped.most_common():
        print(f"left out: {count:,} ({reason})")


class _Reporter:
    """Tells the first rows left out on standard error, and all of them to a file if given."""

    def __init__(self, file: TextIO | None) -> None:
        self.file, self.told = file, 0

    def __call__(self, skip: Skip) -> None:
        line = f"line {skip.line}\t{skip.reason}\t{skip.detail}".rstrip()
        if self.file:
            self.file.write(f"{line}\n")
        if self.told < SHOWN:
            print(line.replace("\t", ": ", 1).replace("\t", " "), file=sys.stderr)
        elif self.told == SHOWN:
            more = "" if self.file else "; --report FILE has them all"
            print(f"and further ones{more}", file=sys.stderr)
        self.told += 1


@contextmanager
def _reporter(path: Path | None) -> Iterator[_Reporter]:
    if path is None:
        yield _Reporter(None)
        return
    with path.open("w", encoding="utf-8", errors="backslashreplace") as file:
        yield _Reporter(file)


def _lexicon(options: argparse.Namespace) -> None:
    corpora = select_corpora(options.corpora, shippable=False)
    lists = [
        (Path(path), require_lang(lang_a, "--words"), require_lang(lang_b, "--words"))
        for path, lang_a, lang_b in options.words
    ]
    if not corpora and not lists:
        raise CorpusError("no sources: give --corpora or --words")
    notes = [f"From {corpus.name}: {corpus.licence}" for corpus in corpora]
    notes += [f"From {path.name}: licence as its source states it" for path, _, _ in lists]
    if not all(corpus.shippable for corpus in corpora):
        notes.append("Weights learned with it are not to be shipped.")
    pairs = chain(
        *(read_pairs(options.data, corpus) for corpus in corpora),
        *(read_word_pairs(*source) for source in lists),
    )
    built = build_lexicon(pairs, options.out, notes, most=options.most)
    print(f"{options.out}: {built.entries:,} entries, {len(built.sizes)} languages")
    for reason, count in sorted(built.skipped.items(), key=lambda item: -item[1]):
        print(f"left out: {count:,} ({reason})")
    print("words: " + ", ".join(f"{lang} {count:,}" for lang, count in built.sizes.items()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tyntegra data", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    folder = Path(os.environ.get("TYNTEGRA_DATA") or DEFAULT_DATA)
    listing = _command(commands, "list", _list, "say what data there is, and under which licence")
    listing.add_argument("--data", type=Path, default=folder, help="folder (TYNTEGRA_DATA)")
    listing.add_argument("--to", type=Path, help="folder of fetched sources (DATA/sources)")
    listing.add_argument("--json", action="store_true", help="for programs")

    fetching = _command(commands, "fetch", _fetch, "fetch public sources, as they are")
    fetching.add_argument("source", nargs="+", help="NAME, NAME:PART (see list) or https://...")
    fetching.add_argument("--data", type=Path, default=folder, help="folder (TYNTEGRA_DATA)")
    fetching.add_argument("--to", type=Path, help="folder to fetch to (DATA/sources)")
    fetching.add_argument("--sha256", default="", help="refuse a file with another checksum")
    fetching.add_argument("--max-bytes", type=int, default=4 << 30, help="of a file (4 GiB)")
    fetching.add_argument("--proxy", default="", help="address of a proxy")

    converting = _command(commands, "convert", _convert, "turn own pairs into a training corpus")
    _add_converting(converting)

    building = _command(commands, "lexicon", _lexicon, "build a dictionary for code-switching")
    building.add_argument("out", type=Path, help="file to write: .tsv or .tsv.gz")
    building.add_argument("--data", type=Path, default=folder, help="folder (TYNTEGRA_DATA)")
    building.add_argument("--corpora", nargs="+", default=[], metavar="NAME", help="see list")
    building.add_argument(
        "--words",
        nargs=3,
        action="append",
        default=[],
        metavar=("FILE", "LANG", "LANG"),
        help="a list of two words a line, as of muse; may be repeated",
    )
    building.add_argument("--most", type=int, default=4, help="neighbors in one language (4)")
    return parser


def _add_converting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, help="JSONL, TSV, CSV (.gz too) or Parquet")
    parser.add_argument("out", type=Path, help="Parquet file to write, for corpora.files")
    parser.add_argument("--format", choices=FORMATS, help="if the name does not tell it")
    parser.add_argument("--header", help="names of columns, with commas, if the file has none")
    for name in ("query", "document", "lang_query", "lang_document"):
        flag = f"--{name.replace('_', '-')}-column"
        parser.add_argument(flag, default=name, metavar="NAME", help=f"({name})")
    parser.add_argument("--negatives-column", default="", metavar="NAME", help="lists; (none)")
    parser.add_argument("--lang-query", metavar="CODE", help="of all queries, such as yor_Latn")
    parser.add_argument("--lang-document", metavar="CODE", help="of all documents")
    parser.add_argument(
        "--documents", type=Path, help="text file, line by line the documents of SOURCE's queries"
    )
    parser.add_argument("--strict", action="store_true", help="fail at the first unusable row")
    parser.add_argument("--report", type=Path, help="file for the rows left out and why")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], None],
    description: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=description, description=description)
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
