"""A run's folder: written once, read strictly. What is damaged or foreign is refused by name.

``result.json`` is the last file of a run and carries the hash of ``queries.npz``, so the two cannot
be of different runs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from training.xtyntegra.archive import Archive, sha256_of
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.ranks import METRICS
from training.xtyntegra.schema import Result

RESULT, QUERIES, REPORT = "result.json", "queries.npz", "report.html"
CLEAN = "clean"
VERSION = 1

_AGAIN = "run the benchmark again with `tyntegra bench xtyntegra`"
_CUTOFF = 10


class QueryFigures:
    """What each query came to, from an archive.

    Args:
        archive: As a run wrote it.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    @cached_property
    def conditions(self) -> Mapping[str, tuple[str, ...]]:
        """Cell -> its conditions, draws apart: ``keyboard/edits=1/draw=0``."""
        found: dict[str, list[str]] = {}
        for name in sorted(self._archive.names):
            cell, _, rest = name.partition("|")
            condition, _, kind = rest.rpartition("|")
            if kind == "ranks":
                found.setdefault(cell, []).append(condition)
        return {cell: tuple(names) for cell, names in found.items()}

    def ids(self, cell: str, condition: str = CLEAN) -> NDArray[np.str_]:
        """Query ids, shape (queries,).

        Raises:
            BenchmarkError: If there is no such cell, or the file is damaged.
        """
        own = f"{cell}|{condition}|ids"
        return self._archive.array(own if own in self._archive.names else f"{cell}|ids")

    def ranks(self, cell: str, condition: str = CLEAN) -> NDArray[np.int32]:
        """Rank from 1 of the best relevant document of each query, shape (queries,).

        Raises:
            BenchmarkError: If there is no such cell and condition, or the file is damaged.
        """
        return self._archive.array(f"{cell}|{condition}|ranks")

    def values(self, cell: str, condition: str = CLEAN) -> dict[str, NDArray[np.float64]]:
        """Metric -> values of the queries, shape (queries,).

        Raises:
            BenchmarkError: If there is no such cell and condition, or the file is damaged.
        """
        found = values_of(self.ranks(cell, condition))
        for metric in METRICS:
            if (name := f"{cell}|{condition}|{metric}") in self._archive.names:
                found[metric] = self._archive.array(name)
        return found

    def close(self) -> None:
        """Close the file."""
        self._archive.__exit__()

    def array(self, name: str) -> NDArray[Any]:
        """Read an array by its whole name.

        Raises:
            BenchmarkError: If there is none, or the file is damaged.
        """
        return self._archive.array(name)


@dataclass(frozen=True)
class RunFolder:
    """A run that was read back.

    Attributes:
        path: The folder.
        result: ``result.json``, checked.
        queries: Figures of single queries; open until the end of a ``with`` block.
    """

    path: Path
    result: dict[str, Any]
    queries: QueryFigures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.queries.close()


def values_of(ranks: NDArray[np.integer]) -> dict[str, NDArray[np.float64]]:
    """Compute the metrics of queries that have one relevant document each, from its ranks."""
    found = ranks.astype(np.float64)
    first = found <= _CUTOFF
    return {
        "accuracy@1": (found == 1.0).astype(np.float64),
        "recall@10": first.astype(np.float64),
        "mrr": 1.0 / found,
        "ndcg@10": np.where(first, 1.0 / np.log2(1.0 + found), 0.0),
        "map": 1.0 / found,
    }


def arrays_of(
    cell: str,
    condition: str,
    ranks: NDArray[np.int32],
    values: Mapping[str, NDArray[np.float64]],
) -> dict[str, NDArray[Any]]:
    """Name the arrays of a cell under a condition; what follows from ranks is left out."""
    derived = values_of(ranks)
    found: dict[str, NDArray[Any]] = {f"{cell}|{condition}|ranks": ranks}
    for metric in METRICS:
        if not np.allclose(values[metric], derived[metric], rtol=0.0, atol=1e-12):
            found[f"{cell}|{condition}|{metric}"] = values[metric]
    return found


def check_result(result: Any, where: str) -> dict[str, Any]:
    """Check that a value is a result of this version.

    Raises:
        BenchmarkError: If it is not; the message names the first field.
    """
    if not isinstance(result, dict) or result.get("benchmark") != "xtyntegra":
        raise BenchmarkError(f"{where} is no result of this benchmark: {_AGAIN}.")
    if result.get("version") != VERSION:
        raise BenchmarkError(
            f"{where} has version {result.get('version')!r}; expected {VERSION}: use the project's "
            f"version that wrote it, or {_AGAIN}."
        )
    try:
        Result.model_validate(result)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise BenchmarkError(
            f"{where} is damaged: {field}: {first['msg']} ({error.error_count()} such in all): "
            f"{_AGAIN}."
        ) from error
    return result


def read_run(folder: Path) -> RunFolder:
    """Read a run back.

    Raises:
        BenchmarkError: If the folder holds no finished run, or a damaged one.
    """
    path = folder / RESULT
    if not path.is_file():
        state = "an unfinished run; start it again to go on" if (folder / "parts").is_dir() else ""
        raise BenchmarkError(
            f"{folder}: got {state or 'no ' + RESULT}; expected a folder that `tyntegra bench "
            "xtyntegra` wrote."
        )
    result = check_result(read_json(path), str(path))
    queries = folder / QUERIES
    try:
        found = sha256_of(queries)
    except OSError as error:
        raise BenchmarkError(
            f"{queries} cannot be read ({error.strerror}); expected the file beside {RESULT}: "
            f"{_AGAIN}."
        ) from error
    if found != result.get("queries", {}).get("sha256"):
        raise BenchmarkError(
            f"{queries} is not the file that {RESULT} was written with; one of them was changed: "
            f"{_AGAIN}."
        )
    return RunFolder(folder, result, QueryFigures(Archive(queries)))


def read_json(path: Path) -> Any:
    """Read a JSON file, without numbers that are none.

    Raises:
        BenchmarkError: If it cannot be read.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number")

    try:
        return json.loads(path.read_bytes(), parse_constant=refuse)
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise BenchmarkError(f"{path} cannot be read ({why}): {_AGAIN}.") from error
