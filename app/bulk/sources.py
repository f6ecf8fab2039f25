"""Which files a job reads: names, folders and patterns become a list, the same in every run."""

import glob
import os
from collections.abc import Collection, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path

from app.bulk.delimited import DelimitedReader
from app.bulk.lines import FileReader, LineReader
from app.bulk.parts import Kind, Layout, Reader, Source
from app.bulk.tables import TableReader
from app.errors import InvalidInputError

KINDS: dict[str, Kind] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".txt": "text",
}
_PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
_SAMPLE_BYTES = 1 << 16


def open_reader(source: Source, layout: Layout) -> Reader:
    """Open a file for planning and reading.

    Raises:
        InvalidInputError: If it cannot be read as what it is taken for.
    """
    try:
        match source.kind:
            case "parquet":
                return TableReader(source, layout)
            case "jsonl" | "text":
                return LineReader(source, layout)
            case "document":
                return FileReader(source, layout)
            case _:
                return DelimitedReader(source, layout)
    except OSError as error:
        raise unreadable(source.path, error) from None


def find_sources(
    given: Sequence[str],
    kind: Kind | None = None,
    *,
    whole_files: bool = False,
    leave_out: Collection[str] = (),
) -> tuple[list[Source], list[str]]:
    """Find the files that names, folders and patterns mean.

    Args:
        given: Files; folders, all files in which with a known ending count; patterns.
        kind: What all of them are, whatever their names.
        whole_files: Text files are one document each.
        leave_out: Real paths of files that are none of them.

    Returns:
        The files, each once, in the order given and by name within a folder or pattern; and the
        files of folders whose endings are not known.

    Raises:
        InvalidInputError: If one does not exist, nothing is found, an ending is not known, or two
            files would give the same ids.
    """
    found: dict[str, Source] = {}
    others: list[str] = []
    for path, label, named in _expand(given):
        real = os.path.realpath(path)
        if real in found or real in leave_out:
            continue
        if not real.isprintable():
            _require_unicode(real)
        known = kind or KINDS.get(Path(path).suffix.lower())
        if known is None and not named:
            others.append(path)
            continue
        if known is None:
            raise InvalidInputError(_unknown(path))
        known = "document" if known == "text" and whole_files else known
        size, print_ = identify(real)
        found[real] = Source(real, label, known, size, print_)
    if not found:
        raise InvalidInputError(
            f"Found no files in {', '.join(given)!s:.300}; expected some that end in "
            f"{', '.join(KINDS)}."
        )
    return list(found.values()), others


def require_labels(sources: Sequence[Source]) -> None:
    """Refuse files whose rows would get the same ids.

    Raises:
        InvalidInputError: If two have the same label.
    """
    labels: dict[str, str] = {}
    for source in sources:
        other = labels.setdefault(source.label, source.path)
        if other != source.path:
            raise InvalidInputError(
                f"{other} and {source.path} would give their rows the same ids; give the folder "
                "that holds both, or name the column of ids with --id-column."
            )


def identify(path: str) -> tuple[int, str]:
    """Size and fingerprint of a file: its size, time of change, and three samples of it.

    Raises:
        InvalidInputError: If it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            state = os.fstat(file.fileno())
            digest = blake2b(f"{state.st_size} {state.st_mtime_ns}".encode(), digest_size=16)
            last = max(0, state.st_size - _SAMPLE_BYTES)
            for offset in sorted({0, last // 2, last}):
                file.seek(offset)
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise unreadable(path, error) from None
    return state.st_size, digest.hexdigest()


def _expand(given: Sequence[str]) -> Iterator[tuple[str, str, bool]]:
    """Yield path, label, and whether the file was named rather than found in a folder."""
    for name in given:
        if os.path.isdir(name):
            for path in _walk(name):
                yield path, Path(path).relative_to(name).as_posix(), False
        elif os.path.isfile(name):
            yield name, Path(name).name, True
        elif glob.has_magic(name):
            fixed = _fixed(name)
            for path in sorted(glob.glob(name, recursive=True)):
                if os.path.isfile(path):
                    yield path, os.path.relpath(path, fixed).replace(os.sep, "/"), True
        elif os.path.exists(name):
            raise InvalidInputError(f"{name!r:.300} is no plain file; write it to one first.")
        else:
            raise InvalidInputError(f"There is no file {name!r:.300}; check its name.")


def _walk(folder: str) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith("."):
                yield os.path.join(place, name)


def _fixed(pattern: str) -> str:
    """The folder above the first part of a pattern that varies."""
    parts = Path(pattern).parts
    fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    return os.path.join(*parts[:fixed]) if fixed else os.curdir


def _unknown(path: str) -> str:
    if path.lower().endswith(_PACKED):
        return f"{path} is compressed; expand it first, as in gzip -dk."
    return (
        f"{path} does not end in {', '.join(KINDS)}; say what it is with --format, or leave it out."
    )


def _require_unicode(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidInputError(
            f"The file name {path!r:.300} is not UTF-8, and ids may be made of it; rename it."
        ) from None


def unreadable(path: str, error: OSError) -> InvalidInputError:
    """Say that a file cannot be read."""
    return InvalidInputError(f"Cannot read {path}: {error.strerror or error}.")
