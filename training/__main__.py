"""Train an encoder from a TOML file, on the corpora at TYNTEGRA_DATA."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training.checkpoint import CheckpointError
from training.config import ConfigError, load_config
from training.corpus import CorpusError
from training.logs import LogError
from training.loop import train
from training.plan import plan_run
from training.trainer import TrainingError

REFUSED = 2
SIGNALLED = 128  # and the signal's number, as a shell reports it: SIGINT 130, SIGTERM 143
KNOWN = (ConfigError, CorpusError, CheckpointError, LogError, TrainingError)
"""Errors that say by themselves, in one line, what to do."""
EPILOG = """
examples:
  python -m training training/configs/tiny.toml --dry-run
  python -m training training/configs/tiny.toml --out runs/tiny
  python -m training training/configs/default.toml --set optim.lr=3e-3 --resume
  torchrun --nproc-per-node 2 -m training training/configs/default.toml

The folder then holds the last checkpoint, best/ (with run.evaluate_every), log.jsonl and
summary.md. SIGINT and SIGTERM save after the step at hand; exit status: 0 done, 2 refused or
failed with one line, 130 or 143 interrupted.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.dry_run and (options.out or options.resume):
        parser.error("--dry-run writes and resumes nothing: drop --out and --resume")
    # Of the processes that torchrun starts, the first one speaks; of errors all do.
    first = os.environ.get("RANK", "0") == "0"
    level = logging.INFO if first else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
    try:
        config = load_config(options.config, options.set)
        if options.dry_run:
            if first:
                print(plan_run(config))
            return 0
        folder = options.out or Path("runs") / config.run.name
        outcome = train(config, folder, resume=options.resume)
    except KNOWN as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"error: cannot write or read files: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print(
            "error: interrupted; the last complete checkpoint, if there is one, is as it was",
            file=sys.stderr,
        )
        return SIGNALLED + 2
    if first:
        print(f"checkpoint: {folder}")
        if outcome.signal or outcome.early:
            print(outcome, file=sys.stderr)
    return SIGNALLED + outcome.signal if outcome.signal else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path, help="TOML file, such as training/configs/tiny.toml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="override one key of the file; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="of the checkpoint (default: runs/NAME)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue from the checkpoint in the folder, or start if there is none; all keys but "
        "run.save_every, run.log_every and run.tensorboard must be as before",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="make the first batches, print what they hold and an estimate of the memory, and "
        "write nothing",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
