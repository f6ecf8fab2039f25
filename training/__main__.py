"""Train an encoder: ``python -m training training/configs/tiny.toml --set optim.lr=3e-5``."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from training.checkpoint import CheckpointError
from training.config import ConfigError, load_config
from training.corpus import CorpusError
from training.loop import train

INTERRUPTED = 130  # as a shell reports SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("config", type=Path, help="TOML file, such as training/configs/tiny.toml")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="TABLE.KEY=VALUE",
        help="override one key of the file; may be repeated",
    )
    parser.add_argument(
        "--out", type=Path, help="folder of the checkpoint (default: runs/NAME of the run)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the checkpoint in the folder"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = load_config(options.config, options.set)
        folder = options.out or Path("runs") / config.run.name
        finished = train(config, folder, resume=options.resume)
    except (ConfigError, CorpusError, CheckpointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: cannot write or read files: {error}", file=sys.stderr)
        return 2
    print(f"checkpoint: {folder}")
    if not finished:
        print("interrupted; continue with --resume", file=sys.stderr)
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
