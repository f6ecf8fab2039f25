"""``tyntegra index``: files into a collection, and collections out of and into Parquet files."""

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from app.commands.index_options import parser, read_job

if TYPE_CHECKING:
    from app.bulk.job import Engine, Job
    from app.bulk.report import Summary

INTERRUPTED = 130
_ACTIONS = ("export", "import")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    # With a prefix that no argument has, all of them, --help too, go on to the parsers here.
    index = commands.add_parser(
        "index",
        help="index files, export and import collections",
        add_help=False,
        prefix_chars="\0",
    )
    index.set_defaults(run=lambda options: run(options.arguments))
    index.add_argument("arguments", nargs="*")


def run(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    if arguments and arguments[0] in _ACTIONS:
        from app.commands import exchange

        return exchange.run(arguments[0], arguments[1:])
    return _index(parser().parse_args(arguments))


def _index(options: argparse.Namespace) -> int:
    from app.bulk.report import JobFailedError
    from app.bulk.running import run_job

    job = read_job(options)
    stop = threading.Event()
    signals = _Signals(stop)
    try:
        with signals:
            summary = run_job(
                job,
                lambda job, stop: _engine(options, job, stop),
                stop,
                restart=options.restart,
                show=not options.quiet,
            )
    except JobFailedError as error:
        _tell(error.summary)
        if not signals.pressed:
            raise
        print(f"tyntegra: {error.message}", file=sys.stderr)
        return INTERRUPTED
    _tell(summary)
    return 0


def _tell(summary: "Summary") -> None:
    if summary.refused:
        print(
            f"tyntegra: {summary.refused} rows were refused; {summary.report} says which and why",
            file=sys.stderr,
        )
    for name, times in summary.left_out.items():
        print(
            f"tyntegra: column {name} was left out of {times} rows: metadata holds strings, "
            "numbers and booleans",
            file=sys.stderr,
        )
    print(json.dumps(asdict(summary), ensure_ascii=False))


class _Signals:
    """Turns the first Ctrl-C or SIGTERM into a stop, and the second into an end."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.pressed = False

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._before = {}
            return
        kinds = (signal.SIGINT, signal.SIGTERM)
        self._before = {kind: signal.signal(kind, self._caught) for kind in kinds}

    def __exit__(self, *_: object) -> None:
        for kind, before in self._before.items():
            signal.signal(kind, before)

    def _caught(self, number: int, _: object) -> None:
        if self.pressed:
            raise KeyboardInterrupt
        self.pressed = True
        self._stop.set()
        again = "; press Ctrl-C again to stop at once" if number == signal.SIGINT else ""
        # Not by print: the line that is interrupted may be writing there itself.
        os.write(2, f"\ntyntegra: stopping after what is under way{again}\n".encode())


def _engine(options: argparse.Namespace, job: "Job", stop: threading.Event) -> "Engine":
    if options.engine == "ray":
        from app.bulk.cluster import RayEngine, Share

        share = Share(options.ray_cpus, options.ray_gpus, options.ray_workers)
        return RayEngine(
            job.target, job.columns, job.layout, share=share, address=options.ray_address, stop=stop
        )
    from app.bulk.local import LocalEngine

    return LocalEngine(job.target, job.columns, job.layout, job.writers, stop)
