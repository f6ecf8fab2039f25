"""Make the perturbed queries of the public sets, or say whether they are those that come along.

    python -m training.xtyntegra.perturb FOLDER [--full] [--languages swh_Latn,...] [--workers 2]

A run makes them itself where they are missing; this command makes them once for many runs, or on
another machine. ``--write-table`` writes the digests that come along anew, after a change that is
meant to change the texts.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import ServiceError
from training.corpus import CorpusError, data_folder
from training.xtyntegra.attacked import TextAttacks
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.known import TABLE, write_table
from training.xtyntegra.perturbed_files import read_perturbed
from training.xtyntegra.plan import Plan, full_plan, quick_plan
from training.xtyntegra.resampling import Drawing
from training.xtyntegra.task import Cell
from training.xtyntegra.tasks import CORE, load_tasks


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and make the files; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m training.xtyntegra.perturb", description="Perturbed queries"
    )
    parser.add_argument("folder", type=Path, help="where the files are, or go")
    parser.add_argument("--full", action="store_true", help="the full plan, which takes hours")
    parser.add_argument("--languages", default="", help="FLORES codes, by commas")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--write-table", action="store_true", help=f"write {TABLE.name} anew from these files"
    )
    options = parser.parse_args(arguments)
    languages = [lang for lang in options.languages.split(",") if lang]
    try:
        plan = full_plan(languages) if options.full else quick_plan(languages)
        cells = [cell for cell in _cells(plan) if plan.covers(cell)]
        attacks = TextAttacks(plan, options.folder, Drawing(), accept_changed=True)
        attacks.prepare(cells, _say, options.workers)
        return _tell(attacks, cells, options.folder, write=options.write_table)
    except (CorpusError, BenchmarkError, ServiceError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


def _cells(plan: Plan) -> list[Cell]:
    return load_tasks(list(plan.cells or CORE), data_folder())


def _tell(attacks: TextAttacks, cells: Sequence[Cell], folder: Path, *, write: bool) -> int:
    """Say what is there; 1 where it is not what comes along."""
    requests = attacks.requests(cells)
    if write:
        found = (read_perturbed(folder / one.file) for one in requests)
        TABLE.write_text(write_table(found), encoding="utf-8")
        sys.stdout.write(f"{TABLE.name}: digests of {len(requests)} files\n")
        return 0
    for attack in attacks.protocol():
        sys.stdout.write(
            f"{attack['sha256']}  {attack['family']}/edits={attack['edits']} ({attack['known']})\n"
        )
    for sentence in attacks.changed:
        sys.stdout.write(f"changed: {sentence}\n")
    return 1 if attacks.changed else 0


if __name__ == "__main__":
    sys.exit(main())
