"""Files of lines: JSON, a document a line, or one document a file."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import orjson

from app.bulk.parts import PART_BYTES, Done, Layout, Part, Row, Source
from app.errors import InvalidInputError

_OTHER_UNICODE = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def skip_mark(path: Path, encoding: str) -> int:
    """Tell where a file's text begins: behind the byte order mark of UTF-8, if there is one.

    Raises:
        InvalidInputError: If the mark is that of an encoding whose lines cannot be told apart by
            bytes, or the encoding is not known.
    """
    require_encoding(encoding)
    with path.open("rb") as file:
        head = file.read(4)
    for mark, name in _OTHER_UNICODE.items():
        if head.startswith(mark):
            raise InvalidInputError(
                f"{path} is {name}; expected UTF-8: convert it, as in iconv -f {name} -t UTF-8."
            )
    return len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0


def require_encoding(encoding: str) -> str:
    """Return the encoding's usual name.

    Raises:
        InvalidInputError: If it is not known, or writes ASCII in another way.
    """
    ascii_text = bytes(range(128)).decode("ascii")
    try:
        plain = ascii_text.encode(encoding) == ascii_text.encode("ascii")
        name = codecs.lookup(encoding).name
    except (LookupError, UnicodeError):
        plain, name = False, encoding
    if not plain:
        raise InvalidInputError(
            f"{encoding!r:.80} is no encoding that writes ASCII as ASCII; give one such as utf-8, "
            "cp1252 or gb18030, or convert the files to UTF-8."
        )
    return name


class Lines:
    """Goes through a file line by line, knowing offset and number, with a bound on memory.

    Args:
        file: Open for bytes.
        start: Where to begin.
        row: Number of the line there.
        most: A longer line is skipped without being held.
    """

    def __init__(self, file: IO[bytes], start: int, row: int, most: int) -> None:
        self._file = file
        self._most = most
        self.seek(start, row)

    def seek(self, offset: int, row: int) -> None:
        """Go to the beginning of a line."""
        self._file.seek(offset)
        self.offset, self.row = offset, row

    def next(self) -> bytes | None:
        """Read a line, with its end; None: it was too long. At the end of the file, ``b""``."""
        line = self._file.readline(self._most + 1)
        self.offset += len(line)
        self.row += bool(line)
        if len(line) <= self._most or line.endswith(b"\n"):
            return line
        while line and not line.endswith(b"\n"):
            line = self._file.readline(1 << 20)
            self.offset += len(line)
        return None


class LineReader:
    """Reads JSON Lines (``jsonl``) or a text a line (``text``)."""

    typed = True

    def __init__(self, source: Source, layout: Layout) -> None:
        self._path = Path(source.path)
        self._layout = layout
        self._json = source.kind == "jsonl"
        self._bytes = source.bytes
        self._begin = skip_mark(self._path, layout.encoding)
        self._encoding = require_encoding(layout.encoding)

    def names(self) -> list[str] | None:
        """Each row has its own columns, or only a text."""
        return None if self._json else ["text"]

    def plan(self, done: Done) -> Iterator[Part]:
        """Cut the file at line ends."""
        with self._path.open("rb") as file:
            lines = Lines(file, self._begin, 1, self._layout.max_row_bytes)
            while lines.offset < self._bytes:
                if part := done.get(lines.offset):
                    lines.seek(part.end, part.first_row + part.rows)
                    continue
                start, first = lines.offset, lines.row
                while lines.row - first < self._layout.part_rows:
                    if lines.offset - start >= PART_BYTES or lines.next() == b"":
                        break
                if lines.row == first:
                    return
                size = lines.offset - start
                yield Part(start, lines.offset, first, lines.row - first, size)

    def rows(self, part: Part) -> Iterator[Row]:
        """Read the rows of a part, but for empty lines."""
        with self._path.open("rb") as file:
            lines = Lines(file, part.start, part.first_row, self._layout.max_row_bytes)
            while lines.offset < part.end:
                number = lines.row
                line = lines.next()
                if line == b"":
                    raise changed(self._path)
                if line is None:
                    yield Row(number, error=too_long(self._layout.max_row_bytes))
                elif line.strip():
                    yield self._row(number, line)

    def _row(self, number: int, line: bytes) -> Row:
        try:
            text = line if self._encoding == "utf-8" and self._json else self._decode(line)
            if not self._json:
                return Row(number, {"text": str(text).rstrip("\r\n")})
            values: Any = orjson.loads(text)
        except UnicodeDecodeError as error:
            return Row(number, error=undecodable(error))
        except orjson.JSONDecodeError as error:
            return Row(number, error=f"is no JSON ({error}); expected an object")
        if not isinstance(values, dict):
            kind = type(values).__name__
            return Row(number, error=f"is JSON of type {kind}; expected an object")
        return Row(number, values)

    def _decode(self, line: bytes) -> str:
        return line.decode(self._encoding)


class FileReader:
    """Reads a file as one document."""

    typed = True

    def __init__(self, source: Source, layout: Layout) -> None:
        self._path = Path(source.path)
        self._layout = layout
        self._bytes = source.bytes
        self._begin = skip_mark(self._path, layout.encoding)

    def names(self) -> list[str]:
        """There is only the text."""
        return ["text"]

    def plan(self, done: Done) -> Iterator[Part]:
        """Take the whole file."""
        if self._bytes and 0 not in done:
            yield Part(0, self._bytes, 1, 1, self._bytes)

    def rows(self, part: Part) -> Iterator[Row]:
        """Read the file."""
        if part.end > self._layout.max_row_bytes:
            yield Row(1, error=too_long(self._layout.max_row_bytes))
            return
        content = self._path.read_bytes()
        if len(content) != part.end:
            raise changed(self._path)
        try:
            yield Row(1, {"text": content[self._begin :].decode(self._layout.encoding)})
        except UnicodeDecodeError as error:
            yield Row(1, error=undecodable(error))


def too_long(most: int) -> str:
    """Say that a row is over the limit."""
    return f"has more than {most} bytes; shorten it, or raise --max-row-bytes"


def undecodable(error: UnicodeDecodeError) -> str:
    """Say that a row is in another encoding."""
    name = error.encoding.upper().replace("UTF8", "UTF-8")
    return f"is not {name} at byte {error.start}; convert it, or name its --encoding"


def changed(path: Path) -> InvalidInputError:
    """Say that a file is not what it was when the job began."""
    return InvalidInputError(
        f"{path} changed while it was read; wait until nobody writes to it, then run again with "
        "--changed again."
    )
