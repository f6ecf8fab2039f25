"""Train a classifier: ``python -m training.classification CONFIG.toml --set optim.lr=3e-5``."""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from app.errors import InvalidInputError
from training.checkpoint import BEST, CheckpointError
from training.classification.config import load_pair_config
from training.classification.loop import train_classifier
from training.classification.pairs import PairsError
from training.config import ConfigError
from training.logs import LogError

INTERRUPTED = 130  # as a shell reports SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.classification", description=__doc__)
    parser.add_argument(
        "config", type=Path, help="TOML file, such as training/configs/classification/pawsx.toml"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="override one key of the file; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the checkpoints (default: runs/NAME of the run)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint in the folder"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        if os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(
                f"got {os.environ['WORLD_SIZE']} processes: classifiers train in one; start it "
                "without torchrun"
            )
        config = load_pair_config(options.config, options.set)
        folder = options.out or Path("runs") / config.run.name
        finished = train_classifier(config, folder, resume=options.resume)
    except (ConfigError, PairsError, CheckpointError, LogError, InvalidInputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write or read files: {error}", file=sys.stderr)
        return 2
    print(f"checkpoint: {folder}, best: {folder / BEST}")
    if not finished:
        print("interrupted; continue with --resume", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
