"""Finished parts of a run on disk, so that a run that was killed goes on where it was.

A part is one file, renamed into place when it is whole. ``plan.json`` says which run they are of;
another run does not go on with them.
"""

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from training.xtyntegra.archive import Archive, replace_file, to_json, write_archive
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.result import read_json

PARTS = "parts"
_PLAN = "plan.json"


class Parts:
    """The parts of one run.

    Args:
        folder: Of the run; made if it is not there.
        plan: What decides the figures, as JSON: encoder, tasks, attacks, seeds.

    Raises:
        BenchmarkError: If the folder holds parts of another run, or cannot be written.
    """

    def __init__(self, folder: Path, plan: Mapping[str, Any]) -> None:
        self._folder = folder / PARTS
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            stated = self._folder / _PLAN
            if stated.is_file():
                self._require_same(read_json(stated), plan)
            else:
                replace_file(stated, lambda out: out.write(to_json(plan)))
        except OSError as error:
            raise BenchmarkError(
                f"{folder} cannot be written ({error.strerror}); give another folder with --out."
            ) from error

    def _require_same(self, found: Any, plan: Mapping[str, Any]) -> None:
        old = found if isinstance(found, dict) else {}
        if changed := sorted(key for key in {*old, *plan} if old.get(key) != plan.get(key)):
            raise BenchmarkError(
                f"{self._folder.parent} holds an unfinished run with another {', '.join(changed)}; "
                "give the same options to go on with it, another folder with --out, or remove "
                f"{self._folder}."
            )

    def has(self, name: str) -> bool:
        """Tell whether a part is finished."""
        return self._path(name).is_file()

    def write(
        self, name: str, records: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
    ) -> None:
        """Finish a part.

        Raises:
            BenchmarkError: If the disk does not take it.
        """
        try:
            write_archive(self._path(name), arrays.items(), records)
        except OSError as error:
            raise BenchmarkError(
                f"{self._path(name)} cannot be written ({error.strerror}); make room and start "
                "again: what is finished stays."
            ) from error

    def open(self, name: str) -> Archive:
        """Open a finished part.

        Raises:
            BenchmarkError: If it is damaged.
        """
        return Archive(self._path(name))

    def records(self, name: str) -> dict[str, Any]:
        """Read the records of a finished part.

        Raises:
            BenchmarkError: If it is damaged.
        """
        with self.open(name) as archive:
            return archive.records()

    def arrays(self, names: list[str]) -> Iterator[tuple[str, NDArray[Any]]]:
        """Read all arrays of some parts, one after another.

        Raises:
            BenchmarkError: If one is damaged.
        """
        for name in names:
            with self.open(name) as archive:
                for array in sorted(archive.names):
                    yield array, archive.array(array)

    def _path(self, name: str) -> Path:
        return self._folder / f"{re.sub(r'[^A-Za-z0-9_.-]+', '-', name)}.npz"


def remove_parts(folder: Path) -> None:
    """Remove a finished run's parts, if there are any: all of them are in its files."""
    if (folder / PARTS).is_dir():
        shutil.rmtree(folder / PARTS)
