"""The folders of the matrix's runs: done or not, written at once or not at all, and a table."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.matrix_plan import Run

RESULT, OUTCOMES, CURRENT = "result.json", "outcomes.npz", "current.json"


def is_done(folder: Path, run: Run) -> bool:
    """Tell whether a run has its result; it is written last."""
    return (folder / run.name / RESULT).is_file()


def write_result(
    folder: Path, run: Run, result: Mapping[str, Any], outcomes: Mapping[str, NDArray[np.generic]]
) -> None:
    """Write what a run came to; a kill in between leaves a run that is not done."""
    place = folder / run.name
    place.mkdir(parents=True, exist_ok=True)
    packed = {
        name: np.packbits(values.astype(np.uint8), axis=-1) if values.dtype == bool else values
        for name, values in outcomes.items()
    }
    lengths = {n: values.shape[-1] for n, values in outcomes.items() if values.dtype == bool}
    writing = place / "outcomes.writing.npz"
    np.savez_compressed(writing, **packed)  # pyright: ignore[reportArgumentType]
    writing.replace(place / OUTCOMES)
    text = json.dumps({**result, "bits": lengths}, indent=1) + "\n"
    later = place / "result.writing"
    later.write_text(text, encoding="utf-8")
    later.replace(place / RESULT)


def read_result(folder: Path, run: Run) -> tuple[dict[str, Any], dict[str, NDArray[np.generic]]]:
    """Read what ``write_result`` wrote.

    Raises:
        BenchmarkError: If it cannot be read.
    """
    place = folder / run.name
    try:
        result = json.loads((place / RESULT).read_text(encoding="utf-8"))
        with np.load(place / OUTCOMES, allow_pickle=False) as file:
            outcomes = {name: file[name] for name in file.files}
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"cannot read {place}: {error}: remove this folder and run the matrix again"
        ) from error
    for name, length in result["bits"].items():
        outcomes[name] = np.unpackbits(outcomes[name], axis=-1, count=length).astype(bool)
    return result, outcomes


def mark_current(folder: Path, run: Run) -> None:
    """Say which run is being made, and by which process."""
    note = {"run": run.name, "pid": os.getpid(), "began": time.time()}
    (folder / CURRENT).write_text(json.dumps(note) + "\n", encoding="utf-8")


def read_current(folder: Path) -> dict[str, Any] | None:
    """Read which run is being made; None if none is, or its process has ended."""
    try:
        note = json.loads((folder / CURRENT).read_text(encoding="utf-8"))
        pid = int(note["pid"])
    except (OSError, ValueError, KeyError):
        return None
    try:
        os.kill(pid, 0)
    except PermissionError:  # it lives, and is another user's
        return note
    except OSError:
        return None
    return note


def require_alone(folder: Path) -> None:
    """Check that no other process makes runs in a folder.

    Raises:
        BenchmarkError: If one does.
    """
    note = read_current(folder)
    if note is not None and note["pid"] != os.getpid():
        raise BenchmarkError(
            f"process {note['pid']} makes {note['run']} in {folder}: wait for it, end it, or "
            "choose another folder with --out"
        )


def status_table(folder: Path, runs: Sequence[Run]) -> str:
    """Say of each cell how many seeds are done, and how long the rest will take."""
    seconds: dict[str, list[float]] = {}
    cells: dict[str, str] = {}
    current = read_current(folder)
    left: list[Run] = []
    for run in runs:
        mark = "-"
        if is_done(folder, run):
            result = json.loads((folder / run.name / RESULT).read_text(encoding="utf-8"))
            seconds.setdefault(run.cell, []).append(result["wall_seconds"])
            mark = "x"
        else:
            left.append(run)
            mark = ">" if current and current["run"] == run.name else "-"
        cells[run.cell] = cells.get(run.cell, "") + mark
    width = max(map(len, cells), default=0)
    lines = [
        f"{cell:{width}}  {marks}"
        + (f"  {np.mean(seconds[cell]):6.0f} s a run" if cell in seconds else "")
        for cell, marks in cells.items()
    ]
    lines.append(f"{len(runs) - len(left)} of {len(runs)} runs are done (x); > is being made")
    return "\n".join([*lines, _estimate(left, seconds)])


def _estimate(left: Sequence[Run], seconds: Mapping[str, Sequence[float]]) -> str:
    """Estimate the time of the runs that are left, by their cells, else arms, else all."""
    if not left:
        return "nothing is left to run"
    if not seconds:
        return "no run is done yet: no estimate"
    everything = [value for values in seconds.values() for value in values]
    total = 0.0
    for run in left:
        arm = [v for cell, values in seconds.items() if cell.startswith(run.arm) for v in values]
        total += float(np.mean(seconds.get(run.cell) or arm or everything))
    return f"{len(left)} left, some {total / 60:.0f} minutes at the pace so far"
