"""Text files of official releases, line by line, with errors that name file and line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from training.registry import CorpusError


def read_lines(path: Path) -> list[str]:
    """Read the lines of a UTF-8 file, without line ends; only a line feed ends a line.

    Raises:
        CorpusError: If the file cannot be read or is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise CorpusError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise CorpusError(f"{path}, line {line}: got bytes that are not UTF-8") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_texts(path: Path) -> list[str]:
    """Read a file of one text a line.

    Raises:
        CorpusError: If the file cannot be read, or a line is empty.
    """
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise CorpusError(f"{path}, line {number}: got an empty line; expected a text")
    return [line.strip() for line in lines]


def read_fields(
    path: Path, columns: Sequence[str], *, tabs_in_last: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """Go through a file of fields between tabs.

    Args:
        path: The file.
        columns: What each field is, for errors.
        tabs_in_last: Whether the last field is all the rest of a line.

    Yields:
        Number of the line, from 1, and its fields without white space around them.

    Raises:
        CorpusError: If the file cannot be read, or a line has another number of fields.
    """
    for number, line in enumerate(read_lines(path), 1):
        most = len(columns) - 1 if tabs_in_last else -1
        found = [field.strip() for field in line.split("\t", most)]
        if len(found) != len(columns):
            raise CorpusError(
                f"{path}, line {number}: got {len(found)} fields between tabs; expected "
                f"{len(columns)}: {', '.join(columns)}"
            )
        yield number, found
