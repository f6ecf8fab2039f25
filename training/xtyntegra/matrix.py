"""The matrix: which training makes zero-shot retrieval robust? Runs, resumes, lists and sums up.

    python -m training.xtyntegra.matrix                 # all runs but those that are done
    python -m training.xtyntegra.matrix --status        # what is done, what is left, how long
    python -m training.xtyntegra.matrix --summary training/xtyntegra/results/matrix.json

A run's folder holds ``result.json`` and ``outcomes.npz`` (the ranks of every query) once it is
done, and nothing before: a run that was killed begins again, one that is done is never made twice.
Weights are dropped once they are scored, unless ``--keep-weights``.
"""

import argparse
import fnmatch
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from app.errors import ServiceError
from training.checkpoint import (
    MANIFEST,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from training.config import ConfigError, TrainConfig, load_config
from training.corpus import CorpusError, data_folder, select_corpora
from training.data.lexicons import build_lexicon, read_pairs
from training.loop import train
from training.trainer import TrainingError
from training.vocabulary import Vocabulary
from training.xtyntegra.errors import BenchmarkError
from training.xtyntegra.matrix_exam import Exam, make_exam
from training.xtyntegra.matrix_plan import (
    DICTIONARY,
    Grid,
    Run,
    config_of,
    load_grid,
    runs_of,
    scoring_of,
)
from training.xtyntegra.matrix_runs import (
    is_done,
    mark_current,
    require_alone,
    status_table,
    write_result,
)
from training.xtyntegra.matrix_score import score
from training.xtyntegra.matrix_summary import write_summary
from training.xtyntegra.matrix_train import Shared, train_body, train_run

log = logging.getLogger(__name__)
GRID, OUT = Path("training/configs/matrix/grid.toml"), Path("runs/matrix")
WARM, BODY = "warm", "body"
TABLE = "embeddings.weight"
REFUSED, SIGNALLED = 2, 130
KNOWN = (BenchmarkError, ConfigError, CorpusError, CheckpointError, TrainingError, ServiceError)


@dataclass(slots=True)
class Bench:
    """All that runs share, made when the first of them needs it.

    Attributes:
        grid: The matrix.
        path: Of its file; configurations lie beside it.
        folder: Of its runs.
        shared: Corpora and vocabulary; the same in all arms.
        exams: By arm.
    """

    grid: Grid
    path: Path
    folder: Path
    shared: Shared | None = None
    exams: dict[str, Exam] = field(default_factory=dict)

    def require_warm(self) -> None:
        """Make the static weights that all runs start from, once."""
        warm = self.folder / WARM
        config = load_config(self.path.parent / f"{WARM}.toml")
        if not (warm / MANIFEST).exists() or load_checkpoint(warm).progress["step"] < (
            config.optim.steps
        ):
            train(config, warm, resume=True)

    def require_words(self, config: TrainConfig) -> None:
        """Make the dictionary, once, if a run switches words."""
        words = self.folder / DICTIONARY
        if not config.augmentation.dictionaries or words.exists():
            return
        corpora = select_corpora(list(self.grid.dictionary.corpora), shippable=True)
        pairs = (pair for corpus in corpora for pair in read_pairs(data_folder(), corpus))
        build_lexicon(pairs, words, [f"{c.name}: {c.licence}" for c in corpora])

    def material(self, config: TrainConfig) -> Shared:
        """Return what runs share."""
        if self.shared is None:
            self.shared = Shared.read(config, self.folder / WARM)
        return self.shared

    def require_body(self, config: TrainConfig) -> None:
        """Make the transformer that transformers start from, once."""
        body = self.folder / BODY
        if config.encoder.kind != "transformer" or (body / MANIFEST).exists():
            return
        table = load_checkpoint(self.folder / WARM).weights[TABLE]
        own = load_config(self.path.parent / f"{BODY}.toml")
        log.info("training the transformer that others start from")
        save_checkpoint(body, train_body(own, self.material(own), table).snapshot)

    def exam(self, arm: str, words: Vocabulary) -> Exam:
        """Return what an arm is measured on."""
        if arm not in self.exams:
            kept = self.folder / "perturbed"
            scoring = scoring_of(self.grid, arm)
            self.exams[arm] = make_exam(scoring, words.tokenizer, words.pad_id, data_folder(), kept)
        return self.exams[arm]


def make_run(bench: Bench, run: Run, *, keep_weights: bool) -> float:
    """Train and score one run; returns its seconds by the clock."""
    mark_current(bench.folder, run)
    began = time.monotonic()
    config = config_of(run, bench.grid, bench.path, bench.folder)
    bench.require_words(config)
    bench.require_body(config)
    shared = bench.material(config)
    trained = train_run(config, shared)
    if keep_weights:
        save_checkpoint(bench.folder / run.name / "checkpoint", trained.snapshot)
    exam = bench.exam(run.arm, shared.vocabulary)
    scoring_began = time.process_time()
    outcomes = score(trained.encoder, exam)
    outcomes |= {f"applicable:{name}": one.applicable for name, one in exam.attacked.items()}
    result = {
        "run": asdict(run),
        "config": config.model_dump(mode="json"),
        "languages": exam.languages,
        "perturbed": {name: one.sha256 for name, one in exam.attacked.items()},
        "applicable": {
            n: one.applicable.mean(axis=(1, 2)).round(4).tolist()
            for n, one in exam.attacked.items()
        },
        "losses": trained.losses,
        "train_cpu_seconds": round(trained.seconds, 1),
        "score_cpu_seconds": round(time.process_time() - scoring_began, 1),
        "wall_seconds": round(time.monotonic() - began, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_result(bench.folder, run, result, outcomes)
    return time.monotonic() - began


def run_all(bench: Bench, runs: Sequence[Run], *, keep_weights: bool) -> None:
    """Make the runs that are not done."""
    require_alone(bench.folder)
    bench.folder.mkdir(parents=True, exist_ok=True)
    bench.require_warm()
    for number, run in enumerate(runs, 1):
        if is_done(bench.folder, run):
            continue
        seconds = make_run(bench, run, keep_weights=keep_weights)
        log.info("%d of %d: %s, %.0f s", number, len(runs), run.name, seconds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line; returns the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        grid = load_grid(options.grid)
        runs = [run for run in runs_of(grid) if fnmatch.fnmatch(run.name, options.only)]
        if not runs:
            raise ConfigError(f"--only {options.only} names none of the runs of {options.grid}")
        if options.status:
            sys.stdout.write(status_table(options.out, runs) + "\n")
        elif options.summary:
            write_summary(options.summary, grid, options.out, runs)
        else:
            bench = Bench(grid, options.grid, options.out)
            run_all(bench, runs, keep_weights=options.keep_weights)
    except KNOWN as error:
        sys.stderr.write(f"error: {error}\n")
        return REFUSED
    except OSError as error:
        sys.stderr.write(f"error: cannot write or read files: {error}\n")
        return REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted; runs that are done stay done\n")
        return SIGNALLED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.xtyntegra.matrix",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--grid", type=Path, default=GRID, help=f"what the runs are ({GRID})")
    parser.add_argument("--out", type=Path, default=OUT, help=f"folder of the runs ({OUT})")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="as static-*-plain-s0")
    parser.add_argument("--keep-weights", action="store_true", help="save each run's checkpoint")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--status", action="store_true", help="list what is done, and stop")
    chosen.add_argument("--summary", type=Path, metavar="FILE", help="write the figures, and stop")
    return parser


if __name__ == "__main__":
    sys.exit(main())
