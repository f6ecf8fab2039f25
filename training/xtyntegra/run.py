"""The whole benchmark, in order: tasks, vectors, clean figures, attacks, certificates, sums, files.

What is finished is on disk as parts, so that a run that was killed goes on; the run's own files
appear at its end. Nothing here computes a figure: it says what is computed, when, and what is kept.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.xtyntegra.archive import replace_file, to_json, write_archive
from training.xtyntegra.clean import clean_entries, measure_clean
from training.xtyntegra.composition import (
    RECORDS,
    compose,
    describe_tasks,
    fingerprint,
    grouped,
    plain,
    queries_of,
)
from training.xtyntegra.encoders import OpenEncoder, Opening, open_encoder
from training.xtyntegra.environment import describe_environment
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.identity import Hasher
from training.xtyntegra.measure import Measured
from training.xtyntegra.parts import Parts, remove_parts
from training.xtyntegra.plan import Plan
from training.xtyntegra.progress import Progress, to_stderr
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.result import (
    CLEAN,
    QUERIES,
    REPORT,
    RESULT,
    VERSION,
    QueryFigures,
    arrays_of,
    read_run,
)
from training.xtyntegra.robust import Robustness
from training.xtyntegra.task import Cell
from training.xtyntegra.tasks import CORE, load_tasks
from training.xtyntegra.vectors import Vectors

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        source: What is scored; see ``encoders.open_encoder``.
        out: The run's folder.
        data: Folder of the corpora.
        tasks: Tasks, or settings of them.
        languages: Empty: all.
        own: Folder of the task ``own``, if it is among these.
        plan: What is attacked; None: nothing.
        perturbed: Folder of perturbed queries, which runs may share.
        accept_changed: Go on with other perturbed queries than those that come along.
        drawing: Of the intervals.
        opening: Choices that some encoders need.
        name: Of the encoder, for titles; None: its own.
    """

    source: str
    out: Path
    data: Path
    tasks: Sequence[str] = CORE
    languages: Sequence[str] = ()
    own: Path | None = None
    plan: Plan | None = None
    perturbed: Path = Path("perturbed")
    accept_changed: bool = False
    drawing: Drawing = field(default_factory=Drawing)
    opening: Opening = field(default_factory=Opening)
    name: str | None = None


def run_benchmark(request: Request, tell: Callable[[str], None] = to_stderr) -> dict[str, Any]:
    """Measure an encoder and write the run's folder, or go on with what is there of it.

    Args:
        request: What to run.
        tell: Takes lines that say how far it is.

    Returns:
        The result, as in ``result.json``.

    Raises:
        BenchmarkError: If the encoder, the folder or the perturbed queries cannot be used.
        CorpusError: If a task cannot.
        ServiceError: If an artifact or a service fails.
    """
    cells = load_tasks(
        request.tasks, request.data, languages=request.languages, own_folder=request.own
    )
    if not cells:
        raise BenchmarkError("these tasks have no cell in these languages: name others")
    with open_encoder(request.source, request.opening) as encoder:
        tell(f"{encoder.name} ({encoder.kind}): {_count(cells)}")
        run = _Run(request, encoder, cells, tell)
        if (finished := run.finished()) is not None:
            tell(f"{request.out} is finished already")
            return finished
        run.measure()
        return run.finish()


class _Run:
    """One run while it goes on."""

    def __init__(
        self,
        request: Request,
        encoder: OpenEncoder,
        cells: Sequence[Cell],
        tell: Callable[[str], None],
    ) -> None:
        self._request, self._encoder, self._cells, self._tell = request, encoder, cells, tell
        hasher = Hasher()
        self._hashes = {cell.key: hasher.cell(cell) for cell in cells}
        self._robust: Robustness | None = None
        if request.plan is not None:
            self._robust = Robustness(
                encoder,
                request.plan,
                request.perturbed,
                request.drawing,
                accept_changed=request.accept_changed,
            )
            progress = Progress("perturbing", 0, tell)
            self._robust.prepare(cells, progress.note)
        self._plan = self._described()
        self._vectors = Vectors(encoder.encode_query, encoder.encode_document)
        self._written: list[str] = []

    def finished(self) -> dict[str, Any] | None:
        """Read the result if the folder holds this very run.

        Raises:
            BenchmarkError: If it holds another one, or a damaged one.
        """
        out = self._request.out
        if not (out / RESULT).exists():
            return None
        with read_run(out) as found:
            result = found.result
        if result.get("plan_sha256") != fingerprint(self._plan):
            raise BenchmarkError(
                f"{out} holds a run of {result['encoder']['name']} with other options, tasks or "
                "weights; give another folder with --out."
            )
        self._report()
        remove_parts(out)  # a run killed at its very end left them
        return result

    def measure(self) -> None:
        """Measure what is not measured yet, part by part."""
        self._parts = Parts(self._request.out, self._plan)
        self._clean()
        if self._robust is not None and self._request.plan is not None:
            self._attacked(self._robust, self._request.plan)

    def finish(self) -> dict[str, Any]:
        """Join the parts in the run's files, the result last of those that others read."""
        out = self._request.out
        write_archive(out / QUERIES, self._parts.arrays(self._written))
        records = [self._parts.records(name) for name in self._written]
        self._tell("summing up")
        result = compose(out / QUERIES, self._head(), records, self._request.drawing)
        replace_file(out / RESULT, lambda file: file.write(to_json(result)))
        self._report()
        remove_parts(out)
        return result

    def _head(self) -> dict[str, Any]:
        """Write what stands in a result beside its figures."""
        request, encoder, robust = self._request, self._encoder, self._robust
        left = [{"what": "attacks", "why": "this run was asked for clean figures alone"}]
        return {
            "encoder": {
                "name": request.name or encoder.name,
                "kind": encoder.kind,
                "identity": encoder.identity,
                "source": request.source,
                "dim": self._vectors.queries(self._cells[0].queries[:1]).shape[1],
            },
            "environment": describe_environment(encoder.runtime),
            "protocol": {
                "tasks": self._plan["tasks"],
                "attacks": self._plan["attacks"],
                "epsilons": [] if robust is None else robust.epsilons,
                "changed": [] if robust is None else robust.changed,
                "plan": self._plan["plan"],
                "languages": self._plan["languages"],
                **self._plan["drawing"],
            },
            "plan_sha256": fingerprint(self._plan),
            "not_measured": left if robust is None else robust.not_measured,
        }

    def _clean(self) -> None:
        groups = grouped(self._cells, lambda cell: f"{CLEAN} {cell.task} {cell.setting}")
        new = {name: cells for name, cells in groups.items() if not self._parts.has(name)}
        progress = Progress(CLEAN, sum(map(queries_of, new.values())), self._tell)
        for name, cells in groups.items():
            self._written.append(name)
            if name not in new:
                continue
            begun = time.monotonic()
            label = f"{cells[0].task}/{cells[0].setting}"

            def step(cell: Cell, label: str = label) -> None:
                progress.step(label, len(cell.queries))

            measured = measure_clean(cells, self._vectors, step)
            entries = clean_entries(cells, measured, self._hashes, self._request.drawing)
            arrays: Arrays = {}
            for cell, found in zip(cells, measured, strict=True):
                arrays[f"{cell.key}|ids"] = np.array(cell.query_ids, dtype=np.str_)
                arrays |= arrays_of(cell.key, CLEAN, found.ranks, found.values)
            self._write(name, {"cells": entries}, arrays, begun)
            progress.step(f"{label} done", 0, always=True)

    def _attacked(self, robust: Robustness, plan: Plan) -> None:
        covered = [cell for cell in self._cells if plan.covers(cell)]
        groups = grouped(covered, lambda cell: f"attacked {cell.task} {cell.query_lang}")
        new = {name: cells for name, cells in groups.items() if not self._parts.has(name)}
        progress = Progress("attacked", sum(map(queries_of, new.values())), self._tell)
        for name, cells in groups.items():
            self._written.append(name)
            if name not in new:
                continue
            begun = time.monotonic()
            clean = {cell.key: self._measured(cell) for cell in cells}
            records: dict[str, list[Any]] = {name: [] for name in RECORDS}
            arrays: Arrays = {}
            for part in robust.on(cells, clean, self._vectors):
                records["cells"] += part.entries
                records["certified"] += part.certified
                records["not_measured"] += part.not_measured
                for found, ids in part.queries:
                    arrays |= arrays_of(found.cell, found.condition, found.ranks, found.values)
                    if len(ids) < len(clean[found.cell].ranks):
                        own = np.array(ids, dtype=np.str_)
                        arrays[f"{found.cell}|{found.condition}|ids"] = own
            self._write(name, records, arrays, begun)
            progress.step(f"{cells[0].task} {cells[0].query_lang}", queries_of(cells))

    def _measured(self, cell: Cell) -> Measured:
        """Read back what a cell came to without attack."""
        name = f"{CLEAN} {cell.task} {cell.setting}"
        with self._parts.open(name) as archive:
            figures = QueryFigures(archive)
            return Measured(cell.key, CLEAN, figures.ranks(cell.key), figures.values(cell.key), {})

    def _write(
        self, name: str, records: Mapping[str, list[Any]], arrays: Arrays, begun: float
    ) -> None:
        empty: dict[str, Any] = {name: [] for name in RECORDS}
        seconds = round(time.monotonic() - begun, 3)
        self._parts.write(name, {**empty, **records, "seconds": seconds}, arrays)

    def _described(self) -> dict[str, Any]:
        """Write down all that decides the figures, to tell one run from another."""
        request, runtime = self._request, self._encoder.runtime
        described = {
            "version": VERSION,
            "encoder": self._encoder.identity,
            "runtime": {name: value for name, value in runtime.items() if name != "threads"},
            "tasks": describe_tasks(self._cells, self._hashes),
            "languages": list(request.languages),
            "plan": None if request.plan is None else asdict(request.plan),
            "attacks": [] if self._robust is None else self._robust.attacks,
            "drawing": asdict(request.drawing),
        }
        return plain(described)

    def _report(self) -> None:
        from training.xtyntegra.report import html_of

        with read_run(self._request.out) as run:
            page = html_of(run.result, run.queries).encode("utf-8", "surrogatepass")
        replace_file(self._request.out / REPORT, lambda file: file.write(page))


def _count(cells: Sequence[Cell]) -> str:
    tasks = len({cell.task for cell in cells})
    return f"{tasks} tasks, {len(cells):,} cells, {queries_of(cells):,} queries"
