"""Export an encoder as a verified artifact.

    python -m export FOLDER OUT [--name NAME] [--precisions fp32,fp16,int8,int4] [--licence LICENCE]
                     [--pooling mean|cls|last] [--max-tokens N] [--no-white-box]

    python -m export --add-white-box ARTIFACT OUT

FOLDER is a checkpoint of ours, or what sentence-transformers or transformers saved.

Ends with 0 and one line for each precision, or with one line on stderr and nothing written: 1 if
the artifact could not be made or did not pass, 2 if the command line is wrong.
"""

import argparse
import sys
from pathlib import Path
from typing import cast, get_args

from app.artifact import Precision
from app.errors import ServiceError
from export.addition import add_white_box
from export.release import Order, export_checkpoint, name_from
from training.checkpoint import CheckpointError
from training.corpus import CorpusError
from training.folders import Pooling

DESCRIPTION = "Export an encoder as a verified artifact."
SUPPORTED: tuple[Precision, ...] = get_args(Precision)
ADD = "--add-white-box"
DEFAULT: tuple[Precision, ...] = ("fp32", "int8")


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Read a comma-separated list of precisions."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in SUPPORTED:
            raise argparse.ArgumentTypeError(
                f"got {name!r}; expected some of {','.join(SUPPORTED)}"
            )
    return cast(tuple[Precision, ...], names)


def parse_arguments(arguments: list[str]) -> Order:
    """Read the command line; exits with 2 if it is wrong."""
    parser = argparse.ArgumentParser(prog="python -m export", description=DESCRIPTION)
    parser.add_argument(
        "checkpoint",
        type=Path,
        help="folder that training, sentence-transformers or transformers wrote",
    )
    parser.add_argument("out", type=Path, help="folder to make; must not exist")
    parser.add_argument("--name", help="of the encoder; default: the checkpoint folder's")
    parser.add_argument(
        "--precisions",
        type=parse_precisions,
        default=DEFAULT,
        help="graphs to ship, of fp32, fp16 (for GPUs), int8 (for CPUs) and int4 (smallest, static "
        "encoders alone); default fp32,int8",
    )
    parser.add_argument(
        "--pooling",
        choices=get_args(Pooling),
        help="of a plain transformers model, which does not say it",
    )
    parser.add_argument(
        "--max-tokens", type=int, help="cut texts there; default: as the folder says"
    )
    parser.add_argument(
        "--no-white-box",
        dest="white_box",
        action="store_false",
        help="leave out the graphs of token embeddings and gradients",
    )
    parser.add_argument("--licence", default="", help="of the weights; default: as their sources")
    parser.add_argument("--texts", type=Path, help="verify with this file, one text a line")
    parser.add_argument("--notes", type=Path, help="Markdown that the model card shall end with")
    parser.add_argument("--max-bytes", type=int, default=0, help="refuse a bigger artifact")
    parser.add_argument("--replace", action="store_true", help="replace what stands at OUT")
    found = vars(parser.parse_args(arguments))
    found["name"] = found["name"] or name_from(found["checkpoint"])
    return Order(**found)


def add(arguments: list[str]) -> int:
    """Run the command that adds a white box; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m export --add-white-box")
    parser.add_argument("artifact", type=Path, help="a static encoder's artifact without one")
    parser.add_argument("out", type=Path, help="folder to make; must not exist")
    parser.add_argument("--replace", action="store_true", help="replace what stands at OUT")
    found = parser.parse_args(arguments)
    try:
        manifest = add_white_box(found.artifact, found.out, replace=found.replace)
    except (ServiceError, OSError) as error:
        return _failed(error)
    print(f"{manifest.model_id} at {found.out}, with a white box")
    return 0


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    if arguments[:1] == [ADD]:
        return add(arguments[1:])
    order = parse_arguments(arguments)
    try:
        manifest = export_checkpoint(order)
    except (ServiceError, CheckpointError, CorpusError, OSError) as error:
        return _failed(error)
    sizes = {file.path: file.bytes for file in manifest.files}
    print(f"{manifest.model_id} at {order.out}")
    for precision, graph in manifest.precisions.items():
        figures = manifest.verification["figures"][precision]
        size = sum(sizes[name] for name in graph.names)
        print(
            f"{precision}: {size} bytes, cosine to torch misses 1 by at most "
            f"{figures['texts_to_torch']['worst']:.1e}"
        )
        white_box = manifest.verification["white_box"].get(precision, "")
        if white_box.startswith("refused"):
            print(f"export: warning: {precision} has no white box, {white_box}", file=sys.stderr)
    return 0


def _failed(error: Exception) -> int:
    line = " ".join(str(error).split())
    print(f"export: {line}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
