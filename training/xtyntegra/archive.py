"""Arrays and JSON in one zip file, as ``numpy.load`` reads it: there as a whole or not at all."""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from training.xtyntegra.errors import BenchmarkError

RECORDS = "records.json"
_SUFFIX = ".npy"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same content makes the same bytes


def replace_file(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file beside its place, durably, and rename it into place.

    Raises:
        OSError: If the disk does not take it; the file is as it was.
    """
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("wb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def to_json(value: Any) -> bytes:
    """Write JSON for people and programs.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    return text.encode("utf-8", "surrogatepass") + b"\n"


def write_archive(
    path: Path,
    arrays: Iterable[tuple[str, NDArray[Any]]],
    records: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays by name, and records beside them.

    Raises:
        OSError: If the disk does not take it; the file is as it was.
    """

    def write(out: IO[bytes]) -> None:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=4) as archive:
            if records is not None:
                archive.writestr(_entry(RECORDS), to_json(records))
            for name, array in arrays:
                with archive.open(_entry(name + _SUFFIX), "w", force_zip64=True) as entry:
                    npy.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)

    replace_file(path, write)


class Archive:
    """An open archive; use it in a ``with`` block.

    Args:
        path: The file.

    Raises:
        BenchmarkError: If it cannot be read or is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
            self.names = frozenset(
                name.removesuffix(_SUFFIX)
                for name in self._zip.namelist()
                if name.endswith(_SUFFIX)
            )
        except (OSError, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def array(self, name: str) -> NDArray[Any]:
        """Read an array; its bytes are checked against their sum.

        Raises:
            BenchmarkError: If there is no such array, or it is damaged.
        """
        try:
            with self._zip.open(name + _SUFFIX) as entry:
                return npy.read_array(entry, allow_pickle=False)
        except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error

    def records(self) -> dict[str, Any]:
        """Read the records.

        Raises:
            BenchmarkError: If there are none, or they are damaged.
        """
        try:
            return json.loads(self._zip.read(RECORDS))
        except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> BenchmarkError:
        why = " ".join(str(error).split())
        return BenchmarkError(
            f"{self.path} cannot be read ({why}); expected a file as the benchmark wrote it: run "
            "the benchmark again."
        )


def sha256_of(path: Path) -> str:
    """Hash a file.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry
