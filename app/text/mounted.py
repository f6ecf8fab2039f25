"""Dictionaries by path: which files of a folder are dictionaries, and how each is read."""

from collections.abc import Iterator
from pathlib import Path

from app.errors import InvalidInputError
from app.text.dictionaries import Entry, read_entries
from app.text.freedict import read_freedict

ENDINGS = (".tsv", ".tsv.gz", ".index")


def find_dictionaries(path: Path) -> tuple[Path, ...]:
    """Name the dictionaries at a path: the file itself, or those in the folder, by name.

    Raises:
        InvalidInputError: If there is none.
    """
    found = [path] if path.is_file() else sorted(path.iterdir()) if path.is_dir() else []
    known = tuple(file for file in found if file.is_file() and file.name.endswith(ENDINGS))
    if not known:
        raise InvalidInputError(
            f"{path} has no dictionary; expected a file that ends in {', '.join(ENDINGS)}, or a "
            "folder of such files: correct the path."
        )
    return known


def read_dictionary(path: Path) -> Iterator[Entry]:
    """Yield the pairs of words of a dictionary, by its ending.

    Raises:
        InvalidInputError: If it cannot be read; names the file and the place.
    """
    return read_freedict(path) if path.suffix == ".index" else read_entries(path)
